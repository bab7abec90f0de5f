//! What is measured on the real Xen, against what is kept of it.
//!
//! Figures are instructions, which repeat exactly: what they may differ by is what another compiler or
//! emulator makes of the kernel's own few instructions around a call.

use std::fs;
use std::path::Path;
use std::process::Command;

use pv_mmu::table::{rewrite_cost, update_cost};
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

/// A figure of a table: the operation's fixed part and the part per operation.
fn line(table: &Value, operation: &str) -> (f64, f64) {
    let operations = table["operations"].as_array().unwrap().iter();
    let line = operations.clone().find(|row| row["operation"] == operation).map(|row| &row["line"]);
    let line = line.unwrap_or_else(|| panic!("no operation `{operation}`"));
    (line["fixed"].as_f64().unwrap(), line["per_operation"].as_f64().unwrap())
}

/// The library's break-evens are those of the costs.
#[test]
fn the_constants_of_the_library_agree_with_the_costs() {
    let kept = kept("xen-4.17-cost.json");
    let near = |library: usize, measured: f64, what: &str| {
        let library = library as f64;
        assert!(
            (library - measured).abs() <= measured / 50.0,
            "{what}: the library says {library}, measured is {measured}"
        );
    };
    let (array, update) = line(&kept, "mmu_update/normal/remap-ro");
    (1..=512).for_each(|entries| near(update_cost(entries), array + update * entries as f64, "updates"));
    let (validated, given_up) = (line(&kept, "mmuext_op/pin_l1/ro").1, line(&kept, "mmuext_op/unpin_l1/ro").1);
    let present = rewrite_cost(512) - rewrite_cost(0);
    near(present, (validated + given_up) * 512.0, "the present entries of a rewritten table");
    let bench = self::kept("xen-4.17-bench.json");
    let whole = |row: &&Value| row["workload"] == "rewrite-512" && row["policy"] == "pv-mmu";
    let whole = bench_rows(&bench).iter().find(whole).unwrap()["cost"].as_f64().unwrap();
    near(rewrite_cost(512), whole, "rewriting");
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

const BENCH: [&str; 5] = ["bench", "--on", "xen", "--format", "json"];

fn bench_rows(bench: &Value) -> &[Value] {
    bench["rows"].as_array().unwrap()
}

/// What a policy may cost at most, by workload: the ratio, and to what.
const LIMITS: [(&str, &str, f64); 5] = [
    ("zap-512", "ratio_to_linux", 0.305),
    ("wrprotect-512", "ratio_to_linux", 0.337),
    ("build-512", "ratio_to_raw", 0.35),
    ("retire-512", "ratio_to_raw", 0.30),
    ("rewrite-512", "ratio_to_raw", 0.50),
];

/// Workloads in which a policy costs more than is allowed.
fn too_dear(bench: &Value, policy: &str) -> Vec<&'static str> {
    let ratio = |workload: &str, ratio: &str| {
        let mut rows = bench_rows(bench).iter();
        let row = rows.find(|row| row["workload"] == workload && row["policy"] == policy);
        row.expect("every policy has every workload")[ratio].as_f64().expect("compared with others")
    };
    let exceeding = LIMITS.iter().filter(|(workload, of, limit)| ratio(workload, of) > *limit);
    exceeding.map(|(workload, ..)| *workload).collect()
}

#[test]
fn the_library_is_as_cheap_as_it_has_to_be() {
    if Lab::for_test("bench").is_none() {
        return;
    }
    let (bench, again) = (measured(&BENCH), measured(&BENCH));
    assert_eq!(bench, again, "every figure repeats exactly");
    assert_eq!(too_dear(&bench, "pv-mmu"), [""; 0], "{bench:#}");
    let kept = kept("xen-4.17-bench.json");
    let cost = |row: &Value| row["cost"].as_u64().unwrap();
    for (kept, found) in bench_rows(&kept).iter().zip(bench_rows(&bench)) {
        let same = ["workload", "policy", "updates", "hypercalls"].iter().all(|key| kept[*key] == found[*key]);
        assert!(same && is_near(cost(kept), cost(found)), "kept {kept}, found {found}");
    }
    assert_eq!(bench_rows(&kept).len(), bench_rows(&bench).len());
}

/// A policy without a queue is what a queue that is slow would look like.
#[test]
fn a_slow_policy_is_seen() {
    let kept = kept("xen-4.17-bench.json");
    assert_eq!(too_dear(&kept, "single"), LIMITS.map(|(workload, ..)| workload));
    assert_eq!(too_dear(&kept, "linux"), LIMITS.map(|(workload, ..)| workload));
}

#[test]
fn one_row_can_be_had_with_its_ratios() {
    if Lab::for_test("one row").is_none() {
        return;
    }
    let bench = measured(&[&BENCH[..], &["--workload", "build-512", "--policy", "pv-mmu"]].concat());
    let [row] = bench_rows(&bench) else { panic!("{bench:#}") };
    let mut keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let agreed = "cost cost_per_update hypercalls longest_masked policy ratio_to_linux ratio_to_raw updates workload";
    assert_eq!(keys.join(" "), agreed);
    assert!(row["ratio_to_raw"].as_f64().unwrap() < 0.35 && row["hypercalls"] == 1, "{row}");
    assert_eq!(bench["unit"], "instructions");
}

/// Digits in groups of three.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap()).collect();
    groups.join(",")
}

#[test]
fn the_document_says_what_is_kept() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/decisions/costs.md");
    let document = fs::read_to_string(document).unwrap();
    let bench = kept("xen-4.17-bench.json");
    for (workload, ..) in LIMITS {
        let name = workload.trim_end_matches("-512");
        let line = document.lines().find(|line| line.starts_with(&format!("| {name} |"))).unwrap();
        for policy in ["pv-mmu", "linux", "raw"] {
            let mut rows = bench_rows(&bench).iter();
            let row = rows.find(|row| row["workload"] == workload && row["policy"] == policy).unwrap();
            let cost = grouped(row["cost"].as_u64().unwrap());
            assert!(line.contains(&format!("| {cost} |")), "{policy} takes {cost}: {line}");
        }
    }
}
