//! Updates a second, by workload and policy. Time is noisy: compare within one run.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pv_mmu_bench::{Apart, Desk, cases};

fn suite(criterion: &mut Criterion) {
    let desk = Desk::default();
    for (workload, policy) in cases() {
        let mut group = criterion.benchmark_group(workload.name);
        if workload.updates() > 0 {
            group.throughput(Throughput::Elements(workload.updates() as u64));
        }
        group.bench_function(BenchmarkId::from_parameter(policy.name()), |bench| {
            bench.iter_custom(|times| {
                let once =
                    || Apart { workload, ground: &desk }.once(policy).expect("a policy does what is measured here");
                Duration::from_nanos((0..times).map(|_| once()).sum())
            });
        });
        group.finish();
    }
}

criterion_group! {
    name = throughput;
    // What is done between two runs, which is not timed, takes longer than what is timed.
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(500))
        .sample_size(20);
    targets = suite
}
criterion_main!(throughput);
