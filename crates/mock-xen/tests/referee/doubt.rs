//! What may be taken for several things behind a refusal: the innocent one is believed, and the faults that leave none are
//! found all the same.

use hypercall::{Errno, Level, Mfn, MmuextOp, Operation, VcpuId, VirtAddr};
use mock_xen::referee::{Asker, Profile, Referee, Rule, TaskId};

use crate::batcher::{flush_all, mmuext};
use crate::failures::region;
use crate::faults::slot;
use crate::hypervisor::update;

const C0: VcpuId = VcpuId::new(0);
const HERE: Asker = Asker::task(TaskId::new(0), C0);
const DONE: Option<Result<(), Errno>> = Some(Ok(()));
const BUSY: Option<Result<(), Errno>> = Some(Err(Errno::BUSY));

fn write(index: usize, value: u64) -> Operation {
    update(slot(index), value)
}

fn stack() -> Operation {
    Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0x1000) }
}

/// Two refused writes of one entry, each with another write of it behind, of which one is attempted again.
fn twice_refused(end: impl FnOnce(&Referee)) -> Vec<Rule> {
    let (refused, empty) = (write(1, 3), write(1, 0));
    region(&[refused, empty, stack(), refused, empty], |referee| {
        for (operation, result) in [(refused, BUSY), (empty, None), (stack(), DONE), (refused, BUSY), (empty, None)] {
            referee.arrived(C0, &operation, result);
        }
        end(referee);
    })
}

#[test]
fn of_two_equal_writes_that_were_not_attempted_either_may_be_attempted_again() {
    let (refused, empty) = (write(1, 3), write(1, 0));
    let told = |referee: &Referee| {
        referee.failed(C0, &refused, Errno::BUSY);
        referee.not_attempted(C0, &empty);
        referee.failed(C0, &refused, Errno::BUSY);
    };
    let honest = twice_refused(|referee| {
        referee.arrived(C0, &empty, DONE);
        told(referee);
    });
    assert_eq!(honest, []);
    let dropped = twice_refused(|referee| {
        (0..2).for_each(|_| referee.failed(C0, &refused, Errno::BUSY));
    });
    assert_eq!(dropped, [Rule::R14]);
    let repeated = twice_refused(|referee| {
        (0..3).for_each(|_| referee.arrived(C0, &empty, DONE));
        told(referee);
    });
    assert!(repeated.contains(&Rule::R13), "{repeated:?}");
    let told_twice = twice_refused(|referee| {
        referee.arrived(C0, &empty, DONE);
        told(referee);
        referee.failed(C0, &refused, Errno::BUSY);
    });
    assert_eq!(told_twice, [Rule::R14]);
}

/// A refused write with others of its entry behind, which are told in the order `told`.
fn tail(told: &[u64]) -> Vec<Rule> {
    let asked = [3, 0, 3, 3, 7].map(|value| write(1, value));
    region(&asked, |referee| {
        referee.arrived(C0, &asked[0], BUSY);
        asked[1..].iter().for_each(|behind| referee.arrived(C0, behind, None));
        referee.failed(C0, &asked[0], Errno::BUSY);
        told.iter().for_each(|value| referee.not_attempted(C0, &write(1, *value)));
    })
}

#[test]
fn what_was_not_attempted_may_be_told_in_any_order() {
    assert_eq!(tail(&[0, 3, 3, 7]), []);
    assert_eq!(tail(&[7, 0, 3, 3]), []);
    assert_eq!(tail(&[7, 0, 3, 3, 9]), [Rule::R14]);
}

/// A TLB flush behind a refused pin, a write behind a refused one, and another flush after both.
fn late_flush(end: impl FnOnce(&Referee)) -> Vec<Rule> {
    let pin = mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(0x77) });
    let page = mmuext(MmuextOp::InvlpgAll { address: VirtAddr::unchecked(0x1000) });
    let (refused, behind) = (write(1, 3), write(2, 5));
    region(&[pin, page, refused, behind, flush_all()], |referee| {
        let batch = [(pin, BUSY), (page, None), (refused, BUSY), (behind, None), (flush_all(), DONE), (page, DONE)];
        batch.into_iter().for_each(|(operation, result)| referee.arrived(C0, &operation, result));
        end(referee);
        referee.failed(C0, &pin, Errno::BUSY);
        referee.failed(C0, &refused, Errno::BUSY);
    })
}

#[test]
fn a_flush_that_is_attempted_again_calls_for_no_other() {
    assert_eq!(late_flush(|referee| referee.not_attempted(C0, &write(2, 5))), []);
    assert_eq!(late_flush(|referee| referee.arrived(C0, &write(2, 5), DONE)), [Rule::R12]);
}

/// Two refused writes with one behind each, and a flush between, which came in its turn but for the first of those: both
/// are attempted again.
fn flush_between(end: impl FnOnce(&Referee)) -> Vec<Rule> {
    let (one, other) = (write(7, 3), write(2, 3));
    let (behind_one, behind_other) = (write(1, 5), write(0, 0));
    region(&[one, behind_one, flush_all(), other, behind_other], |referee| {
        let first = [(one, BUSY), (behind_one, None), (flush_all(), DONE), (other, BUSY), (behind_other, None)];
        let again = [(behind_one, DONE), (behind_other, DONE)];
        first.into_iter().chain(again).for_each(|(operation, result)| referee.arrived(C0, &operation, result));
        end(referee);
        referee.failed(C0, &one, Errno::BUSY);
        referee.failed(C0, &other, Errno::BUSY);
    })
}

#[test]
fn a_flush_that_came_before_what_was_asked_after_it_may_come_again_behind_that() {
    assert_eq!(flush_between(|referee| referee.arrived(C0, &flush_all(), DONE)), []);
    assert_eq!(flush_between(|_| {}), [Rule::R12], "it has to come again");
}

#[test]
fn of_two_equal_refusals_the_handlers_is_told_at_once() {
    let told = |handler_is_told: bool| {
        let (referee, refused) = (Referee::new(Profile::Strict), write(1, 3));
        let handler = Asker { context: mock_xen::referee::Context::Interrupt, ..HERE };
        referee.enter(HERE, true);
        referee.answered(referee.ask(HERE, refused));
        referee.flush(HERE);
        referee.arrived(C0, &refused, BUSY);
        referee.flushed(HERE);
        let request = referee.ask(handler, refused);
        referee.arrived(C0, &refused, BUSY);
        if handler_is_told {
            referee.failed(C0, &refused, Errno::BUSY);
        }
        referee.answered(request);
        referee.leave(HERE);
        referee.failed(C0, &refused, Errno::BUSY);
        referee.left(HERE, true);
        referee.violations().iter().map(|violation| violation.rule).collect::<Vec<_>>()
    };
    assert_eq!(told(true), []);
    assert_eq!(told(false), [Rule::R14]);
}

/// So many equal operations, each refused, of which `told` are told.
fn many(told: usize) -> (u64, u64) {
    let referee = Referee::new(Profile::Strict);
    let asked: Vec<Operation> = (0..60).map(|number| write(1, if number % 2 == 0 { 3 } else { 0 })).collect();
    referee.enter(HERE, true);
    asked.iter().for_each(|operation| referee.answered(referee.ask(HERE, *operation)));
    referee.leave(HERE);
    for operation in &asked {
        referee.arrived(C0, operation, if *operation == write(1, 3) { BUSY } else { None });
    }
    (0..told).for_each(|_| referee.failed(C0, &write(1, 3), Errno::BUSY));
    (0..30).for_each(|_| referee.not_attempted(C0, &write(1, 0)));
    referee.left(HERE, true);
    let verdict = referee.verdict();
    (verdict.found, verdict.undecided)
}

#[test]
fn where_too_many_ways_are_left_it_cannot_be_told() {
    assert_eq!(many(30), (0, 0));
    assert_eq!(many(28), (0, 1));
}

/// A region's wish in the same doubt is no excuse for a region that nests.
#[test]
fn what_depends_on_no_arrival_is_not_doubted() {
    let rules = twice_refused(|referee| {
        referee.enter(HERE, true);
        referee.arrived(C0, &write(1, 0), DONE);
        referee.failed(C0, &write(1, 3), Errno::BUSY);
        referee.failed(C0, &write(1, 3), Errno::BUSY);
        referee.not_attempted(C0, &write(1, 0));
        referee.left(HERE, true);
    });
    assert_eq!(rules, [Rule::R4]);
}
