//! S01-S09: what a region is.

use std::sync::atomic::{AtomicUsize, Ordering};

use hypercall::{MmuextOp, Pte, PteFlags, VirtAddr};
use mock_xen::referee::Rule;
use pv_mmu::{Callback, Status, TaskState};

use crate::world::{Watch, World, invlpg, mmuext, preserving, update};

#[test]
fn s01_a_write_in_a_region_is_applied_at_leave_and_not_before() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (slot, page) = (world.slot(0, 3), world.page(0));
    let mut region = task.enter(&mut state);
    region.set(slot, page);
    assert_eq!(world.memory(slot), Pte::EMPTY);
    region.leave().unwrap();
    assert_eq!(world.memory(slot), world.stored(0));
    assert_eq!(world.take_calls(), [[update(slot, page)]]);
    world.assert_clean();
}

#[test]
fn s02_a_write_outside_a_region_is_applied_when_it_returns() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 3);
    task.outside(&mut state, update(slot, world.page(0)), |outside| {
        outside.set_pte(slot, world.page(0)).unwrap().not_cached();
        assert_eq!(world.memory(slot), world.stored(0));
    });
    assert_eq!(world.take_calls().len(), 1);
    world.assert_clean();
}

#[test]
fn s03_an_empty_region_costs_no_hypercall_and_runs_its_callbacks_once() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    fn ran(amount: usize, status: Status) {
        assert_eq!(status, Status::Applied);
        RUNS.fetch_add(amount, Ordering::SeqCst);
    }
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    task.enter(&mut state).leave().unwrap();
    let mut region = task.enter(&mut state);
    region.region.after_flush(Callback::new(ran, 1));
    assert_eq!(RUNS.load(Ordering::SeqCst), 0);
    region.leave().unwrap();
    task.enter(&mut state).leave().unwrap();
    assert_eq!((RUNS.load(Ordering::SeqCst), world.take_calls().len()), (1, 0));
    world.assert_clean();
}

#[test]
fn s04_one_kind_goes_out_directly_and_two_as_one_multicall_in_order() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 3);
    let mut region = task.enter(&mut state);
    region.set(slot, world.page(0));
    region.mmuext(invlpg(7));
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(slot, world.page(0)), mmuext(invlpg(7))]]);
    world.assert_clean();
}

#[test]
fn s05_the_last_slot_is_usable_and_one_more_makes_a_second_hypercall() {
    for (updates, hypercalls) in [(511, 1), (512, 1), (513, 2)] {
        let world = World::strict();
        let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
        let task = Watch::new(&world, &kernel, 1);
        let mut region = task.enter(&mut state);
        for n in 0..updates {
            region.set(world.slot(n / 512, n % 512), world.page(n));
        }
        region.leave().unwrap();
        let calls = world.take_calls();
        assert_eq!(calls.len(), hypercalls, "{updates} updates");
        let expected: Vec<_> = (0..updates).map(|n| update(world.slot(n / 512, n % 512), world.page(n))).collect();
        assert_eq!(calls.concat(), expected);
        world.assert_clean();
    }
}

#[test]
fn s05_calls_arguments_and_callbacks_have_a_usable_last_slot_too() {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    fn ran(_: usize, _: Status) {
        RUNS.fetch_add(1, Ordering::SeqCst);
    }
    for (operations, hypercalls) in [(32, 1), (33, 2)] {
        let world = World::strict();
        let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
        let task = Watch::new(&world, &kernel, 1);
        let mut region = task.enter(&mut state);
        for n in 0..operations {
            region.ask(&hypercall::Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(n << 12) });
        }
        region.leave().unwrap();
        assert_eq!(world.take_calls().len(), hypercalls, "{operations} calls");
        world.assert_clean();
    }
    for (flushes, hypercalls) in [(42, 1), (43, 2)] {
        let world = World::strict();
        let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
        let task = Watch::new(&world, &kernel, 1);
        let mut region = task.enter(&mut state);
        (0..flushes).for_each(|n| region.mmuext(invlpg(n)));
        region.leave().unwrap();
        assert_eq!(world.take_calls().len(), hypercalls, "{flushes} argument blocks");
        world.assert_clean();
    }
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let mut region = task.enter(&mut state);
    for n in 0..17 {
        assert_eq!(RUNS.load(Ordering::SeqCst), if n < 17 { 0 } else { 16 }, "{n} callbacks");
        region.region.after_flush(Callback::new(ran, n));
    }
    assert_eq!(RUNS.load(Ordering::SeqCst), 16, "the seventeenth makes room");
    region.leave().unwrap();
    assert_eq!(RUNS.load(Ordering::SeqCst), 17);
}

#[test]
fn s06_an_operation_between_two_writes_keeps_its_place() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (a, b) = (world.slot(0, 1), world.slot(0, 2));
    let no_ldt = MmuextOp::SetLdt { base: VirtAddr::unchecked(0), entries: 0 };
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    region.mmuext(no_ldt);
    region.set(b, world.page(1));
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(a, world.page(0)), mmuext(no_ldt), update(b, world.page(1))]]);
    world.assert_clean();
}

#[test]
fn s07_the_last_write_wins_and_the_others_are_counted_as_merged() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 3);
    let read_only = world.page(0).with_flags(PteFlags::PRESENT | PteFlags::USER);
    let mut region = task.enter(&mut state);
    [world.page(0), read_only, Pte::EMPTY].into_iter().for_each(|pte| region.set(slot, pte));
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(slot, Pte::EMPTY)]]);
    let stats = task.mmu().stats();
    assert_eq!((stats.queued, stats.merged, stats.applied), (3, 2, 1));
    world.assert_clean();
}

#[test]
fn s07_a_write_that_could_be_refused_by_itself_stands_by_itself() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 3);
    let mut region = task.enter(&mut state);
    (0..3).for_each(|n| region.set(slot, world.page(n)));
    assert_eq!(region.read(slot), world.page(2));
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[0, 1, 2].map(|n| update(slot, world.page(n)))]);
    assert_eq!(world.memory(slot), world.stored(2));
    world.assert_clean();
}

#[test]
fn s08_the_accessor_reads_the_queue_and_a_raw_read_is_found() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 3);
    let mut region = task.enter(&mut state);
    region.set(slot, world.page(2));
    assert_eq!(region.read(slot), world.page(2));
    assert_eq!(region.read(world.slot(1, 3)), Pte::EMPTY, "the other table's entry is another entry");
    assert_eq!(world.memory(slot), Pte::EMPTY);
    world.referee().raw_read(task.asker(), slot);
    region.leave().unwrap();
    world.assert_broken(&[Rule::R11]);
}

#[test]
fn s09_a_read_modify_write_of_a_pending_entry_sees_it() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (slot, other) = (world.slot(0, 3), world.slot(0, 4));
    let mut region = task.enter(&mut state);
    region.set(slot, world.page(0));
    region.set(other, world.page(1));
    assert_eq!(region.get_and_clear(slot), world.stored(0));
    assert_eq!(world.memory(slot), Pte::EMPTY);
    region.leave().unwrap();
    assert_eq!((world.memory(slot), world.memory(other)), (Pte::EMPTY, world.stored(1)));
    world.assert_clean();
}

#[test]
fn s09_a_write_protection_of_a_pending_entry_is_one_update_with_it() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 3);
    let mut region = task.enter(&mut state);
    region.set(slot, world.page(0));
    let protected = region.wrprotect(slot);
    assert!(world.take_calls().is_empty());
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(slot, protected)]]);
    world.assert_clean();
}

#[test]
fn s09_a_read_modify_write_of_another_entry_flushes_nothing() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let mut region = task.enter(&mut state);
    region.commit(world.slot(0, 3), world.page(0));
    assert_eq!(region.get_and_clear(world.slot(0, 4)), Pte::EMPTY);
    assert!(world.take_calls().is_empty());
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[preserving(world.slot(0, 3), world.page(0))]]);
    world.assert_clean();
}
