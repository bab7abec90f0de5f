//! Throughput of regions, in page-table updates.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hypercall::{Mfn, Pte, PteSlot};
use pv_mmu::{Operations, TaskState};
use pv_mmu_bench::NullKernel;

fn slot(index: usize) -> PteSlot {
    PteSlot::of(Mfn::new(7), index)
}

fn written_singly(kernel: &NullKernel, updates: usize) {
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.context());
    for index in 0..updates {
        region.set_pte(black_box(slot(index)), black_box(Pte::from_bits(0x63)));
    }
    region.leave().expect("nothing is refused");
}

fn as_one_range(kernel: &NullKernel, updates: usize) {
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.context());
    region.set_ptes(black_box(slot(0)), updates, |_| black_box(Pte::from_bits(0x63))).expect("within the table");
    region.leave().expect("nothing is refused");
}

fn fill(criterion: &mut Criterion) {
    let kernel = NullKernel::default();
    let mut group = criterion.benchmark_group("fill");
    for updates in [1, 8, 64, 512] {
        group.throughput(Throughput::Elements(updates as u64));
        group.bench_function(BenchmarkId::new("singly", updates), |bench| {
            bench.iter(|| written_singly(&kernel, updates));
        });
        group.bench_function(BenchmarkId::new("range", updates), |bench| {
            bench.iter(|| as_one_range(&kernel, updates));
        });
    }
    group.finish();
}

fn nothing(criterion: &mut Criterion) {
    let kernel = NullKernel::default();
    criterion.bench_function("empty region", |bench| bench.iter(|| written_singly(&kernel, 0)));
    criterion.bench_function("outside", |bench| {
        let mut task = TaskState::new();
        bench.iter(|| {
            let mut outside = kernel.mmu().outside(&mut task, kernel.context());
            outside.set_pte(black_box(slot(3)), Pte::EMPTY).expect("nothing is refused").not_cached();
        });
    });
}

criterion_group!(regions, fill, nothing);
criterion_main!(regions);
