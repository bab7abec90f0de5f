//! What holds on the mock by itself, of the programs that real Xen is asked about: its counts are right
//! wherever it is left, and what a program comes to does not depend on when it was interrupted.

use std::panic::{AssertUnwindSafe, catch_unwind};

use mock_xen::Fault;
use xen_conform::{Mock, MockMachine, generate};
use xen_program::outcome::{Change, PageProbe, ProgramAnswer, StepResult, Told, answers, list};
use xen_program::{Mode, Outcome, Program, Report, Scratch, run_list};

const PROGRAMS: u64 = 300;

fn outcome(machine: &mut MockMachine, mode: Mode, program: &Program) -> Outcome {
    let mut room = vec![0; 1 << 17];
    let list = list(Report::Full, mode, [program.to_bytes().as_slice()]);
    let length = run_list(&list, machine, &mut Scratch::new(), &mut room).expect("it is a list");
    match answers(&room[..length]).expect("it is an answer").as_slice() {
        [ProgramAnswer::Ran { told: Told::Full(record), .. }] => Outcome::from_bytes(record).expect("it is a record"),
        other => panic!("{other:?}"),
    }
}

/// The answer of a step, and the words it changed.
type Settled = (Option<i64>, Vec<Change>);

/// What a program comes to, whenever it was interrupted: answers, memory, and what can still be made of pages.
fn settled(outcome: Outcome) -> (Vec<Settled>, Vec<PageProbe>) {
    let answer = |result| match result {
        StepResult::Called(called) => Some(called.value),
        _ => None,
    };
    let steps = outcome.steps.into_iter().map(|step| (answer(step.result), step.changes)).collect();
    (steps, outcome.probes)
}

#[test]
fn counts_are_right_wherever_the_mock_is_left() {
    for mode in [Mode::None, Mode::Step, Mode::Random] {
        for seed in 0..PROGRAMS {
            outcome(&mut Mock::new().machine().audited(), mode, &generate::program(seed));
        }
    }
}

#[test]
fn wrong_counts_are_found_by_counting() {
    let wrong = [
        Fault::WritableUncounted,
        Fault::WritableKept,
        Fault::ChildUncounted,
        Fault::ChildKept,
        Fault::PinUncounted,
        Fault::LinearCountKept,
    ];
    for fault in wrong {
        let found = |seed| {
            let mut machine = Mock::planted(fault).machine().audited();
            let run = || outcome(&mut machine, Mode::None, &generate::program(seed));
            catch_unwind(AssertUnwindSafe(run)).is_err()
        };
        assert!((0..PROGRAMS).any(found), "{fault:?} is not found");
    }
}

#[test]
fn what_a_program_comes_to_does_not_depend_on_interruptions() {
    for seed in 0..PROGRAMS {
        let program = generate::program(seed);
        let [none, step, random] = [Mode::None, Mode::Step, Mode::Random]
            .map(|mode| settled(outcome(&mut Mock::new().machine(), mode, &program)));
        assert_eq!(none, step, "seed {seed}\n{program}");
        assert_eq!(none, random, "seed {seed}\n{program}");
    }
}
