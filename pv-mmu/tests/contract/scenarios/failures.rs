//! S47, S48, S51, S52: refusals, callbacks.

use std::{
    cell::RefCell,
    sync::atomic::{AtomicUsize, Ordering},
};

use hypercall::{Errno, MmuextOp, Operation, Pte, VirtAddr};
use pv_mmu::{Callback, Operations, Report, Status, TaskState};

use crate::{
    kernel::Kernel,
    model::Model,
    world::{RW, Watch, World, invlpg, mmuext, update},
};

/// A page that Xen refuses to map writable: a table in use.
fn refused(world: &World) -> Pte {
    Pte::new(world.tables[1], RW)
}

#[test]
fn s47_what_follows_a_refused_write_is_attempted_and_the_refusal_named() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slots = [0, 1, 2, 3, 4].map(|n| world.slot(0, n));
    let mut region = task.enter(&mut state);
    for (n, slot) in slots.into_iter().enumerate() {
        region.set(slot, if n == 2 { refused(&world) } else { world.page(n) });
    }
    region.mmuext(MmuextOp::TlbFlushAll);
    let failures = region.leave().unwrap_err();
    let named: Vec<_> = failures.iter().map(|failure| (*failure.operation(), failure.errno())).collect();
    assert_eq!(named, [(update(slots[2], refused(&world)), Some(Errno::BUSY))]);
    let applied = [0, 1, 3, 4].map(|n| world.memory(slots[n]) == world.stored(n));
    assert_eq!((applied, world.memory(slots[2])), ([true; 4], Pte::EMPTY));
    let calls = world.take_calls();
    let flush = mmuext(MmuextOp::TlbFlushAll);
    assert_eq!(calls[1], [update(slots[3], world.page(3)), update(slots[4], world.page(4))]);
    assert_eq!(calls[2], [flush], "the flush has to come after the writes it was asked for after");
    world.assert_clean();
}

#[test]
fn s47_with_the_stop_policy_the_rest_is_named_as_not_attempted() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<true>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slots = [0, 1, 2, 3, 4].map(|n| world.slot(0, n));
    let mut region = task.enter(&mut state);
    for (n, slot) in slots.into_iter().enumerate() {
        region.set(slot, if n == 2 { refused(&world) } else { world.page(n) });
    }
    let failures = region.leave().unwrap_err();
    let named: Vec<_> = failures.iter().map(|failure| failure.errno()).collect();
    assert_eq!(named, [Some(Errno::BUSY), None, None]);
    assert_eq!(world.take_calls().len(), 1);
    let stats = kernel.mmu().stats();
    assert_eq!((stats.applied, stats.refused, stats.not_attempted), (2, 1, 2));
    world.assert_clean();
}

#[test]
fn s47_a_write_that_would_come_too_late_is_not_attempted() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (a, b) = (world.slot(0, 0), world.slot(0, 1));
    let no_ldt = MmuextOp::SetLdt { base: VirtAddr::unchecked(0), entries: 0 };
    let mut region = task.enter(&mut state);
    region.set(a, refused(&world));
    region.set(b, world.page(1));
    region.mmuext(no_ldt);
    let failures = region.leave().unwrap_err();
    let named: Vec<_> = failures.iter().map(|failure| (*failure.operation(), failure.errno())).collect();
    assert_eq!(named, [(update(a, refused(&world)), Some(Errno::BUSY)), (update(b, world.page(1)), None)]);
    world.assert_clean();
}

#[test]
fn s47_a_write_overwritten_later_is_not_brought_back() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (a, b) = (world.slot(0, 0), world.slot(0, 1));
    let mut region = task.enter(&mut state);
    region.set(a, refused(&world));
    region.set(b, world.page(1));
    region.mmuext(invlpg(1));
    region.set(b, world.page(2));
    let failures = region.leave().unwrap_err();
    assert_eq!((failures.count(), world.memory(b)), (2, world.stored(2)));
    world.assert_clean();
}

#[test]
fn failures_beyond_those_kept_go_to_the_platform_one_by_one() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let mut region = task.enter(&mut state);
    (0..6).for_each(|n| region.set(world.slot(0, n), refused(&world)));
    let failures = region.leave().unwrap_err();
    assert_eq!((failures.count(), failures.iter().count(), kernel.failed().len()), (6, 4, 2));
    let mut region = task.enter(&mut state);
    region.set(world.slot(0, 9), refused(&world));
    region.drop_it();
    assert_eq!(kernel.failed().len(), 3, "a dropped guard has nobody else to tell");
    world.assert_clean();
}

#[test]
fn a_refusal_found_at_a_switch_goes_to_the_platform() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let (task, next) = (Watch::new(&world, &kernel, 1), Watch::new(&world, &kernel, 2));
    let mut region = task.enter(&mut state);
    region.set(world.slot(0, 1), refused(&world));
    task.switch_to(&next, &[]);
    assert_eq!(kernel.failed()[0].errno(), Some(Errno::BUSY));
    next.switch_to(&task, &[]);
    region.leave().unwrap();
    world.assert_clean();
}

#[test]
fn a_refused_operation_of_a_handler_is_the_handlers() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let mut region = task.enter(&mut state);
    region.set(world.slot(0, 1), world.page(0));
    let failure = task.interrupt(&update(world.slot(0, 2), refused(&world))).unwrap_err();
    assert_eq!(failure.errno(), Some(Errno::BUSY));
    region.leave().unwrap();
    assert!(kernel.failed().is_empty());
    world.assert_clean();
}

#[test]
fn s48_a_refused_multicall_loses_nothing() {
    let model = Model::default();
    model.0.borrow_mut().no_multicall = true;
    let kernel = Kernel::<_, _>::new(model.clone(), [model.clone()]);
    let mut state = TaskState::new();
    let slot = hypercall::PteSlot::of(hypercall::Mfn::new(1), 0);
    let mut region: pv_mmu::Region<'_, Kernel<_, _>> = kernel.mmu().enter(&mut state, kernel.task());
    region.set_pte(slot, Pte::from_bits(7));
    region.mmuext(MmuextOp::TlbFlushAll);
    region.leave().unwrap();
    assert_eq!(model.0.borrow().applied, [update(slot, Pte::from_bits(7)), mmuext(MmuextOp::TlbFlushAll)]);
    assert_eq!(*kernel.reports.borrow(), [Report::MulticallRefused(Errno::INVAL)]);
}

thread_local! {
    static ORDER: RefCell<Vec<(usize, Status)>> = const { RefCell::new(Vec::new()) };
}

fn note(data: usize, status: Status) {
    ORDER.with_borrow_mut(|order| order.push((data, status)));
}

#[test]
fn callbacks_are_told_what_became_of_their_operation() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    region.operation_then(&update(world.slot(0, 0), world.page(0)), Callback::new(note, 1));
    region.operation_then(&update(world.slot(0, 1), refused(&world)), Callback::new(note, 2));
    region.operation_then(&mmuext(invlpg(1)), Callback::new(note, 3));
    region.leave().unwrap_err();
    let expected = [(1, Status::Applied), (2, Status::Refused(Errno::BUSY)), (3, Status::Applied)];
    assert_eq!(ORDER.take(), expected);
}

/// A kernel that callbacks can reach.
struct Reachable {
    kernel: Kernel<Model, Model>,
    runs: AtomicUsize,
}

thread_local! {
    static REACHABLE: &'static Reachable = Box::leak(Box::new({
        let model = Model::default();
        Reachable { kernel: Kernel::new(model.clone(), [model]), runs: AtomicUsize::new(0) }
    }));
}

fn busy(depth: usize, _: Status) {
    REACHABLE.with(|reachable| {
        reachable.runs.fetch_add(1, Ordering::SeqCst);
        let mut handler = reachable.kernel.mmu().interrupt(reachable.kernel.interrupt());
        handler.operation(&Operation::FpuTaskswitch { set: true }).unwrap();
        if depth > 0 {
            let mut switch = reachable.kernel.mmu().switch(reachable.kernel.switch());
            switch.operation(&Operation::FpuTaskswitch { set: false });
        }
        handler.flush();
    });
}

#[test]
fn s51_a_callback_may_queue_and_flush_and_runs_once() {
    REACHABLE.with(|reachable| {
        let mut state = TaskState::new();
        let mut region = reachable.kernel.mmu().enter(&mut state, reachable.kernel.task());
        (0..5).for_each(|n| region.operation_then(&Operation::FpuTaskswitch { set: false }, Callback::new(busy, n)));
        region.leave().unwrap();
        assert_eq!(reachable.runs.load(Ordering::SeqCst), 5);
        let model = reachable.kernel.memory.0.borrow();
        assert_eq!(model.applied.len(), 5 + 5 + 4);
    });
}

#[test]
fn s52_a_batch_within_a_batch_keeps_its_order() {
    let world = World::strict();
    let kernel = world.kernel::<false>();
    let mut outer = kernel.mmu().switch(kernel.switch());
    outer.operation(&Operation::FpuTaskswitch { set: true });
    let mut inner = kernel.mmu().switch(kernel.switch());
    inner.operation(&Operation::FpuTaskswitch { set: false });
    inner.finish();
    outer.stack(0xe02b, VirtAddr::unchecked(0x1000));
    outer.finish();
    let calls = world.take_calls();
    let set = |set| Operation::FpuTaskswitch { set };
    assert_eq!(calls[0], [set(true), set(false)]);
    assert_eq!(calls[1], [Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0x1000) }]);
}

#[test]
fn a_callback_is_told_the_truth_when_an_interrupt_hands_its_operation_over() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    region.operation_then(&update(world.slot(0, 1), refused(&world)), Callback::new(note, 7));
    kernel.mmu().interrupt(kernel.interrupt()).flush();
    assert_eq!(ORDER.take(), [(7, Status::Refused(Errno::BUSY))]);
    assert_eq!(kernel.failed().len(), 1);
    region.leave().unwrap();
}
