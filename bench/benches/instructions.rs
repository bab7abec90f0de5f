//! Instructions by workload and policy, counted by valgrind: they repeat to the instruction. the binary of the same name
//! holds them against what is kept.

#![expect(missing_docs, reason = "the macros of gungraun make public items")]

use std::hint::black_box;

use gungraun::{Callgrind, EntryPoint, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use pv_mmu_bench::{Apart, Desk, SMALL, small_cases};
use workloads::{Policy, Workload};

#[library_benchmark]
#[benches::of(iter = small_cases())]
fn work((workload, policy): (Workload, Policy)) -> u64 {
    let desk = Desk::new(SMALL);
    black_box(Apart { workload, ground: &desk }.once(policy).expect("a policy does what is measured here"))
}

library_benchmark_group!(name = instructions, benchmarks = work);
main!(
    config = LibraryBenchmarkConfig::default()
        .tool(Callgrind::default().entry_point(EntryPoint::Custom("*Alone<*>*work*".to_owned()))),
    library_benchmark_groups = instructions
);
