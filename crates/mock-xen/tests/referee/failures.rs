//! What the guest must be told when the hypervisor refuses, and what may be attempted again.

use hypercall::{Errno, Level, Mfn, MmuextOp, Operation, VcpuId};
use mock_xen::referee::{Asker, Finding, Profile, Referee, Rule, TaskId};

use crate::batcher::{flush_all, mmuext};
use crate::faults::slot;
use crate::hypervisor::update;

const C0: VcpuId = VcpuId::new(0);
const HERE: Asker = Asker::task(TaskId::new(0), C0);
const DONE: Option<Result<(), Errno>> = Some(Ok(()));
const BUSY: Option<Result<(), Errno>> = Some(Err(Errno::BUSY));

fn pin() -> Operation {
    mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(0x77) })
}

/// A region in which `asked` are asked and whose flush is `script`.
pub(crate) fn region(asked: &[Operation], script: impl FnOnce(&Referee)) -> Vec<Rule> {
    let referee = Referee::new(Profile::Strict);
    referee.enter(HERE, true);
    asked.iter().for_each(|operation| referee.answered(referee.ask(HERE, *operation)));
    referee.leave(HERE);
    script(&referee);
    referee.left(HERE, true);
    let counters = referee.counters();
    assert_eq!(counters.settled(), counters.asked, "every operation has one fate: {counters:?}");
    referee.violations().iter().map(|violation| violation.rule).collect()
}

fn writes() -> [Operation; 3] {
    [1, 2, 3].map(|index| update(slot(index), 1))
}

#[test]
fn a_refusal_and_what_stood_behind_it_are_reported() {
    let [a, b, c] = writes();
    let refused = |referee: &Referee| {
        referee.arrived(C0, &a, DONE);
        referee.arrived(C0, &b, BUSY);
        referee.arrived(C0, &c, None);
    };
    let reported = region(&[a, b, c], |referee| {
        refused(referee);
        referee.failed(C0, &b, Errno::BUSY);
        referee.not_attempted(C0, &c);
    });
    assert_eq!(reported, []);
    let retried = region(&[a, b, c], |referee| {
        refused(referee);
        referee.arrived(C0, &c, DONE);
        referee.failed(C0, &b, Errno::BUSY);
    });
    assert_eq!(retried, []);
    assert_eq!(region(&[a, b, c], refused), [Rule::R14, Rule::R14]);
}

#[test]
fn a_tlb_flush_that_ran_before_a_retried_write_comes_again() {
    let [a, b, _] = writes();
    let multicall = |referee: &Referee| {
        referee.arrived(C0, &a, BUSY);
        referee.arrived(C0, &b, None);
        referee.arrived(C0, &flush_all(), DONE);
        referee.failed(C0, &a, Errno::BUSY);
    };
    let again = region(&[a, b, flush_all()], |referee| {
        multicall(referee);
        referee.arrived(C0, &b, DONE);
        referee.arrived(C0, &flush_all(), DONE);
    });
    assert_eq!(again, []);
    let stopped = region(&[a, b, flush_all()], |referee| {
        multicall(referee);
        referee.not_attempted(C0, &b);
    });
    assert_eq!(stopped, []);
    let forgotten = region(&[a, b, flush_all()], |referee| {
        multicall(referee);
        referee.arrived(C0, &b, DONE);
    });
    assert_eq!(forgotten, [Rule::R12]);
}

/// Found by `fuzz/`: of two equal flushes with a write between, the first stood behind a refused pin. The second, in the same
/// multicall, is not the first.
#[test]
fn a_tlb_flush_behind_a_cut_one_in_its_hypercall_is_its_own() {
    let (pin, flush, [a, ..]) = (pin(), flush_all(), writes());
    let asked = [pin, flush, a, flush];
    let multicall = |referee: &Referee, last: Operation| {
        referee.hypercall_begins(C0);
        for (operation, result) in [(pin, BUSY), (flush, None), (a, DONE), (last, DONE)] {
            referee.arrived(C0, &operation, result);
        }
        referee.hypercall_ends(C0);
        referee.failed(C0, &pin, Errno::BUSY);
    };
    let reported = region(&asked, |referee| {
        multicall(referee, flush);
        referee.not_attempted(C0, &flush);
    });
    assert_eq!(reported, []);
    let dropped = region(&asked, |referee| multicall(referee, flush));
    assert_eq!(dropped, [Rule::R14]);
    let lost = region(&asked[..3], |referee| {
        multicall(referee, a);
        referee.not_attempted(C0, &flush);
    });
    assert_eq!(lost, [Rule::R13]);
}

#[test]
fn a_retried_write_may_follow_only_what_it_commutes_with() {
    let [a, b, c] = writes();
    let retried_after = |later: Operation| {
        region(&[a, b, later], |referee| {
            referee.arrived(C0, &a, BUSY);
            referee.arrived(C0, &b, None);
            referee.arrived(C0, &later, DONE);
            referee.failed(C0, &a, Errno::BUSY);
            referee.arrived(C0, &b, DONE);
        })
    };
    assert_eq!(retried_after(c), []);
    assert_eq!(retried_after(pin()), [Rule::R3]);
    let given_up = region(&[a, b, pin()], |referee| {
        referee.arrived(C0, &a, BUSY);
        referee.arrived(C0, &b, None);
        referee.arrived(C0, &pin(), DONE);
        referee.failed(C0, &a, Errno::BUSY);
        referee.not_attempted(C0, &b);
    });
    assert_eq!(given_up, []);
}

#[test]
fn a_refused_merge_is_reported_once_under_either_name() {
    let (first, last) = (update(slot(1), 1), update(slot(1), 2));
    for name in [first, last] {
        let rules = region(&[first, last], |referee| {
            referee.arrived(C0, &last, BUSY);
            referee.failed(C0, &name, Errno::BUSY);
        });
        assert_eq!(rules, []);
    }
}

#[test]
fn an_operation_of_a_refused_hypercall_is_reported_without_having_arrived() {
    let [a, b, _] = writes();
    let refused = |errno| {
        region(&[a, b], move |referee| {
            referee.hypercall_refused(C0, Errno::FAULT);
            referee.failed(C0, &a, errno);
            referee.not_attempted(C0, &b);
        })
    };
    assert_eq!(refused(Errno::FAULT), []);
    assert_eq!(refused(Errno::BUSY), [Rule::R14]);
    assert_eq!(region(&[a], |referee| referee.hypercall_refused(C0, Errno::FAULT)), [Rule::R14]);
}

#[test]
fn a_report_without_a_refusal_is_r14() {
    let [a, b, c] = writes();
    let nothing = region(&[a, b, flush_all()], |referee| {
        [a, b, flush_all()].iter().for_each(|operation| referee.not_attempted(C0, operation));
    });
    assert_eq!(nothing, [Rule::R14; 3]);
    assert_eq!(region(&[a], |referee| referee.failed(C0, &a, Errno::BUSY)), [Rule::R14]);
    let before_the_refused = region(&[a, pin(), c], |referee| {
        referee.arrived(C0, &c, BUSY);
        referee.failed(C0, &c, Errno::BUSY);
        referee.not_attempted(C0, &pin());
        referee.not_attempted(C0, &a);
    });
    assert_eq!(before_the_refused.iter().filter(|rule| **rule == Rule::R14).count(), 2, "{before_the_refused:?}");
    let asked_since = {
        let referee = Referee::new(Profile::Strict);
        referee.enter(HERE, true);
        referee.ask(HERE, a);
        referee.arrived(C0, &a, BUSY);
        referee.failed(C0, &a, Errno::BUSY);
        referee.ask(HERE, b);
        referee.not_attempted(C0, &b);
        referee.left(HERE, true);
        referee.verdict()
    };
    assert!(matches!(asked_since.violations[..], [found] if found.finding == Finding::FalseReport(None)));
}

#[test]
fn later_calls_of_a_batch_may_be_given_up_but_not_dropped_after_a_refusal() {
    let [a, b, _] = writes();
    let refused = |referee: &Referee| {
        referee.arrived(C0, &a, BUSY);
        referee.failed(C0, &a, Errno::BUSY);
    };
    let batch = [a, pin(), b, flush_all()];
    let told = region(&batch, |referee| {
        refused(referee);
        batch[1..].iter().for_each(|operation| referee.not_attempted(C0, operation));
    });
    assert_eq!(told, []);
    assert_eq!(region(&batch, refused), [Rule::R14; 3]);
    let went_on = region(&batch, |referee| {
        refused(referee);
        referee.arrived(C0, &pin(), DONE);
    });
    assert_eq!(went_on, [Rule::R2, Rule::R12], "what was left out later has nothing to do with the refusal");
}

#[test]
fn a_write_cut_off_and_overwritten_past_a_register_may_be_reported() {
    let (refused, cut, later) = (update(slot(1), 1), update(slot(1), 2), update(slot(1), 3));
    let stack = Operation::StackSwitch { ss: 0, sp: hypercall::VirtAddr::unchecked(8) };
    let rules = region(&[refused, cut, stack, later], |referee| {
        referee.arrived(C0, &refused, BUSY);
        referee.arrived(C0, &cut, None);
        referee.arrived(C0, &stack, DONE);
        referee.arrived(C0, &later, DONE);
        referee.failed(C0, &refused, Errno::BUSY);
        referee.not_attempted(C0, &cut);
    });
    assert_eq!(rules, []);
}

#[test]
fn a_refusal_told_twice_is_r14() {
    let [a, ..] = writes();
    let rules = region(&[a], |referee| {
        referee.arrived(C0, &a, BUSY);
        referee.failed(C0, &a, Errno::BUSY);
        referee.failed(C0, &a, Errno::BUSY);
    });
    assert_eq!(rules, [Rule::R14]);
}

#[test]
fn a_false_report_is_r14() {
    let [a, b, _] = writes();
    let failed = region(&[a], |referee| {
        referee.arrived(C0, &a, DONE);
        referee.failed(C0, &a, Errno::BUSY);
    });
    assert_eq!(failed, [Rule::R14]);
    let other_errno = region(&[a], |referee| {
        referee.arrived(C0, &a, BUSY);
        referee.failed(C0, &a, Errno::INVAL);
    });
    assert_eq!(other_errno, [Rule::R14, Rule::R14]);
    assert_eq!(region(&[], |referee| referee.not_attempted(C0, &b)), [Rule::R14]);
}

#[test]
fn a_refused_operation_is_not_issued_again() {
    let [a, ..] = writes();
    let rules = region(&[a], |referee| {
        referee.arrived(C0, &a, BUSY);
        referee.arrived(C0, &a, BUSY);
        referee.failed(C0, &a, Errno::BUSY);
    });
    assert_eq!(rules, [Rule::R13]);
}

#[test]
fn outside_a_region_the_call_itself_must_tell() {
    let [a, ..] = writes();
    let referee = Referee::new(Profile::Strict);
    let id = referee.ask(HERE, a);
    referee.arrived(C0, &a, BUSY);
    referee.answered(id);
    assert!(matches!(referee.violations()[..], [found] if found.finding == Finding::FailureUntold(Errno::BUSY)));
}

#[test]
fn a_failure_of_the_switch_batch_is_told_before_the_next_task_runs() {
    let told = |is_told: bool| {
        let referee = Referee::new(Profile::Strict);
        referee.ask(Asker::switch(TaskId::new(0), C0), pin());
        referee.arrived(C0, &pin(), BUSY);
        if is_told {
            referee.failed(C0, &pin(), Errno::BUSY);
        }
        referee.switch(C0, TaskId::new(0), TaskId::new(1));
        referee.violations().len()
    };
    assert_eq!((told(true), told(false)), (0, 1));
}
