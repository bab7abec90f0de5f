//! S28-S30, S32, S33: interrupts, exceptions, and what cannot be masked.

use std::{cell::RefCell, panic, rc::Rc};

use hypercall::{Level, Pte};
use pv_mmu::{Operations, Platform, TaskState};

use crate::world::{Watch, World, mmuext, update};

#[test]
fn s28_a_handlers_write_is_immediate_and_the_task_stays_lazy() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (a, k, b) = (world.slot(0, 1), world.slot(1, 7), world.slot(0, 2));
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    task.interrupt(&update(k, world.page(1))).unwrap();
    assert_eq!(world.memory(k), world.stored(1));
    region.set(b, world.page(2));
    assert_eq!(world.memory(b), Pte::EMPTY);
    region.leave().unwrap();
    let expected = [vec![update(a, world.page(0)), update(k, world.page(1))], vec![update(b, world.page(2))]];
    assert_eq!(world.take_calls(), expected);
    world.assert_clean();
}

#[test]
fn s29_a_handlers_write_to_a_pending_entry_comes_last() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let a = world.slot(0, 1);
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    task.interrupt(&update(a, world.page(1))).unwrap();
    region.leave().unwrap();
    assert_eq!(world.memory(a), world.stored(1));
    assert_eq!(world.take_calls(), [[update(a, world.page(0)), update(a, world.page(1))]]);
    world.assert_clean();
}

#[test]
fn s30_an_upcall_meets_whole_entries_only() {
    let world = World::strict();
    let kernel = Rc::new(world.kernel::<false>());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let mut state = TaskState::new();
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    for n in 0..4 {
        // The upcall comes as late as it can: when the step is about to begin.
        let (upcall, seen) = (pending_of(&kernel), seen.clone());
        *kernel.between_steps.borrow_mut() = Some(Box::new(move || seen.borrow_mut().push(upcall)));
        region.set_pte(world.slot(0, n), world.page(n));
    }
    region.leave().unwrap();
    assert_eq!(*seen.borrow(), [0, 1, 2, 3]);
    let whole: Vec<_> = (0..4).map(|n| update(world.slot(0, n), world.page(n))).collect();
    assert_eq!(world.take_calls(), [whole]);
}

fn pending_of<const STOP: bool>(kernel: &crate::world::OnMock<'_, STOP>) -> u64 {
    kernel.pending(0)
}

#[test]
fn s32_what_masking_does_not_hold_off_is_turned_away_and_nothing_is_corrupted() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    region.set_pte(world.slot(0, 1), world.page(0));
    // An NMI in the middle of a step: the platform refuses the second entry to the vCPU.
    let refused = kernel.with_vcpu(|_, _| {
        let nmi = || kernel.mmu().interrupt(kernel.interrupt()).set_pte(world.slot(0, 2), world.page(1));
        panic::catch_unwind(panic::AssertUnwindSafe(nmi)).is_err()
    });
    assert!(refused && world.take_calls().is_empty());
    region.set_pte(world.slot(0, 3), world.page(2));
    region.leave().unwrap();
    let expected = [[update(world.slot(0, 1), world.page(0)), update(world.slot(0, 3), world.page(2))]];
    assert_eq!(world.take_calls(), expected);
}

#[test]
fn s33_a_fault_handlers_upper_entry_is_in_force_when_it_returns() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let address = world.xen.direct_map(world.pages[0]).unwrap();
    let upper = world.xen.slot_of(task.asker().vcpu, address, Level::L2).unwrap();
    let (a, free) = (world.slot(0, 1), upper.offset(100).unwrap());
    let attach = update(free, Pte::new(world.tables[1], crate::world::RW));
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    task.interrupt(&attach).unwrap();
    assert!(world.memory(free).is_present());
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(a, world.page(0)), attach]]);
    world.assert_clean();
}

#[test]
fn s41_a_remote_queue_is_flushed_before_its_table_is_unpinned() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let table = world.tables[0];
    kernel.current.set(1);
    let mut switch = kernel.mmu().switch(kernel.switch());
    switch.stack(0xe02b, hypercall::VirtAddr::unchecked(0x1000));
    kernel.current.set(0);
    let unpin = hypercall::MmuextOp::Unpin { table };
    kernel.mmu().outside(&mut state, kernel.task()).mmuext(unpin).unwrap();
    assert_eq!(*kernel.settled.borrow(), [table]);
    let calls = world.take_calls();
    assert!(matches!(calls[0][..], [hypercall::Operation::StackSwitch { .. }]));
    assert_eq!(calls[1], [mmuext(unpin)]);
    kernel.current.set(1);
    switch.finish();
}
