//! The guest kernel in C (`examples/c-guest`), on the real Xen, beside the one in Rust.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use xen_lab::{Clock, FindError, Lab, Machine, Sources};

use crate::bench::{check, lab, machine, run, values};
use crate::pv_mmu::{SMOKE, SMOKE_REFUSALS};

/// A lab whose kernel is the one in C. The one in Rust, which takes a minute to build, is not needed for it.
fn c_lab(test: &str) -> Option<&'static Lab> {
    static BUILT: LazyLock<Result<Lab, FindError>> = LazyLock::new(build);
    Lab::found_for_test(&BUILT, test)
}

/// Builds it, by its own script.
fn build() -> Result<Lab, FindError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from).join("c-guest");
    let built = Command::new(root.join("examples/c-guest/build.sh")).arg("xen").arg(&target).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut sources = Sources::from_environment();
    sources.kernel = Some(target.join("c-guest"));
    Lab::with(&sources)
}

#[test]
fn the_kernel_in_c_passes_the_same_check_as_the_one_in_rust() {
    let Some(lab) = c_lab("smoke in C") else { return };
    let values = values(lab, &machine("c-smoke"), "pvmmu-smoke", "");
    println!("{SMOKE_REFUSALS}: {values:?}");
    check(&values, SMOKE);
}

#[test]
fn interrupts_switches_pauses_and_tables_of_the_kernel_in_c_keep_the_rules() {
    let Some(lab) = c_lab("rules in C") else { return };
    check(&values(lab, &machine("c-rules"), "rules", ""), &[("rules_wrong", "0")]);
    // What the outgoing task had queued is not effective: check 15.
    let planted = values(lab, &machine("c-rules-planted"), "rules", "planted");
    check(&planted, &[("rules_wrong", &(1 << 15).to_string())]);
}

#[test]
fn what_the_kernel_in_c_does_not_know_it_refuses() {
    let Some(lab) = c_lab("refusals in C") else { return };
    let refused = |command: &str, payload: &str| {
        run(lab, &machine("c-refused"), command, payload.as_bytes()).unwrap_err().to_string()
    };
    assert!(refused("no-such-command", "").contains("pvmmu-smoke, rules and bench"));
    assert!(refused("bench", "no-such-workload").contains("no such workload"));
}

/// Updates, hypercalls and instructions of a row, by workload, of the rows of `way`.
fn rows(lab: &Lab, machine: &Machine, payload: &str, way: &str) -> BTreeMap<String, [u64; 3]> {
    let answer = run(lab, machine, "bench", payload.as_bytes()).unwrap_or_else(|error| panic!("bench: {error}"));
    let text = String::from_utf8(answer.bytes).unwrap();
    let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("no number: {word}"));
    words
        .filter(|words| words.len() >= 5 && words[1] == way)
        .map(|words| (words[0].to_owned(), [number(words[2]), number(words[3]), number(words[4])]))
        .collect()
}

/// Instructions that a call through the face may take beyond what it does, with the kernel's functions that it goes through.
const CALL: u64 = 300;

#[test]
fn the_kernel_in_c_takes_as_many_hypercalls_and_hardly_more_instructions() {
    let Some(in_c) = c_lab("costs in C") else { return };
    let Some(in_rust) = lab("costs in C") else { return };
    let mut machine = machine("c-bench");
    machine.clock = Clock::Instructions;
    machine.vcpus = 1;
    machine.run_limit = std::time::Duration::from_secs(300);
    let c = rows(in_c, &machine, "", "c");
    assert_eq!(c.len(), 5, "{c:?}");
    println!(
        "{:<16}{:>9}{:>12}{:>12}{:>14}{:>14}{:>8}",
        "workload", "updates", "calls, C", "Rust", "per update, C", "Rust", "ratio"
    );
    for workload in ["fill-512", "fill-range-512", "zap-512"] {
        let [updates, hypercalls, cost] = c[workload];
        let rust = rows(in_rust, &machine, workload, "pv-mmu")[workload];
        let per_update = |cost: u64| cost as f64 / updates as f64;
        let ratio = cost as f64 / rust[2] as f64;
        println!(
            "{workload:<16}{updates:>9}{hypercalls:>12}{:>12}{:>14.1}{:>14.1}{ratio:>8.2}",
            rust[1],
            per_update(cost),
            per_update(rust[2]),
        );
        assert_eq!((updates, hypercalls), (rust[0], rust[1]), "{workload}");
        assert!(cost < rust[2] + CALL * updates, "{workload}: {ratio} times what it takes in Rust");
    }
}
