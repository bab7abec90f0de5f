//! R15-R17: counts, bounds, and the steps that an operation takes.

use std::{cell::Cell, rc::Rc};

use hypercall::{Mfn, Pte, PteSlot};
use pv_mmu::{Context, FlushReason, Operations, Profile, Stats, TaskState, VcpuQueue};

use crate::{
    kernel::Kernel,
    model::Model,
    small::{kernel, pte, slot},
    world::invlpg,
};

#[test]
fn r15_a_batch_may_be_as_large_as_the_bound_and_no_larger() {
    let model = Model::default();
    let kernel = Kernel::<Model, Model, 8, 4, 20>::new(model.clone(), [model.clone()]);
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    (0..8).for_each(|n| region.set_pte(slot(n), pte(1)));
    (0..40).for_each(|page| region.mmuext(invlpg(page)));
    region.leave().unwrap();
    assert_eq!(kernel.mmu().stats().largest_batch, VcpuQueue::<8, 4, 20>::MASKED_BOUND as u64);
}

#[test]
fn r15_between_two_chunks_of_a_range_upcalls_are_open() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let (asked, at_upcall) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    for pending in [false, true] {
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        if pending {
            region.set_pte(slot(30), pte(1));
        }
        asked.set(0);
        let pte_of = |n| {
            if n == 0 {
                let (asked, at_upcall) = (asked.clone(), at_upcall.clone());
                *kernel.between_steps.borrow_mut() = Some(Box::new(move || at_upcall.set(asked.get())));
            }
            asked.set(n + 1);
            pte(1)
        };
        region.set_ptes(slot(0), 20, pte_of).unwrap();
        region.leave().unwrap();
        assert_eq!((at_upcall.get(), asked.get()), (8 - usize::from(pending), 20));
    }
}

#[test]
fn r16_what_waits_takes_one_step_and_what_goes_out_alone_does_not_pass_the_queue() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let steps = |call: &mut dyn FnMut()| {
        let before = kernel.steps.get();
        call();
        kernel.steps.get() - before
    };
    let mut outside = kernel.mmu().outside(&mut task, kernel.task());
    assert_eq!(steps(&mut || outside.set_pte(slot(0), pte(1)).unwrap().not_cached()), 1);
    let stats = kernel.mmu().stats();
    assert_eq!((stats.direct, stats.flushes, stats.queued, stats.applied), (1, 0, 1, 1));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    assert_eq!(steps(&mut || region.set_pte(slot(0), pte(2))), 1);
    assert_eq!(steps(&mut || region.mmuext(invlpg(1))), 1);
    assert_eq!(steps(&mut || region.set_ptes(slot(1), 4, |_| pte(1)).unwrap()), 1);
    assert_eq!(steps(&mut || region.flush()), 1);
    assert_eq!(model.0.borrow().hypercalls, [1, 3]);
    region.leave().unwrap();
}

#[test]
fn r17_batches_of_any_size_are_in_the_histogram() {
    let model = Model::default();
    let kernel = Box::new(Kernel::<Model, Model, 8192, 4, 20>::new(model.clone(), [model]));
    let mut task = TaskState::new();
    for (size, bucket) in [(1, 0), (2, 1), (3, 1), (4, 2), (4095, 11), (8192, 11)] {
        let before = kernel.mmu().stats();
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        (0..size).for_each(|n| region.set_pte(PteSlot::of(Mfn::new(1 + n as u64 / 512), n % 512), pte(1)));
        region.leave().unwrap();
        let mut expected = before.batch_sizes;
        expected[bucket] += 1;
        assert_eq!((kernel.mmu().stats().batch_sizes, Stats::BUCKETS), (expected, 12), "{size} operations");
    }
}

#[test]
fn r17_the_outermost_leave_is_counted_apart_from_the_others() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::with_profile(Profile::Nested);
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    (0..3).for_each(|_| dynamic.enter().unwrap());
    for n in 0..3 {
        dynamic.set_pte(slot(n), pte(1)).unwrap();
        dynamic.leave().unwrap();
    }
    let by = kernel.mmu().stats().flushes_by_reason;
    assert_eq!((by[FlushReason::NestedLeave as usize], by[FlushReason::Leave as usize]), (2, 1));
}

#[test]
fn r17_what_waits_is_counted_as_pending_and_r18_nothing_while_counting_is_off() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    (0..3).for_each(|n| region.set_pte(slot(n), pte(1)));
    let stats = kernel.mmu().stats();
    assert_eq!((stats.queued, stats.pending, stats.applied), (3, 3, 0));
    region.flush();
    kernel.mmu().count(false);
    let before = kernel.mmu().stats();
    // Writes that join and a flush that is dropped among them.
    (0..6).for_each(|n| region.set_pte(slot(n / 2), Pte::EMPTY));
    (0..2).for_each(|_| region.mmuext(invlpg(1)));
    region.set_ptes(slot(4), 2, |_| pte(1)).unwrap();
    region.leave().unwrap();
    kernel.mmu().outside(&mut task, kernel.task()).set_pte(slot(0), pte(1)).unwrap().not_cached();
    assert_eq!(kernel.mmu().stats(), before);
}
