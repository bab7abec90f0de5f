//! Each way of asking does what it says, and each message says what happened.

use hypercall::{Errno, MmuextOp, Pte, VcpuId, VcpuMask, VirtAddr};
use pv_mmu::{
    Context, EnterError, HeldBuffer, LeaveError, Operations, PauseError, Profile, RangeError, Report, ResumeError,
    SetRangeError, TaskState,
};

use crate::{
    small::{held, kernel, poison, pte, slot},
    world::{mmuext, update},
};

#[test]
fn an_explicit_flush_of_the_dynamic_interface_hands_over_and_stays_lazy() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    dynamic.enter().unwrap();
    dynamic.set_pte(slot(0), pte(1)).unwrap();
    assert_eq!(held(&model, 0), 0);
    dynamic.flush();
    assert_eq!((held(&model, 0), dynamic.is_lazy()), (pte(1).bits(), true));
    dynamic.set_pte(slot(1), pte(1)).unwrap();
    kernel.mmu().dynamic(&mut task, Context::Interrupt(kernel.interrupt())).flush();
    assert_eq!(held(&model, 1), pte(1).bits(), "a handler's");
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).leave().unwrap();
}

#[test]
fn r6_no_region_is_touched_by_a_handler() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::with_profile(Profile::Nested);
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).enter().unwrap();
    let mut handler = kernel.mmu().dynamic(&mut task, Context::Interrupt(kernel.interrupt()));
    assert_eq!(handler.enter(), Err(EnterError::Interrupt));
    assert_eq!(handler.leave(), Err(LeaveError::Interrupt));
    assert_eq!(handler.pause(), Err(PauseError::Interrupt));
    assert_eq!(handler.resume(), Err(ResumeError::Interrupt));
    assert!(!handler.is_lazy());
    handler.set_ptes(slot(0), 2, |_| pte(1)).unwrap();
    assert_eq!((held(&model, 0), held(&model, 1)), (pte(1).bits(), pte(1).bits()));
    assert_eq!((task.depth(), task.is_paused()), (1, false));
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).leave().unwrap();
}

#[test]
fn the_dynamic_interface_keeps_the_same_bounds_of_a_range() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    assert_eq!(dynamic.set_ptes(slot(0), 0, |_| pte(1)), Err(RangeError::Empty));
    assert_eq!(dynamic.set_ptes(slot(511), 2, |_| pte(1)), Err(RangeError::BeyondTable { slot: slot(511), count: 2 }));
    dynamic.enter().unwrap();
    dynamic.set_ptes(slot(0), 2, |n| pte(n as u64 + 1)).unwrap();
    assert_eq!((held(&model, 0), dynamic.read_pte(slot(1))), (0, pte(2)));
    dynamic.leave().unwrap();
    assert_eq!((held(&model, 0), held(&model, 1)), (pte(1).bits(), pte(2).bits()));
}

#[test]
fn r11_a_handler_reads_what_the_interrupted_task_has_pending() {
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(1));
    assert_eq!(kernel.mmu().interrupt(kernel.interrupt()).read_pte(slot(0)), pte(1));
    region.leave().unwrap();
}

#[test]
fn each_answer_to_the_tlb_question_flushes_what_it_names() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let address = VirtAddr::unchecked(0x7000);
    let mut outside = kernel.mmu().outside(&mut task, kernel.task());
    outside.set_pte(slot(0), pte(1)).unwrap().flush_page(address).unwrap();
    outside.set_pte(slot(0), pte(1)).unwrap().flush_page_everywhere(address).unwrap();
    outside.set_pte(slot(0), pte(1)).unwrap().flush_all().unwrap();
    outside.set_pte(slot(0), pte(1)).unwrap().not_cached();
    outside.set_pte(slot(0), pte(1)).unwrap().deferred();
    let flushed: Vec<_> =
        model.0.borrow().applied.iter().copied().filter(|operation| *operation != update(slot(0), pte(1))).collect();
    let expected =
        [MmuextOp::InvlpgLocal { address }, MmuextOp::InvlpgAll { address }, MmuextOp::TlbFlushAll].map(mmuext);
    assert_eq!(flushed, expected);
}

#[test]
fn r12_an_immediate_flush_names_nobody_who_is_offline() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let (online, all): (VcpuMask, VcpuMask) =
        (VcpuMask::EMPTY.with(VcpuId::new(0)), [0, 1].map(VcpuId::new).into_iter().collect());
    kernel.online.set(online);
    let address = VirtAddr::unchecked(0x1000);
    let mut outside = kernel.mmu().outside(&mut task, kernel.task());
    outside.mmuext(MmuextOp::TlbFlushMulti { vcpus: all }).unwrap();
    outside.mmuext(MmuextOp::InvlpgMulti { address, vcpus: all }).unwrap();
    let expected =
        [MmuextOp::TlbFlushMulti { vcpus: online }, MmuextOp::InvlpgMulti { address, vcpus: online }].map(mmuext);
    assert_eq!(model.0.borrow().applied, expected);
}

#[test]
fn r14_what_a_range_outside_could_not_empty_goes_to_the_platform_and_not_to_the_next_call() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    (0..2).for_each(|n| {
        model.0.borrow_mut().entries.insert(slot(n).address(), pte(1).bits());
    });
    model.0.borrow_mut().refused_slot = Some(slot(0));
    let mut buffer = HeldBuffer::<4>::new();
    let mut outside = kernel.mmu().outside(&mut task, kernel.task());
    let (held, owed) = outside.get_and_clear_range(slot(0), 2, &mut buffer).unwrap();
    owed.deferred();
    assert_eq!((held.len(), held[0].slot().same_entry(slot(1))), (1, true));
    assert_eq!(kernel.failed().len(), 1);
    outside.set_ptes(slot(4), 2, |_| pte(1)).expect("its own entries are effective").not_cached();
}

#[test]
fn r2_the_end_of_a_task_flushes_what_it_left_open_and_reports_only_that() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    kernel.mmu().exit_task(&mut task, kernel.task());
    assert!(kernel.reports.borrow().is_empty());
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    dynamic.enter().unwrap();
    dynamic.set_pte(slot(0), pte(1)).unwrap();
    kernel.mmu().exit_task(&mut task, kernel.task());
    assert_eq!(held(&model, 0), pte(1).bits());
    assert_eq!(*kernel.reports.borrow(), [Report::LeakedRegion { depth: 1 }]);
}

#[test]
fn r2_the_dynamic_interface_ends_a_task_but_not_from_a_handler() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut dynamic = kernel.mmu().dynamic(&mut task, Context::Task(kernel.task()));
    assert!(!dynamic.is_interrupt());
    dynamic.enter().unwrap();
    dynamic.set_pte(slot(0), pte(1)).unwrap();
    let mut handler = kernel.mmu().dynamic(&mut task, Context::Interrupt(kernel.interrupt()));
    assert!(handler.is_interrupt());
    handler.exit();
    assert_eq!((held(&model, 0), kernel.reports.borrow().len()), (0, 0));
    kernel.mmu().dynamic(&mut task, Context::Task(kernel.task())).exit();
    assert_eq!(held(&model, 0), pte(1).bits());
    assert_eq!(*kernel.reports.borrow(), [Report::LeakedRegion { depth: 1 }]);
}

#[test]
fn messages_say_what_happened_and_to_what() {
    let (model, kernel) = kernel::<true>();
    let mut task = TaskState::new();
    poison(&model, pte(9));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(9));
    region.set_pte(slot(1), Pte::EMPTY);
    let failures = region.leave().unwrap_err();
    let [refused, left] = [0, 1].map(|n| *failures.iter().nth(n).unwrap());
    let busy = Errno::BUSY.to_string();
    let says =
        |message: String, parts: &[&str]| parts.iter().for_each(|part| assert!(message.contains(part), "{message}"));
    says(refused.to_string(), &[&busy, &format!("`{} := {:#x}`", slot(0), pte(9).bits())]);
    says(left.to_string(), &["not attempted", &format!("`{} := 0x0`", slot(1))]);
    says(failures.to_string(), &["2 operations", &busy]);
    poison(&model, pte(9));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(9));
    says(region.leave().unwrap_err().to_string(), &["1 operation of the region is not effective", &busy]);
    says(LeaveError::Failed(failures).to_string(), &["2 operations"]);
    says(SetRangeError::Failed(failures).to_string(), &["2 operations"]);
    says(Report::Failed(refused).to_string(), &[&busy]);
    says(Report::LeakedRegion { depth: 3 }.to_string(), &["3", "flushed"]);
    says(Report::UnbalancedPause { regions: 4 }.to_string(), &["4 regions", "pause"]);
    says(Report::UnbalancedPause { regions: 1 }.to_string(), &["1 region opened"]);
    says(Report::MulticallRefused(Errno::BUSY).to_string(), &[&busy, "one by one"]);
    let beyond = RangeError::BeyondTable { slot: slot(511), count: 7 };
    says(beyond.to_string(), &["7 entries", &slot(511).to_string()]);
    says(SetRangeError::Range(RangeError::Empty).to_string(), &["no entries"]);
    says(EnterError::Nested.to_string(), &["`Nested`"]);
    says(PauseError::TooDeep.to_string(), &["255"]);
    says(ResumeError::OpenRegions(5).to_string(), &["5 regions"]);
}
