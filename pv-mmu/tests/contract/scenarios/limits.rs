//! S55, S56: limits, and observers that change nothing.

use hypercall::PteSlot;
use pv_mmu::{FlushReason, Operations, RangeError, SetRangeError, Stats, TaskState, VcpuQueue};

use crate::world::{Watch, World, invlpg, update};

#[test]
fn s55_ranges_that_are_none_are_refused_and_do_nothing() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let page = |_| world.page(0);
    let last = world.slot(0, 511);
    let beyond = |count| RangeError::BeyondTable { slot: last, count };
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    assert_eq!(region.set_ptes(last, 0, page), Err(RangeError::Empty));
    assert_eq!(region.set_ptes(last, 2, page), Err(beyond(2)));
    assert_eq!(region.set_ptes(last, usize::MAX, page), Err(beyond(usize::MAX)));
    region.set_ptes(last, 1, page).unwrap();
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(last, world.page(0))]]);
    let mut outside = kernel.mmu().outside(&mut state, kernel.task());
    assert!(matches!(outside.set_ptes(last, 2, page), Err(SetRangeError::Range(error)) if error == beyond(2)));
    assert!(world.take_calls().is_empty());
}

#[test]
fn a_range_outside_a_region_is_one_array_in_one_call() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut outside = kernel.mmu().outside(&mut state, kernel.task());
    outside.set_ptes(world.slot(0, 8), 16, |n| world.page(n)).unwrap().not_cached();
    let expected: Vec<_> = (0..16).map(|n| update(world.slot(0, 8 + n), world.page(n))).collect();
    assert_eq!(world.take_calls(), [expected]);
}

#[test]
fn a_range_in_a_region_is_part_of_the_queue() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let mut region = task.enter(&mut state);
    region.set(world.slot(0, 8), world.page(20));
    region.set_range(world.slot(0, 8), 16, |n| world.page(n));
    region.set(world.slot(0, 9), hypercall::Pte::EMPTY);
    region.leave().unwrap();
    let calls = world.take_calls();
    assert_eq!((calls.len(), calls[0].len(), kernel.mmu().stats().merged), (1, 17, 1));
    world.assert_clean();
}

#[test]
fn a_range_larger_than_the_queue_leaves_in_chunks() {
    let model = crate::model::Model::default();
    let kernel = crate::kernel::Kernel::<_, _, 8, 4, 20>::new(model.clone(), [model.clone()]);
    let mut state = TaskState::new();
    let slot = PteSlot::of(hypercall::Mfn::new(1), 0);
    let mut outside = kernel.mmu().outside(&mut state, kernel.task());
    outside.set_ptes(slot, 20, |n| hypercall::Pte::from_bits(n as u64)).unwrap().not_cached();
    assert_eq!(model.0.borrow().hypercalls, [8, 8, 4]);
}

/// A region with a bit of everything, counting switched off and on in the middle at `toggle`.
fn program(toggle: usize) -> (Vec<Vec<hypercall::Operation>>, Stats) {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    for n in 0..12 {
        if n == toggle {
            kernel.mmu().count(false);
        }
        if n == toggle + 3 {
            kernel.mmu().count(true);
        }
        match n % 4 {
            0 => region.set_pte(world.slot(0, n), world.page(n)),
            1 => region.commit_pte(world.slot(0, n - 1), world.page(n)),
            2 => region.mmuext(invlpg(n as u64 / 3)),
            _ if n == 7 => region.flush(),
            _ => region.set_pte(world.slot(1, n), world.page(n)),
        }
    }
    region.leave().unwrap();
    (world.take_calls(), kernel.mmu().stats())
}

#[test]
fn s56_counting_can_be_switched_at_any_moment_and_changes_nothing() {
    let (undisturbed, _) = program(usize::MAX - 3);
    for toggle in 0..12 {
        let (calls, stats) = program(toggle);
        assert_eq!(calls, undisturbed, "switched at step {toggle}");
        let done = stats.applied + stats.refused + stats.not_attempted + stats.merged + stats.superseded;
        assert_eq!(stats.queued, done + stats.pending, "switched at step {toggle}: {stats:?}");
        assert_eq!(stats.flushes, stats.flushes_by_reason.iter().sum::<u64>());
        assert_eq!(stats.flushes, stats.batch_sizes.iter().sum::<u64>());
    }
}

#[test]
fn s56_a_full_batch_is_in_the_histogram() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    (0..513).for_each(|n| region.set_pte(world.slot(n / 512, n % 512), world.page(n)));
    region.leave().unwrap();
    let stats = kernel.mmu().stats();
    assert_eq!((stats.batch_sizes[9], stats.batch_sizes[0], stats.largest_batch), (1, 1, 512));
    let by = |reason: FlushReason| stats.flushes_by_reason[reason as usize];
    assert_eq!((by(FlushReason::Capacity), by(FlushReason::Leave)), (1, 1));
}

#[test]
fn a_default_queue_fits_16_kib() {
    let bytes = size_of::<VcpuQueue>();
    // Where each operation was asked for is kept beside it, when that is switched on.
    let locations = if cfg!(feature = "caller-location") { 8 * (512 + 128) } else { 0 };
    assert!(bytes <= 16 * 1024 + locations, "{bytes} bytes");
}

#[cfg(feature = "caller-location")]
#[test]
fn a_failure_names_the_line_that_asked() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    region.set_pte(world.slot(0, 1), world.page(0));
    let line = line!() + 1;
    region.set_pte(world.slot(0, 2), hypercall::Pte::new(world.tables[1], crate::world::RW));
    let failures = region.leave().unwrap_err();
    let caller = failures.iter().next().unwrap().caller().unwrap();
    assert_eq!((caller.file(), caller.line()), (file!(), line));
}
