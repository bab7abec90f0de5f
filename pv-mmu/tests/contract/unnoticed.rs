//! Behaviour that only changing the library on purpose showed to be in no test (docs/decisions/mutants.md).

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use hypercall::{Level, Mfn, MmuextOp, Operation, PteFlags, VirtAddr};
use mock_xen::FrameType;
use pv_mmu::{Callback, Context, Operations, Platform, Profile, Report, Status, TaskState};

use crate::{
    small::{Small, held, kernel, poison, pte, slot},
    tables::Scene,
    world::{World, mmuext, update},
};

#[test]
fn a_refusal_outside_is_told_to_the_caller() {
    let (model, kernel) = kernel::<false>();
    poison(&model, pte(3));
    let mut task = TaskState::new();
    let mut outside = kernel.mmu().outside(&mut task, kernel.task());
    assert!(outside.set_pte(slot(0), pte(3)).is_err_and(|failure| failure.errno().is_some()));
}

/// Another task's, on a kernel that has forgotten its switch hook: nobody is overtaken all the same.
#[test]
fn what_is_queued_by_whomever_goes_before_an_update_outside() {
    let (model, kernel) = kernel::<false>();
    let (mut one, mut other) = (TaskState::new(), TaskState::new());
    let mut region = kernel.mmu().dynamic(&mut one, Context::Task(kernel.task()));
    region.enter().unwrap();
    region.set_pte(slot(0), pte(1)).unwrap();
    assert!(kernel.mmu().outside(&mut other, kernel.task()).set_pte(slot(0), pte(2)).is_ok());
    region.leave().unwrap();
    assert_eq!((held(&model, 0), model.0.borrow().applied.len()), (pte(2).bits(), 2));
}

/// Entries out of the order of their addresses are joined too.
#[test]
fn an_entry_behind_another_is_joined() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    for (n, value) in [(5, 1), (3, 1), (5, 0), (3, 0)] {
        region.set_pte(slot(n), hypercall::Pte::from_bits(pte(1).bits() * value));
    }
    region.leave().unwrap();
    assert_eq!(model.0.borrow().applied.len(), 2, "{:?}", model.0.borrow().applied);
    assert_eq!((held(&model, 5), held(&model, 3)), (0, 0));
}

#[cfg(feature = "caller-location")]
#[test]
fn r14_an_entry_out_of_order_names_its_line() {
    let (model, kernel) = kernel::<false>();
    poison(&model, pte(3));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(5), pte(1));
    region.set_pte(slot(3), pte(3));
    let line = line!() - 1;
    let failures = region.leave().unwrap_err();
    assert_eq!(failures.iter().next().and_then(|failure| failure.caller()).map(|caller| caller.line()), Some(line));
}

#[test]
fn a_pause_reads_and_flushes() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(1));
    let mut paused = region.pause();
    assert_eq!(paused.read_pte(slot(0)), pte(1));
    let address = VirtAddr::unchecked(0x5000);
    paused.flush_page(address).unwrap();
    assert_eq!(model.0.borrow().applied.last(), Some(&mmuext(MmuextOp::InvlpgLocal { address })));
}

#[test]
fn an_operation_of_a_switch_tells_its_callback() {
    static TOLD: AtomicU32 = AtomicU32::new(0);
    fn told(number: usize, status: Status) {
        assert_eq!(status, Status::Applied);
        TOLD.fetch_add(number as u32, Ordering::Relaxed);
    }
    let (model, kernel) = kernel::<false>();
    let load = mmuext(MmuextOp::NewBaseptr { table: Mfn::new(7) });
    let mut switch = kernel.mmu().switch(kernel.switch());
    switch.operation_then(&load, Callback::new(told, 5));
    switch.finish();
    assert_eq!((TOLD.load(Ordering::Relaxed), model.0.borrow().applied.last()), (5, Some(&load)));
}

#[test]
fn a_guard_that_is_leaked_in_a_pause_is_told_of() {
    let (_, kernel) = kernel::<false>();
    let mut task = TaskState::with_profile(Profile::Nested);
    let context = || Context::Task(kernel.task());
    kernel.mmu().dynamic(&mut task, context()).enter().unwrap();
    kernel.mmu().dynamic(&mut task, context()).pause().unwrap();
    std::mem::forget(kernel.mmu().enter(&mut task, kernel.task()));
    assert_eq!(task.depth(), 1, "a region in a pause is none");
    assert_eq!(kernel.mmu().dynamic(&mut task, context()).resume(), Ok(()));
    assert!(kernel.reports.borrow().iter().any(|report| matches!(report, Report::LeakedRegion { .. })));
    assert_eq!(task.depth(), 1, "the region around the pause goes on");
}

#[test]
fn a_region_may_be_left_after_an_inner_pause_has_ended() {
    let (_, kernel) = kernel::<false>();
    let mut task = TaskState::with_profile(Profile::Nested);
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    dynamic.pause().unwrap();
    dynamic.pause().unwrap();
    dynamic.enter().unwrap();
    assert_eq!(dynamic.resume(), Ok(()));
    dynamic.leave().unwrap();
    assert_eq!(dynamic.resume(), Ok(()));
}

/// A table that is pinned and pointed to is both again after it was rewritten by stores.
#[test]
fn a_rewritten_table_is_held_as_before() {
    let world = World::strict();
    let scene = Scene::new(&world);
    let mut live = scene.validated(scene.filled(5, 512));
    let mut task = TaskState::new();
    let mut outside = scene.kernel.mmu().outside(&mut task, scene.kernel.task());
    live.attach(&mut outside, scene.at, PteFlags::PRESENT | PteFlags::RW | PteFlags::USER).unwrap();
    let live = live.rewrite(&mut outside, 512, |n, _| Some(world.page(10 + n % 60))).unwrap();
    assert_eq!(scene.kind(5), (FrameType::Table(Level::L1), true));
    assert_eq!(world.memory(live.attached_at().unwrap()).frame(), live.frame());
    world.xen.audit().unwrap();
}

fn digest(kernel: &Small) -> u64 {
    let mut hasher = DefaultHasher::new();
    kernel.with_vcpu(|queue, _| queue.hash(&mut hasher));
    hasher.finish()
}

/// Explorers of interleavings take queues that hash alike for one.
#[test]
fn queues_that_differ_hash_differently() {
    fn nothing(_: usize, _: Status) {}
    let asked = |operations: &[Operation], callbacks: usize| {
        let (_, kernel) = kernel::<false>();
        let mut task = TaskState::new();
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        operations.iter().for_each(|operation| region.operation(operation));
        for number in 0..callbacks {
            region.operation_then(&mmuext(MmuextOp::TlbFlushLocal), Callback::new(nothing, number));
        }
        let digest = digest(&kernel);
        region.leave().unwrap();
        digest
    };
    let pin = |n| mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(n) });
    let digests = [
        asked(&[], 0),
        asked(&[update(slot(0), pte(1))], 0),
        asked(&[update(slot(0), pte(2))], 0),
        asked(&[pin(1)], 0),
        asked(&[pin(2)], 0),
        asked(&[mmuext(MmuextOp::TlbFlushLocal)], 0),
        asked(&[], 1),
        asked(&[], 2),
    ];
    for (number, digest) in digests.iter().enumerate() {
        assert!(!digests[..number].contains(digest), "{number}");
    }
}

/// A later call that was done in part has run: nothing that does not commute with it comes behind.
#[test]
fn r3_what_was_left_does_not_come_behind_a_call_that_was_done_in_part() {
    let (model, kernel) = kernel::<false>();
    poison(&model, pte(9));
    let pin = |n| mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(n) });
    model.0.borrow_mut().refused = Some(pin(8));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    [(0, 1), (1, 9), (2, 1)].into_iter().for_each(|(n, value)| region.set_pte(slot(n), pte(value)));
    (7..10).for_each(|n| region.operation(&pin(n)));
    let failures = region.leave().unwrap_err();
    let told: Vec<_> = failures.iter().map(|failure| (*failure.operation(), failure.errno().is_some())).collect();
    assert!(told.contains(&(update(slot(2), pte(1)), false)), "{told:?}");
    assert_eq!((held(&model, 0), held(&model, 2)), (pte(1).bits(), 0));
}
