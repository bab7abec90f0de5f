//! How regions open and close, who is where, and what is read: told to the referee step by step.

use hypercall::{Errno, Level, Mfn, MmuextOp, Operation, Pte, VcpuId};
use mock_xen::referee::{Asker, Finding, Profile, Referee, Rule, SyncPoint, TaskId, Violation, Wish};

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
    let request = referee.ask(HERE, update(slot(1), 1));
    let (ran, lost) = (referee.callback_due(HERE, request), referee.callback_due(HERE, request));
    referee.arrived(C0, &update(slot(1), 1), DONE);
    referee.callback_ran(ran, DONE);
    assert!(referee.verdict().is_clean());
    referee.callback_ran(ran, DONE);
    referee.left(HERE, true);
    let found: Vec<_> = referee.violations().iter().map(|violation| (violation.rule, violation.finding)).collect();
    assert_eq!(found, [(Rule::R13, Finding::CallbackTwice), (Rule::R14, Finding::CallbackLost)]);
    assert_ne!(ran, lost);
}

#[test]
fn a_callback_is_given_what_became_of_its_operation() {
    const BUSY: Option<Result<(), Errno>> = Some(Err(Errno::BUSY));
    let [refused, tail, applied] = [1, 2, 3].map(|index| update(slot(index), 1));
    let found = |statuses: [Option<Result<(), Errno>>; 3]| {
        let referee = strict();
        referee.enter(HERE, true);
        let due = [refused, tail, applied].map(|operation| referee.callback_due(HERE, referee.ask(HERE, operation)));
        referee.arrived(C0, &refused, BUSY);
        referee.arrived(C0, &tail, None);
        referee.arrived(C0, &applied, DONE);
        referee.failed(C0, &refused, Errno::BUSY);
        due.into_iter().zip(statuses).for_each(|(due, status)| referee.callback_ran(due, status));
        referee.not_attempted(C0, &tail);
        referee.left(HERE, true);
        referee.violations().iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    assert_eq!(found([BUSY, None, DONE]), []);
    for wrong in [[DONE, None, DONE], [None, None, DONE], [BUSY, DONE, DONE], [BUSY, None, None], [BUSY, None, BUSY]] {
        assert_eq!(found(wrong), [Rule::R14], "{wrong:?}");
    }
}

#[test]
fn a_leak_reported_where_nothing_leaked_is_r2() {
    let referee = strict();
    referee.leak_reported(HERE);
    assert_eq!(only(Rule::R2, &referee).finding, Finding::FalseLeakReport);
    for is_accepted in [false, true] {
        let referee = strict();
        referee.enter(HERE, true);
        referee.leak_reported(HERE);
        referee.left(HERE, is_accepted);
        assert_eq!(only(Rule::R2, &referee).finding, Finding::FalseLeakReport);
    }
    let referee = strict();
    referee.enter(HERE, true);
    referee.leak_reported(HERE);
    referee.enter(HERE, true);
    referee.left(HERE, true);
    assert!(referee.verdict().is_clean());
}

#[test]
fn depth_leaked_to_the_next_task_is_r7_in_every_answer_that_shows_it() {
    let (idle, next) = (TaskId::new(7), Asker::task(T1, C0));
    let leaked = || {
        let referee = strict();
        referee.enter(HERE, true);
        referee.switch(C0, T0, idle);
        referee.switch(C0, idle, T1);
        referee
    };
    let deferred = leaked();
    deferred.answered(deferred.ask(next, update(slot(1), 1)));
    assert_eq!(only(Rule::R7, &deferred).finding, Finding::StillQueued(SyncPoint::Return));
    let declined = leaked();
    declined.enter(next, false);
    assert!(matches!(only(Rule::R7, &declined).finding, Finding::Declined { depth: 0, .. }));
    let accepted = leaked();
    accepted.left(next, true);
    assert!(matches!(only(Rule::R7, &accepted).finding, Finding::Accepted { depth: 0, .. }));
}

#[test]
fn a_library_that_keeps_depth_by_task_is_not_said_to_leak_it() {
    let next = Asker::task(T1, C0);
    let referee = strict();
    referee.enter(HERE, true);
    referee.switch(C0, T0, T1);
    let immediate = referee.ask(next, update(slot(1), 1));
    referee.arrived(C0, &update(slot(1), 1), DONE);
    referee.answered(immediate);
    referee.answered(referee.ask(next, update(slot(1), 2)));
    only(Rule::R1, &referee);
    let nested = strict();
    nested.enter(HERE, true);
    nested.switch(C0, T0, T1);
    nested.enter(next, true);
    nested.enter(next, true);
    only(Rule::R4, &nested);
}

#[test]
fn what_was_passed_while_its_arrival_was_open_is_found_once_it_arrives() {
    let values = [1, 2, 1];
    let passed = |by: fn(&Referee), arrive: &[u64]| {
        let referee = strict();
        referee.enter(HERE, true);
        for value in values {
            referee.ask(HERE, update(slot(1), value));
        }
        referee.arrived(C0, &update(slot(1), 1), DONE);
        by(&referee);
        arrive.iter().for_each(|value| referee.arrived(C0, &update(slot(1), *value), DONE));
        referee.left(HERE, true);
        referee.violations().iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    let read = |referee: &Referee| referee.raw_read(HERE, slot(1));
    let write = |referee: &Referee| referee.trapped_write(HERE, slot(1));
    assert_eq!((passed(read, &[]), passed(write, &[])), (vec![], vec![]), "all three were merged before");
    assert_eq!(passed(read, &[1]), [Rule::R11]);
    assert!(passed(read, &[2, 1]).iter().all(|rule| *rule == Rule::R11) && !passed(read, &[2, 1]).is_empty());
    assert_eq!(passed(write, &[1]), [Rule::R10]);
}

#[test]
fn a_base_pointer_is_compared_with_its_own_kind_and_may_be_seeded() {
    let (old, new) = (Mfn::new(5), Mfn::new(6));
    let (kernel, user) = (MmuextOp::NewBaseptr { table: new }, MmuextOp::NewUserBaseptr { table: new });
    let unpinned_under = |queued: MmuextOp, loaded: (Mfn, Option<Mfn>)| {
        let referee = strict();
        referee.loaded(C1, loaded.0, loaded.1);
        referee.ask(Asker::switch(T1, C1), mmuext(queued));
        let unpin = mmuext(MmuextOp::Unpin { table: old });
        let id = referee.ask(HERE, unpin);
        referee.arrived(C0, &unpin, DONE);
        referee.answered(id);
        referee.violations().iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    assert_eq!(unpinned_under(kernel, (old, None)), [Rule::R12]);
    assert_eq!(unpinned_under(user, (new, Some(old))), [Rule::R12]);
    assert_eq!(unpinned_under(user, (old, None)), []);
    assert_eq!(unpinned_under(kernel, (new, Some(old))), []);
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
