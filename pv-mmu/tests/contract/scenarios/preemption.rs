//! S17, S18, S22-S24: context switches and migration.

use std::sync::atomic::{AtomicUsize, Ordering};

use hypercall::{Mfn, MmuextOp, Operation, Pte, VcpuId, VirtAddr};
use mock_xen::referee::Profile as Judged;
use pv_mmu::{Callback, Profile, Status, TaskState};

use crate::world::{Watch, World, mmuext, update};

#[test]
fn s17_what_the_outgoing_task_queued_is_applied_before_the_next_one_runs() {
    let world = World::strict();
    let (kernel, mut s0, mut s1) = (world.kernel::<false>(), TaskState::new(), TaskState::new());
    let (t0, t1) = (Watch::new(&world, &kernel, 0), Watch::new(&world, &kernel, 1));
    let (a, b, c) = (world.slot(0, 1), world.slot(0, 2), world.slot(0, 3));
    let mut r0 = t0.enter(&mut s0);
    r0.set(a, world.page(0));
    t0.switch_to(&t1, &[]);
    assert_eq!(world.memory(a), world.stored(0));
    let mut r1 = t1.enter(&mut s1);
    r1.set(c, world.page(2));
    t1.switch_to(&t0, &[]);
    r0.set(b, world.page(1));
    assert_eq!(world.memory(b), Pte::EMPTY, "the task is lazy again, or still");
    r0.leave().unwrap();
    t0.switch_to(&t1, &[]);
    r1.leave().unwrap();
    assert_eq!(world.take_calls().len(), 3);
    world.assert_clean();
}

#[test]
fn s18_a_migrated_task_queues_where_it_is_now() {
    let world = World::strict();
    let (kernel, mut s0) = (world.kernel::<false>(), TaskState::new());
    let (t0, idle) = (Watch::new(&world, &kernel, 0), Watch::new(&world, &kernel, 9));
    let (a, b) = (world.slot(0, 1), world.slot(0, 2));
    let mut region = t0.enter(&mut s0);
    region.set(a, world.page(0));
    t0.switch_to(&idle, &[]);
    kernel.current.set(1);
    region.set(b, world.page(1));
    assert_eq!((kernel.pending(0), kernel.pending(1)), (0, 1));
    region.leave().unwrap();
    assert_eq!(world.take_calls(), [[update(a, world.page(0))], [update(b, world.page(1))]]);
    assert_eq!(kernel.hypervisor(1, |vcpu| vcpu.id()), VcpuId::new(1));
    world.assert_clean();
}

#[test]
fn s22_the_switch_leaves_as_one_ordered_multicall() {
    static LOADED: AtomicUsize = AtomicUsize::new(0);
    fn loaded(base: usize, status: Status) {
        assert_eq!(status, Status::Applied);
        LOADED.store(base, Ordering::SeqCst);
    }
    let world = World::strict();
    let (kernel, mut s0) = (world.kernel::<false>(), TaskState::new());
    let (t0, t1) = (Watch::new(&world, &kernel, 0), Watch::new(&world, &kernel, 1));
    let base = world.xen.processor(VcpuId::new(0)).base;
    let (a, page) = (world.slot(0, 1), world.page(0));
    let bases = [MmuextOp::NewBaseptr { table: base }, MmuextOp::NewUserBaseptr { table: Mfn::new(0) }].map(mmuext);
    let stack = Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0xffff_c900_0001_0000) };
    let mut region = t0.enter(&mut s0);
    region.set(a, page);
    region.region.operation_then(&bases[0], Callback::new(loaded, 0x5b0));
    world.referee().ask(t0.asker(), bases[0]);
    assert_eq!(LOADED.load(Ordering::SeqCst), 0);
    t0.switch_to(&t1, &[bases[1], stack]);
    assert_eq!(LOADED.load(Ordering::SeqCst), 0x5b0, "the base pointer counts as loaded only now");
    assert_eq!(world.take_calls(), [vec![update(a, page), bases[0], bases[1], stack]]);
    kernel.current.set(1);
    region.leave().unwrap();
    world.assert_clean();
}

#[test]
fn s22_base_pointers_and_stack_by_the_hook_alone() {
    let world = World::strict();
    let kernel = world.kernel::<false>();
    let base = world.xen.processor(VcpuId::new(0)).base;
    let mut switch = kernel.mmu().switch(kernel.switch());
    switch.base_pointers(base, Mfn::new(0));
    switch.stack(0xe02b, VirtAddr::unchecked(0x7000));
    assert_eq!((world.take_calls().len(), kernel.pending(0)), (0, 3));
    switch.finish();
    assert_eq!(world.take_calls()[0].len(), 3);
    assert_eq!(kernel.mmu().stats().flushes_by_reason[pv_mmu::FlushReason::Switch as usize], 1);
}

#[test]
fn s23_a_paused_task_stays_paused_across_a_switch() {
    let world = World::new(Judged::Nested);
    let (kernel, mut s0) = (world.kernel::<false>(), TaskState::with_profile(Profile::Nested));
    let (t0, t1) = (Watch::new(&world, &kernel, 0), Watch::new(&world, &kernel, 1));
    let mut task = t0.dynamic(&mut s0);
    task.enter().unwrap();
    task.pause().unwrap();
    t0.switch_to(&t1, &[]);
    t1.switch_to(&t0, &[]);
    task.set(world.slot(0, 1), world.page(0));
    assert_eq!(world.memory(world.slot(0, 1)), world.stored(0));
    task.resume().unwrap();
    assert!(task.dynamic.is_lazy());
    task.leave().unwrap();
    world.assert_clean();
}

#[test]
fn s24_the_hook_changes_no_task() {
    let world = World::strict();
    let (kernel, mut s0, s1) = (world.kernel::<false>(), TaskState::new(), TaskState::new());
    let (t0, t1) = (Watch::new(&world, &kernel, 0), Watch::new(&world, &kernel, 1));
    t0.dynamic(&mut s0).enter().unwrap();
    let before = (format!("{s0:?}"), format!("{s1:?}"));
    t0.switch_to(&t1, &[]);
    assert_eq!((format!("{s0:?}"), format!("{s1:?}")), before);
    t1.switch_to(&t0, &[]);
    t0.dynamic(&mut s0).leave().unwrap();
    world.assert_clean();
}
