//! What is measured on the real Xen, against what is kept of it.
//!
//! Figures are instructions, which repeat exactly: what they may differ by is what another compiler or
//! emulator makes of the kernel's own few instructions around a call.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use xen_lab::Lab;

/// How far a cost may be from the one kept: a hundredth, and some instructions of the kernel's own.
fn is_near(kept: u64, found: u64) -> bool {
    kept.abs_diff(found) <= kept / 100 + 10
}

fn measured(args: &[&str]) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_pvmmu")).args(args).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn kept(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench/results").join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Operation, number and cost, of every row of a table.
fn rows(table: &Value) -> Vec<(&str, u64, u64)> {
    let operations = table["operations"].as_array().unwrap();
    let rows = operations.iter().flat_map(|operation| {
        let costs = operation["costs"].as_array().unwrap().iter();
        costs.map(|cost| {
            (operation["operation"].as_str().unwrap(), cost[0].as_u64().unwrap(), cost[1].as_u64().unwrap())
        })
    });
    rows.collect()
}

/// What is not as it is kept.
fn differing(kept: &Value, found: &Value) -> Vec<String> {
    let (kept, found) = (rows(kept), rows(found));
    let same = |(kept, found): &(&(&str, u64, u64), &(&str, u64, u64))| {
        (kept.0, kept.1) == (found.0, found.1) && is_near(kept.2, found.2)
    };
    let pairs = kept.iter().zip(&found);
    let mut differing: Vec<_> = pairs.filter(|pair| !same(pair)).map(|pair| format!("{pair:?}")).collect();
    if kept.len() != found.len() {
        differing.push(format!("{} rows are kept, {} were found", kept.len(), found.len()));
    }
    differing
}

#[test]
fn costs_are_those_that_are_kept() {
    if Lab::for_test("costs").is_none() {
        return;
    }
    let (kept, found) = (kept("xen-4.17-cost.json"), measured(&["cost", "--format", "json"]));
    assert_eq!(kept["unit"], found["unit"]);
    assert_eq!(
        differing(&kept, &found),
        [""; 0],
        "measured on {}, kept of {}",
        found["hypervisor"],
        kept["hypervisor"]
    );
    assert!(rows(&found).len() > 400, "{} rows", rows(&found).len());
}

#[test]
fn a_cost_that_has_changed_is_found() {
    let kept = kept("xen-4.17-cost.json");
    let mut changed = kept.clone();
    let cost = &mut changed["operations"][0]["costs"][6][1];
    *cost = (cost.as_u64().unwrap() * 102 / 100).into();
    assert_eq!(differing(&kept, &changed).len(), 1);
    changed["operations"].as_array_mut().unwrap().pop();
    assert!(differing(&kept, &changed).len() > 1);
}
