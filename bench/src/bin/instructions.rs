//! Holds what the benchmark of instructions has counted last against what is kept in `bench/results`.
//!
//! `cargo bench -p pv-mmu-bench --bench instructions -- --save-summary=json` counts; `ci/bench.sh` does both.
//! With `--renew`: keeps what was counted.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use pv_mmu_bench::small_cases;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Instructions, by workload and policy.
type Counts = BTreeMap<String, BTreeMap<String, u64>>;

/// What is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    unit: String,
    counts: Counts,
}

fn main() -> Result<ExitCode> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("bench/results/null-valgrind.json");
    let counts = counted(&root.join("target/gungraun/pv-mmu-bench/instructions/instructions"))?;
    match std::env::args().nth(1).as_deref() {
        None => compare(&path, &counts),
        Some("--renew") => {
            let kept = Kept { unit: "instructions, by valgrind, on a hypervisor that does nothing".to_owned(), counts };
            fs::write(&path, serde_json::to_string_pretty(&kept)? + "\n").context(path.display().to_string())?;
            Ok(ExitCode::SUCCESS)
        }
        Some(other) => bail!("`{other}` is not understood; there is `--renew`, or nothing"),
    }
}

fn compare(path: &PathBuf, counts: &Counts) -> Result<ExitCode> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let kept: Kept = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    let differing = differing(&kept.counts, counts);
    for line in &differing {
        println!("instructions: {line}");
    }
    println!("instructions: {} counts, {} differ", rows(counts).count(), differing.len());
    Ok(if differing.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The counts of the last run.
///
/// # Errors
/// A case has not been counted, or its summary is none.
fn counted(folder: &Path) -> Result<Counts> {
    let mut counts = Counts::new();
    for (number, (workload, policy)) in small_cases().enumerate() {
        let path = folder.join(format!("work.of_{number}/summary.json"));
        let text = fs::read_to_string(&path).with_context(|| format!("{}: run ci/bench.sh", path.display()))?;
        let summary: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let found = &summary["profiles"][0]["data"]["total"]["metrics"]["Ir"]["values"]["new"];
        let instructions = found.as_u64().with_context(|| format!("{}: no number of instructions", path.display()))?;
        counts.entry(workload.name.to_owned()).or_default().insert(policy.name().to_owned(), instructions);
    }
    Ok(counts)
}

fn rows(counts: &Counts) -> impl Iterator<Item = (&str, &str, u64)> {
    counts
        .iter()
        .flat_map(|(workload, by)| by.iter().map(move |(policy, count)| (workload.as_str(), policy.as_str(), *count)))
}

/// What is not as it is kept: by more than a hundredth and some instructions of the harness.
fn differing(kept: &Counts, found: &Counts) -> Vec<String> {
    let count = |counts: &Counts, workload: &str, policy: &str| counts.get(workload)?.get(policy).copied();
    let mut differing = Vec::new();
    for (workload, policy, instructions) in rows(found) {
        match count(kept, workload, policy) {
            Some(kept) if kept.abs_diff(instructions) <= kept / 100 + 3 => {}
            Some(kept) => differing.push(format!("{workload} by {policy}: {instructions}, and {kept} are kept")),
            None => differing.push(format!("{workload} by {policy}: {instructions}, and nothing is kept")),
        }
    }
    let gone = rows(kept).filter(|(workload, policy, _)| count(found, workload, policy).is_none());
    differing.extend(gone.map(|(workload, policy, _)| format!("{workload} by {policy} is kept, and was not counted")));
    differing
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(&str, &str, u64)]) -> Counts {
        let mut counts = Counts::new();
        for (workload, policy, count) in rows {
            counts.entry((*workload).to_owned()).or_default().insert((*policy).to_owned(), *count);
        }
        counts
    }

    #[test]
    fn a_hundredth_more_is_found() {
        let kept = counts(&[("fill", "raw", 1000), ("fill", "linux", 5000)]);
        assert_eq!(differing(&kept, &kept), [""; 0]);
        assert_eq!(differing(&kept, &counts(&[("fill", "raw", 1013), ("fill", "linux", 5000)])), [""; 0]);
        let found = differing(&kept, &counts(&[("fill", "raw", 1014), ("fill", "linux", 4900)]));
        assert_eq!(
            found,
            ["fill by linux: 4900, and 5000 are kept".to_owned(), "fill by raw: 1014, and 1000 are kept".to_owned()]
        );
    }

    #[test]
    fn what_is_new_or_gone_is_named() {
        let kept = counts(&[("fill", "raw", 1000)]);
        let found = differing(&kept, &counts(&[("fill", "single", 7)]));
        assert_eq!(found, ["fill by single: 7, and nothing is kept", "fill by raw is kept, and was not counted"]);
    }
}
