//! How regions open and close, who is where, and what is read: told to the referee step by step.

use hypercall::{Errno, Level, Mfn, MmuextOp, Operation, Pte, VcpuId};
use mock_xen::referee::{Asker, Finding, Profile, Referee, Rule, TaskId, Violation, Wish};

use crate::batcher::{flush_all, mmuext};
use crate::faults::slot;
use crate::hypervisor::update;

const T0: TaskId = TaskId::new(0);
const T1: TaskId = TaskId::new(1);
const C0: VcpuId = VcpuId::new(0);
const C1: VcpuId = VcpuId::new(1);
const HERE: Asker = Asker::task(T0, C0);
const HANDLER: Asker = Asker::interrupt(T0, C0);
const DONE: Option<Result<(), Errno>> = Some(Ok(()));

fn strict() -> Referee {
    Referee::new(Profile::Strict)
}

#[track_caller]
fn only(rule: Rule, referee: &Referee) -> Violation {
    let violations = referee.violations();
    assert_eq!(violations.iter().map(|violation| violation.rule).collect::<Vec<_>>(), [rule], "{violations:#?}");
    violations[0]
}

#[test]
fn a_nested_region_under_strict_is_r4() {
    let referee = strict();
    referee.enter(HERE, true);
    referee.enter(HERE, false);
    assert!(referee.verdict().is_clean());
    referee.enter(HERE, true);
    only(Rule::R4, &referee);
    referee.left(HERE, true);
    referee.left(HERE, true);
    only(Rule::R4, &referee);
}

#[test]
fn the_256th_region_under_nested_is_r4() {
    let referee = Referee::new(Profile::Nested);
    (0..256).for_each(|_| referee.enter(HERE, true));
    assert!(matches!(only(Rule::R4, &referee).finding, Finding::Accepted { depth: 255, .. }));
}

#[test]
fn a_leave_without_enter_is_r4_if_it_is_accepted() {
    let referee = strict();
    referee.left(HERE, false);
    assert!(referee.verdict().is_clean());
    referee.left(HERE, true);
    only(Rule::R4, &referee);
}

#[test]
fn a_refused_legal_enter_is_r4() {
    let referee = strict();
    referee.enter(HERE, false);
    assert!(matches!(only(Rule::R4, &referee).finding, Finding::Declined { depth: 0, .. }));
}

#[test]
fn a_region_that_outlives_its_pause_is_r5() {
    let referee = strict();
    referee.paused(HERE, true);
    referee.enter(HERE, true);
    referee.resume(HERE, true);
    referee.left(HERE, true);
    only(Rule::R5, &referee);
}

#[test]
fn a_resume_without_pause_is_r5_if_it_is_accepted() {
    let referee = strict();
    referee.resume(HERE, false);
    assert!(referee.verdict().is_clean());
    referee.resume(HERE, true);
    only(Rule::R5, &referee);
}

#[test]
fn regions_in_interrupt_context_are_r6() {
    for act in [
        |referee: &Referee| referee.enter(HANDLER, true),
        |referee: &Referee| referee.left(HANDLER, true),
        |referee: &Referee| referee.paused(HANDLER, true),
        |referee: &Referee| referee.resume(HANDLER, true),
    ] {
        let referee = strict();
        referee.enter(HERE, true);
        act(&referee);
        only(Rule::R6, &referee);
    }
}

#[test]
fn every_leave_of_nested_regions_flushes_and_the_outermost_ends_laziness() {
    let referee = Referee::new(Profile::Nested);
    let (first, second, third) = (update(slot(1), 1), update(slot(2), 1), update(slot(3), 1));
    referee.enter(HERE, true);
    referee.enter(HERE, true);
    referee.answered(referee.ask(HERE, first));
    referee.leave(HERE);
    referee.arrived(C0, &first, DONE);
    // A completion callback of the inner leave asks for more, and the region goes on.
    referee.answered(referee.ask(HERE, second));
    referee.left(HERE, true);
    assert_eq!((referee.pending(C0), referee.verdict().is_clean()), (1, true));
    referee.leave(HERE);
    referee.left(HERE, true);
    assert_eq!(only(Rule::R2, &referee).operation, Some(second));
    referee.answered(referee.ask(HERE, third));
    assert_eq!(referee.violations()[1].rule, Rule::R1);
}

#[test]
fn a_task_that_ends_in_a_region_is_r2_unless_the_leak_was_reported() {
    let leak = |reported: bool| {
        let referee = strict();
        referee.enter(HERE, true);
        let operation = update(slot(1), 1);
        referee.ask(HERE, operation);
        referee.arrived(C0, &operation, DONE);
        if reported {
            referee.leak_reported(HERE);
        }
        referee.task_exit(T0);
        referee
    };
    assert_eq!(only(Rule::R2, &leak(false)).finding, Finding::RegionLeaked { depth: 1 });
    assert!(leak(true).verdict().is_clean());
}

#[test]
fn what_a_task_left_on_another_vcpu_is_r8() {
    let referee = strict();
    referee.enter(HERE, true);
    referee.ask(HERE, update(slot(1), 1));
    referee.ask(Asker::task(T0, C1), update(slot(2), 1));
    assert_eq!(only(Rule::R8, &referee).vcpu, Some(C0));
}

#[test]
fn a_raw_read_of_a_pending_entry_is_r11() {
    let referee = strict();
    referee.enter(HERE, true);
    referee.raw_read(HERE, slot(1));
    referee.ask(HERE, update(slot(1), 1));
    referee.raw_read(HERE, slot(2));
    assert!(referee.verdict().is_clean());
    referee.raw_read(HERE, slot(1));
    assert_eq!(only(Rule::R11, &referee).finding, Finding::RawRead);
}

#[test]
fn a_read_sees_every_pending_write_of_any_level_in_order() {
    let referee = strict();
    referee.enter(HERE, true);
    referee.ask(HERE, update(slot(1), 1));
    referee.ask(HERE, Wish::new(update(slot(1), 2)).at_level(Level::L2));
    referee.read(HERE, slot(1), Pte::from_bits(2), Pte::EMPTY);
    assert!(referee.verdict().is_clean());
    referee.read(HERE, slot(2), Pte::from_bits(1), Pte::from_bits(7));
    only(Rule::R11, &referee);
}

#[test]
fn a_write_past_the_library_is_r10_unless_it_commutes_with_what_is_queued() {
    let referee = strict();
    referee.enter(HERE, true);
    referee.ask(HERE, update(slot(1), 1));
    referee.trapped_write(HERE, slot(2));
    assert!(referee.verdict().is_clean());
    referee.trapped_write(HERE, slot(1));
    only(Rule::R10, &referee);
}

#[test]
fn callbacks_run_exactly_once() {
    let referee = strict();
    referee.enter(HERE, true);
    let (ran, lost) = (referee.callback_due(HERE), referee.callback_due(HERE));
    referee.callback_ran(ran);
    assert!(referee.verdict().is_clean());
    referee.callback_ran(ran);
    referee.left(HERE, true);
    let found: Vec<_> = referee.violations().iter().map(|violation| (violation.rule, violation.finding)).collect();
    assert_eq!(found, [(Rule::R13, Finding::CallbackTwice), (Rule::R14, Finding::CallbackLost)]);
    assert_ne!(ran, lost);
}

#[test]
fn a_table_unpinned_while_another_vcpu_is_about_to_leave_it_is_r12() {
    let (old, new) = (Mfn::new(5), Mfn::new(6));
    let unpin = mmuext(MmuextOp::Unpin { table: old });
    let switch = |to| mmuext(MmuextOp::NewBaseptr { table: to });
    let referee = strict();
    let there = Asker::switch(T1, C1);
    referee.ask(there, switch(old));
    referee.arrived(C1, &switch(old), DONE);
    referee.ask(there, switch(new));
    referee.ask(HERE, unpin);
    referee.arrived(C0, &unpin, DONE);
    assert_eq!(only(Rule::R12, &referee).finding, Finding::BaseStillLoaded { table: old, on: C1 });
}

#[test]
fn a_switch_batch_may_wait_until_the_switch_ends() {
    let referee = strict();
    let switch = Asker::switch(T0, C0);
    let stack = Operation::StackSwitch { ss: 0, sp: hypercall::VirtAddr::unchecked(0) };
    referee.answered(referee.ask(switch, stack));
    assert!(referee.verdict().is_clean());
    referee.switch(C0, T0, T1);
    only(Rule::R7, &referee);
}

#[test]
fn violations_are_kept_up_to_a_thousand_and_counted_beyond() {
    let referee = strict();
    (0..1500).for_each(|_| referee.arrived(C0, &flush_all(), DONE));
    assert!(!referee.verdict().is_clean(), "a TLB flush that nobody ever asked for");
    let referee = strict();
    (0..1500).for_each(|value| referee.arrived(C0, &update(slot(1), value), DONE));
    let verdict = referee.verdict();
    assert_eq!((verdict.violations.len(), verdict.found), (1000, 1500));
}

#[test]
fn several_threads_may_tell_it() {
    let referee = strict();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let (referee, vcpu) = (&referee, VcpuId::new(thread));
            scope.spawn(move || {
                let asker = Asker::task(TaskId::new(thread.into()), vcpu);
                for value in 0..500 {
                    let operation = update(slot(thread as usize), value);
                    let id = referee.ask(asker, operation);
                    referee.arrived(vcpu, &operation, DONE);
                    referee.answered(id);
                }
            });
        }
    });
    let verdict = referee.verdict();
    assert!(verdict.is_clean(), "{verdict}");
    assert_eq!((verdict.counters.asked, verdict.counters.applied, verdict.pending), (2000, 2000, 0));
}
