//! Each target on a stable compiler: over its corpus, over inputs made from that, and over random bytes.
//!
//! `FUZZ_INPUTS` says how many of the latter two (500), `FUZZ_SEED` which ones.

use std::fs;
use std::path::Path;

use pv_mmu_fuzz::Target;

/// The files of a target's corpus, in the order of their names.
fn corpus(target: Target) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("no corpus in {}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    let read = |path: &Path| (path.display().to_string(), fs::read(path).expect("a seed can be read"));
    files.iter().map(|path| read(path)).collect()
}

fn setting(name: &str, otherwise: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("`{name}={value}` is no number")))
}

/// A seed with a few wounds, or random bytes.
fn input(random: &mut fastrand::Rng, seeds: &[(String, Vec<u8>)]) -> Vec<u8> {
    let Some((_, seed)) = seeds.get(random.usize(..seeds.len() + seeds.len().div_ceil(4))) else {
        let length = random.usize(..2000);
        return std::iter::repeat_with(|| random.u8(..)).take(length).collect();
    };
    let mut bytes = seed.clone();
    for _ in 0..random.usize(1..8) {
        let other = random.usize(..seeds.len());
        wound(random, &mut bytes, &seeds[other].1);
    }
    bytes
}

fn wound(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.usize(..=bytes.len());
    let end = (at + random.usize(..16)).min(bytes.len());
    match random.u8(..5) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => bytes[at..end].fill_with(|| random.u8(..)),
        3 => bytes.insert(at, random.u8(..)),
        _ => {
            let from = random.usize(..=other.len());
            bytes.splice(at..end, other[from..].iter().take(64).copied());
        }
    }
}

fn try_all(name: &str) {
    let target = Target::named(name);
    let seeds = corpus(target);
    assert!(seeds.len() >= 8, "the corpus of {name} has {} files only", seeds.len());
    for (file, bytes) in &seeds {
        target.run(bytes).unwrap_or_else(|finding| panic!("{file}: {finding}"));
    }
    let seed = setting("FUZZ_SEED", 1);
    let mut random = fastrand::Rng::with_seed(seed);
    for number in 0..setting("FUZZ_INPUTS", 500) {
        let bytes = input(&mut random, &seeds);
        let failed = |finding| panic!("input {number} of FUZZ_SEED={seed}: {finding}\n{bytes:02x?}");
        target.run(&bytes).unwrap_or_else(failed);
    }
}

#[test]
fn ftrace() {
    try_all("ftrace");
}

#[test]
fn native() {
    try_all("native");
}

#[test]
fn hypercall() {
    try_all("hypercall");
}

#[test]
fn regions() {
    try_all("regions");
}

#[test]
fn c_face() {
    try_all("c-face");
}

#[test]
fn every_target_is_tried_here() {
    assert_eq!(Target::ALL.map(|target| target.name), ["ftrace", "native", "hypercall", "regions", "c-face"]);
}
