//! S34-S37, S40, S53: order between kinds of operations.

use hypercall::{DomId, GdtFrames, MmuUpdate, MmuextOp, Operation, Subject, VcpuId, VcpuMask, VirtAddr};
use pv_mmu::{Operations, TaskState};

use crate::world::{Watch, World, invlpg, mmuext, update};

#[test]
fn s34_a_flush_asked_for_after_a_write_comes_after_it() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let a = world.slot(0, 1);
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    region.mmuext(invlpg(1));
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(a, world.page(0)), mmuext(invlpg(1))]]);
    world.assert_clean();
}

#[test]
fn s35_a_flush_asked_for_before_a_write_stays_before_it() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let a = world.slot(0, 1);
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    region.mmuext(MmuextOp::TlbFlushAll);
    region.set(a, world.page(1));
    region.leave().unwrap();
    let expected = [[update(a, world.page(0)), mmuext(MmuextOp::TlbFlushAll), update(a, world.page(1))]];
    assert_eq!(world.take_calls(), expected, "the second write is not merged past the flush");
    world.assert_clean();
}

#[test]
fn s36_ten_page_flushes_and_a_full_one_are_one_full_flush_after_the_last_write() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let a = world.slot(0, 1);
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    (0..10).for_each(|page| region.mmuext(invlpg(page)));
    region.mmuext(MmuextOp::TlbFlushAll);
    region.mmuext(invlpg(3));
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(a, world.page(0)), mmuext(MmuextOp::TlbFlushAll)]]);
    assert_eq!(task.mmu().stats().superseded, 11);
    world.assert_clean();
}

#[test]
fn s37_vcpus_that_are_offline_are_left_out_of_a_flush() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let (here, gone) = (VcpuMask::EMPTY.with(VcpuId::new(0)), VcpuMask::EMPTY.with(VcpuId::new(5)));
    let mut outside = kernel.mmu().outside(&mut state, kernel.task());
    outside.mmuext(MmuextOp::TlbFlushMulti { vcpus: here.union(&gone) }).unwrap();
    assert_eq!(world.take_calls(), [[mmuext(MmuextOp::TlbFlushMulti { vcpus: here })]]);
    outside.mmuext(MmuextOp::InvlpgMulti { address: VirtAddr::unchecked(0x1000), vcpus: gone }).unwrap();
    assert!(world.take_calls().is_empty(), "a flush of nobody is not issued");
}

#[test]
fn s40_a_synchronous_operation_does_not_overtake_the_queue() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let a = world.slot(0, 1);
    let load_gdt = Operation::SetGdt(GdtFrames::new(&[], 0).unwrap());
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    region.paused(&[load_gdt]);
    assert_eq!(world.take_calls(), [[update(a, world.page(0))], [load_gdt]]);
    region.set(a, world.page(1));
    task.interrupt(&load_gdt).unwrap();
    assert_eq!(world.take_calls(), [[update(a, world.page(1)), load_gdt]]);
    region.leave().unwrap();
    world.assert_clean();
}

#[test]
fn s53_updates_about_different_domains_do_not_share_an_array() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let mut region = kernel.mmu().enter(&mut state, kernel.task());
    let of_io = |index| Operation::Update {
        update: MmuUpdate::new(world.slot(0, index), hypercall::Pte::EMPTY),
        subject: Subject::frames_of(DomId::IO),
    };
    region.set_pte(world.slot(0, 1), world.page(0));
    region.operation(&of_io(2));
    region.operation(&of_io(1));
    region.set_pte(world.slot(0, 1), world.page(1));
    region.leave().unwrap();
    let expected =
        [update(world.slot(0, 1), world.page(0)), of_io(2), of_io(1), update(world.slot(0, 1), world.page(1))];
    assert_eq!(world.take_calls(), [expected]);
    assert_eq!(world.memory(world.slot(0, 1)), world.stored(1));
}

#[test]
fn an_upper_entry_keeps_writes_apart() {
    let world = World::strict();
    let (kernel, mut state) = (world.kernel::<false>(), TaskState::new());
    let task = Watch::new(&world, &kernel, 1);
    let a = world.slot(0, 1);
    let address = world.xen.direct_map(world.pages[0]).unwrap();
    let free = world.xen.slot_of(task.asker().vcpu, address, hypercall::Level::L2).unwrap().offset(100).unwrap();
    let mut region = task.enter(&mut state);
    region.set(a, world.page(0));
    region.upper(hypercall::Level::L2, free, hypercall::Pte::EMPTY);
    region.set(a, world.page(1));
    region.leave().unwrap();
    assert_eq!(world.take_calls().concat().len(), 3);
    world.assert_clean();
}
