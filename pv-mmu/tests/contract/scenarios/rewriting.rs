//! S43-S46: merging, accessed and dirty, two tables, clear and restore.

use hypercall::{Level, MmuextOp, Pte, PteFlags};
use pv_mmu::{HeldBuffer, ReadModifyWrite, TaskState};

use crate::world::{RW, Watch, World, preserving, update};

/// A third table, in use only through the entry at which it is attached.
fn attach_point(world: &World, task: &Watch<'_>) -> hypercall::PteSlot {
    let address = world.xen.direct_map(world.pages[0]).unwrap();
    world.xen.slot_of(task.asker().vcpu, address, Level::L2).unwrap().offset(100).unwrap()
}

/// Makes page `n` a table: read-only in the direct map.
fn make_read_only(world: &World, n: usize) -> (hypercall::PteSlot, Pte) {
    let address = world.xen.direct_map(world.pages[n]).unwrap();
    let slot = world.xen.slot_of(hypercall::VcpuId::new(0), address, Level::L1).unwrap();
    (slot, Pte::new(world.pages[n], PteFlags::PRESENT))
}

#[test]
fn s43_a_write_is_not_merged_forward_over_an_upper_entry() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (table, point) = (world.pages[5], attach_point(&world, &task));
    let (slot, read_only) = make_read_only(&world, 5);
    // The page becomes a table, and its only writable mapping has to go before: merged into the
    // later write of the same entry, it would go after and the attachment would be refused.
    let mut region = task.enter(&mut state);
    region.set(slot, read_only);
    region.upper(Level::L2, point, Pte::new(table, RW));
    region.set(slot, Pte::new(table, PteFlags::PRESENT | PteFlags::ACCESSED));
    region.leave().unwrap();
    assert!(world.memory(point).is_present());
    world.assert_clean();
}

#[test]
fn s43_a_write_is_not_merged_backward_over_an_upper_entry() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (table, point) = (world.pages[5], attach_point(&world, &task));
    let (slot, read_only) = make_read_only(&world, 5);
    let mut region = task.enter(&mut state);
    region.set(slot, read_only);
    region.upper(Level::L2, point, Pte::new(table, RW));
    region.leave().unwrap();
    // The table is given up, and only then may it be mapped writable again.
    let mut region = task.enter(&mut state);
    region.set(slot, read_only);
    region.upper(Level::L2, point, Pte::EMPTY);
    region.set(slot, Pte::new(table, RW));
    region.leave().unwrap();
    assert_eq!(world.memory(slot).frame(), table);
    assert!(world.memory(slot).flags().contains(PteFlags::RW));
    world.assert_clean();
}

#[test]
fn s44_what_the_hardware_notes_before_the_flush_is_kept() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 1);
    let mut region = task.enter(&mut state);
    region.set(slot, world.page(0));
    region.flush();
    let old = region.read(slot);
    region.commit(slot, old.with_flags(old.flags().without(PteFlags::RW)));
    world.xen.set_accessed_dirty(slot, PteFlags::ACCESSED_DIRTY).unwrap();
    assert!(region.read(slot).flags().contains(PteFlags::DIRTY), "the accessor sees it too");
    region.leave().unwrap();
    let now = world.memory(slot).flags();
    assert!(now.contains(PteFlags::ACCESSED_DIRTY) && !now.contains(PteFlags::RW));
    world.assert_clean();
}

#[test]
fn s44_normal_and_preserving_updates_are_joined_by_the_algebra() {
    let (accessed, dirty) = (PteFlags::ACCESSED, PteFlags::DIRTY);
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let pte = |flags| Pte::new(world.pages[0], RW | flags);
    let none = PteFlags::NONE;
    let mut region = task.enter(&mut state);
    let slots = [0, 1, 2, 3].map(|n| world.slot(0, n));
    region.set(slots[0], pte(accessed));
    region.set(slots[0], pte(none));
    region.set(slots[1], pte(accessed));
    region.commit(slots[1], pte(none));
    region.commit(slots[2], pte(accessed));
    region.commit(slots[2], pte(dirty));
    region.commit(slots[3], pte(accessed));
    region.set(slots[3], pte(none));
    region.leave().unwrap();
    let expected = [
        update(slots[0], pte(none)),
        update(slots[1], pte(accessed)),
        preserving(slots[2], pte(accessed | dirty)),
        update(slots[3], pte(none)),
    ];
    assert_eq!(world.take_calls(), [expected]);
    world.assert_clean();
}

#[test]
fn s44_the_hardware_notes_between_start_and_commit_of_a_read_modify_write() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let (slot, aged) = (world.slot(0, 1), world.slot(0, 2));
    let mut region = task.enter(&mut state);
    region.set(slot, world.page(0));
    region.set(aged, Pte::new(world.pages[1], RW | PteFlags::ACCESSED));
    region.flush();
    let protected = region.wrprotect(slot);
    world.xen.set_accessed_dirty(slot, PteFlags::ACCESSED_DIRTY).unwrap();
    assert!(region.region.test_and_clear_young(aged), "it was used");
    region.leave().unwrap();
    let now = world.memory(slot);
    assert_eq!(now.with_flags(now.flags().without(PteFlags::ACCESSED_DIRTY)), protected);
    assert!(now.flags().contains(PteFlags::ACCESSED_DIRTY));
    assert_eq!(world.memory(aged).flags(), RW | PteFlags::GLOBAL);
}

#[test]
fn s45_512_entries_move_between_two_tables_by_one_array_each_and_their_notes_along() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let mut region = task.enter(&mut state);
    region.set_range(world.slot(0, 0), 512, |n| world.page(n));
    region.flush();
    (0..512).step_by(3).for_each(|n| {
        world.xen.set_accessed_dirty(world.slot(0, n), PteFlags::ACCESSED_DIRTY).unwrap();
    });
    world.take_calls();
    let mut buffer = HeldBuffer::<512>::new();
    let mut harvest = region.region.harvest(&mut buffer);
    harvest.get_and_clear_range(world.slot(0, 0), 512).unwrap();
    harvest.flush_tlbs();
    let held = harvest.finish();
    region.region.set_ptes(world.slot(1, 0), 512, |n| held[n].pte()).unwrap();
    region.leave().unwrap();
    let calls = world.take_calls();
    assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [513, 512]);
    for n in 0..512 {
        let noted = if n % 3 == 0 { PteFlags::ACCESSED_DIRTY } else { PteFlags::NONE };
        let moved = world.stored(n);
        assert_eq!(world.memory(world.slot(1, n)), moved.with_flags(moved.flags() | noted));
        assert!(world.memory(world.slot(0, n)).is_none());
    }
}

#[test]
fn s45_512_entries_move_between_two_tables_in_one_region() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let mut region = task.enter(&mut state);
    region.set_range(world.slot(0, 0), 512, |n| world.page(n));
    region.leave().unwrap();
    world.take_calls();
    let mut region = task.enter(&mut state);
    for n in 0..512 {
        let old = region.read(world.slot(0, n));
        region.set(world.slot(0, n), Pte::EMPTY);
        region.set(world.slot(1, n), old);
    }
    region.mmuext(MmuextOp::TlbFlushAll);
    region.leave().unwrap();
    let calls = world.take_calls();
    assert_eq!((calls.len(), calls.concat().len()), (2, 1025), "a queue full, then the rest with the flush");
    for n in 0..512 {
        assert_eq!((world.memory(world.slot(0, n)), world.memory(world.slot(1, n))), (Pte::EMPTY, world.stored(n)));
    }
    world.assert_clean();
}

#[test]
fn s46_clear_and_put_back_samples_accessed_and_dirty() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let slot = world.slot(0, 1);
    let mut region = task.enter(&mut state);
    region.set(slot, world.page(0));
    region.flush();
    world.xen.set_accessed_dirty(slot, PteFlags::ACCESSED_DIRTY).unwrap();
    let sampled = region.get_and_clear(slot);
    assert!(sampled.flags().contains(PteFlags::ACCESSED_DIRTY));
    assert!(world.memory(slot).is_none());
    region.set(slot, sampled);
    region.leave().unwrap();
    assert_eq!(world.memory(slot), sampled);
    assert_eq!(sampled.frame(), world.pages[0]);
    world.assert_clean();
}
