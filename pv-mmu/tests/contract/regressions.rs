//! What reviews have found: each was wrong once.

use std::sync::atomic::{AtomicUsize, Ordering};

use hypercall::{DomId, Mfn, MmuextOp, Operation, Pte, PteFlags, VaFlush, VcpuId, VcpuMask, VirtAddr};
use pv_mmu::{Callback, Context, Operations, Profile, ReadModifyWrite, Report, Status, TaskState, VcpuQueue};

use crate::{
    kernel::Kernel,
    model::Model,
    small::{held, kernel, poison, pte, slot},
    world::{invlpg, preserving},
};

#[test]
fn r2_an_unmap_is_not_lost_with_the_refused_map_behind_it() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    model.0.borrow_mut().entries.insert(slot(0).address(), pte(1).bits());
    poison(&model, pte(9));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), Pte::EMPTY);
    region.set_pte(slot(0), pte(9));
    assert_eq!((region.leave().unwrap_err().count(), held(&model, 0)), (1, 0));
}

#[test]
fn r10_a_read_modify_write_does_not_overtake_a_lone_operation_of_another_kind() {
    for operation in [
        Operation::UpdateVaMapping { va: VirtAddr::unchecked(0), pte: pte(1), flush: VaFlush::None },
        Operation::Mmuext { op: MmuextOp::Unpin { table: Mfn::new(1) }, domain: DomId::SELF },
    ] {
        let (model, kernel) = kernel::<false>();
        let mut task = TaskState::new();
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        model.0.borrow_mut().entries.insert(slot(0).address(), pte(1).bits());
        region.operation(&operation);
        assert_eq!(region.get_and_clear(slot(0)).unwrap().pte(), pte(1));
        assert_eq!(model.0.borrow().applied, [operation, preserving(slot(0), Pte::EMPTY)]);
        region.leave().unwrap();
    }
}

#[test]
fn r11_a_read_does_not_miss_an_operation_that_names_no_entry() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.mmuext(MmuextOp::ClearPage { frame: Mfn::new(1) });
    let _ = region.read_pte(slot(0));
    assert_eq!(model.0.borrow().applied.len(), 1);
    region.leave().unwrap();
}

#[test]
fn r5_a_guard_within_a_pause_is_not_lazy_and_leaves_the_pause_alone() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::with_profile(Profile::Nested);
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).pause().unwrap();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(1));
    assert_eq!(held(&model, 0), pte(1).bits());
    region.leave().unwrap();
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).resume().unwrap();
}

#[test]
fn r5_outside_leaves_a_pause_and_a_dynamic_region_alone() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::with_profile(Profile::Nested);
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    dynamic.enter().unwrap();
    dynamic.pause().unwrap();
    kernel.mmu().outside(&mut task, kernel.task()).set_pte(slot(0), pte(1)).unwrap().not_cached();
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).resume().unwrap();
    assert!(kernel.reports.borrow().is_empty() && task.is_lazy());
}

#[test]
fn r4_a_guard_in_a_dynamic_region_is_one_more_level() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).enter().unwrap();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(1));
    assert_eq!(held(&model, 0), 0);
    region.leave().unwrap();
    assert_eq!((held(&model, 0), task.depth()), (pte(1).bits(), 1));
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).leave().unwrap();
}

#[test]
fn r4_a_guard_at_the_255th_level_is_without_effect() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::with_profile(Profile::Nested);
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    (0..255).for_each(|_| dynamic.enter().unwrap());
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(1));
    region.leave().unwrap();
    assert_eq!((held(&model, 0), task.depth()), (pte(1).bits(), 255));
}

#[test]
fn r2_a_leaked_guard_is_found_at_the_next_dynamic_enter() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    std::mem::forget(kernel.mmu().enter(&mut task, kernel.task()));
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).enter().unwrap();
    assert_eq!(*kernel.reports.borrow(), [Report::LeakedRegion { depth: 1 }]);
}

#[test]
fn r12_a_vcpu_that_comes_online_before_the_flush_is_handed_over_is_flushed() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let both: VcpuMask = [0, 1].map(VcpuId::new).into_iter().collect();
    kernel.online.set(VcpuMask::EMPTY.with(VcpuId::new(0)));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), Pte::EMPTY);
    region.mmuext(MmuextOp::TlbFlushMulti { vcpus: both });
    kernel.online.set(both);
    region.leave().unwrap();
    assert_eq!(model.0.borrow().applied.last().and_then(|last| last.vcpus().copied()), Some(both));
}

#[test]
fn r11_a_preserving_write_over_a_pending_one_is_read_as_it_will_be() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let dirty = Pte::from_bits(pte(1).bits() | PteFlags::DIRTY.bits());
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), dirty);
    region.mmuext(MmuextOp::TlbFlushLocal);
    region.commit_pte(slot(0), pte(2));
    let pending = region.read_pte(slot(0));
    region.flush();
    assert_eq!(pending, region.read_pte(slot(0)));
    region.leave().unwrap();
}

#[test]
fn r6_under_the_stop_policy_a_handlers_write_is_attempted_all_the_same() {
    let (model, kernel) = kernel::<true>();
    let mut task = TaskState::new();
    poison(&model, pte(9));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(9));
    kernel.mmu().interrupt(kernel.interrupt()).set_pte(slot(5), pte(5)).unwrap();
    assert_eq!(held(&model, 5), pte(5).bits());
    region.leave().unwrap();
    let stats = kernel.mmu().stats();
    assert_eq!((stats.applied, stats.refused, stats.not_attempted), (1, 1, 0));
}

#[test]
fn r13_a_flush_behind_a_refused_write_is_issued_twice_and_no_more() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    poison(&model, pte(9));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(9));
    region.set_pte(slot(1), pte(1));
    region.mmuext(MmuextOp::TlbFlushAll);
    region.leave().unwrap_err();
    assert_eq!(model.0.borrow().hypercalls, [2, 1, 1], "multicall, the rest of the array, the flush again");
}

#[test]
fn r15_a_batch_with_many_refusals_is_settled_in_as_many_hypercalls() {
    let model = Model::default();
    let kernel = Kernel::<Model, Model, 64, 32, 128>::new(model.clone(), [model.clone()]);
    let mut task = TaskState::new();
    poison(&model, pte(9));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    for n in 0..16 {
        region.set_pte(slot(2 * n), pte(9));
        region.set_pte(slot(2 * n + 1), pte(1));
        region.mmuext(invlpg(n as u64));
    }
    region.leave().unwrap_err();
    let hypercalls = model.0.borrow().hypercalls.len();
    assert!(hypercalls <= 1 + 16 + 16, "{hypercalls} hypercalls for 48 operations");
}

#[test]
fn r15_no_step_hands_over_more_than_its_bound() {
    let model = Model::default();
    let kernel = Kernel::<Model, Model, 1, 32, 128>::new(model.clone(), [model.clone()]);
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    (0..100).for_each(|n| region.mmuext(invlpg(n)));
    region.leave().unwrap();
    let largest = model.0.borrow().hypercalls.iter().copied().max().unwrap();
    assert!(largest > 1 && largest <= VcpuQueue::<1, 32, 128>::MASKED_BOUND);
}

static RAN: AtomicUsize = AtomicUsize::new(0);

#[test]
fn a_callback_of_a_flush_of_nobody_runs_once() {
    fn ran(_: usize, _: Status) {
        RAN.fetch_add(1, Ordering::Relaxed);
    }
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let nobody = Operation::Mmuext { op: MmuextOp::TlbFlushMulti { vcpus: VcpuMask::EMPTY }, domain: DomId::SELF };
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.operation_then(&nobody, Callback::new(ran, 0));
    region.leave().unwrap();
    assert_eq!(RAN.load(Ordering::Relaxed), 1);
}

static SEEN: AtomicUsize = AtomicUsize::new(0);

#[test]
fn r14_a_callback_for_the_whole_batch_is_told_of_a_failure_in_it() {
    fn seen(_: usize, status: Status) {
        SEEN.store(1 + usize::from(status != Status::Applied), Ordering::Relaxed);
    }
    let (model, kernel) = kernel::<false>();
    poison(&model, pte(9));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(9));
    region.after_flush(Callback::new(seen, 0));
    region.leave().unwrap_err();
    assert_eq!(SEEN.load(Ordering::Relaxed), 2);
}

#[test]
fn r17_the_equation_holds_while_counting_is_off() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(1));
    kernel.mmu().count(false);
    let stats = kernel.mmu().stats();
    region.leave().unwrap();
    let done = stats.applied + stats.refused + stats.not_attempted + stats.merged + stats.superseded;
    assert_eq!(stats.queued, done + stats.pending);
}

#[cfg(feature = "caller-location")]
mod caller_location {
    use hypercall::{Errno, FaultAt, Level};

    use super::*;

    type Faulty = Kernel<FaultAt<Model>, Model, 8, 8, 64>;

    fn faulty() -> Faulty {
        let model = Model::default();
        Kernel::new(model.clone(), [FaultAt::new(model, 0, Errno::INVAL)])
    }

    #[test]
    fn r14_each_operation_of_an_array_has_its_own_line() {
        let kernel = faulty();
        let mut task = TaskState::new();
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        let line = line!() + 1;
        region.mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(1) });
        region.mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(2) });
        let failures = region.leave().unwrap_err();
        assert_eq!(failures.iter().next().unwrap().caller().unwrap().line(), line);
    }

    #[test]
    fn r14_the_line_is_the_callers_and_not_the_librarys() {
        let kernel = faulty();
        kernel.mmu().switch(kernel.switch()).base_pointers(Mfn::new(1), Mfn::new(0));
        assert_eq!(kernel.failed()[0].caller().unwrap().file(), file!());
    }
}

#[test]
fn a_range_over_an_empty_queue_is_found_by_what_comes_behind_it() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_ptes(slot(0), 4, |n| pte(n as u64 + 1)).unwrap();
    assert_eq!(region.read_pte(slot(2)), pte(3), "R11");
    region.set_pte(slot(2), Pte::EMPTY);
    region.wrprotect_range(slot(0), 4).unwrap();
    assert_eq!(region.get_and_clear(slot(1)).unwrap().pte(), pte(2));
    region.leave().unwrap();
    assert_eq!([0, 1, 2, 3].map(|n| held(&model, n)), [pte(1).bits(), 0, 0, pte(4).bits()]);
    assert_eq!(kernel.mmu().stats().merged, 1, "the write behind the range joined it");
}

#[test]
fn a_range_that_fills_the_queue_exactly_is_one_batch_and_a_longer_one_loses_nothing() {
    for (count, batches) in [(8, 1), (9, 2), (20, 3)] {
        let (model, kernel) = kernel::<false>();
        let mut task = TaskState::new();
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        let mut asked = 0;
        let value = |n: usize| {
            asked += 1;
            pte(n as u64 + 1)
        };
        region.set_ptes(slot(0), count, value).unwrap();
        region.leave().unwrap();
        assert_eq!(asked, count, "each value is asked for once");
        assert!((0..count).all(|n| held(&model, n) == pte(n as u64 + 1).bits()), "{count}");
        let stats = kernel.mmu().stats();
        assert_eq!((stats.flushes, stats.queued, stats.applied), (batches, count as u64, count as u64));
    }
}

/// What had been applied when each value of a range of `count` was asked for, behind `before`.
fn applied_when_asked(before: &[Operation], count: usize) -> Vec<usize> {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    before.iter().for_each(|operation| region.operation(operation));
    let mut applied = Vec::new();
    let value = |n: usize| {
        applied.push(model.0.borrow().applied.len());
        pte(n as u64 + 1)
    };
    region.set_ptes(slot(0), count, value).unwrap();
    region.leave().unwrap();
    applied
}

#[test]
fn r12_a_value_of_a_range_is_asked_for_in_the_step_that_queues_it() {
    let full = (0..20).map(|n| n / 8 * 8).collect::<Vec<_>>();
    assert_eq!(applied_when_asked(&[], 20), full, "no room for another update");
    let calls: Vec<_> = (0..8).map(|sp| Operation::StackSwitch { ss: 0, sp: VirtAddr::unchecked(sp << 12) }).collect();
    assert_eq!(applied_when_asked(&calls, 2), [8, 8], "no room for another call");
    assert_eq!(applied_when_asked(&calls[..1], 9), [[0; 8].as_slice(), &[9]].concat(), "behind something else");
}

#[test]
fn r2_what_is_refused_of_a_range_is_named_and_the_rest_is_effective() {
    let (model, kernel) = kernel::<false>();
    poison(&model, pte(3));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_ptes(slot(0), 6, |n| pte(n as u64 + 1)).unwrap();
    let failures = region.leave().unwrap_err();
    assert_eq!(failures.count(), 1);
    assert_eq!(
        [0, 1, 2, 3, 5].map(|n| held(&model, n)),
        [1, 2, 0, 4, 6].map(|n| if n == 0 { 0 } else { pte(n).bits() })
    );
}
