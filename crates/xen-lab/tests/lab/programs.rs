//! Programs, on the real Xen.
//!
//! Xen stops calls for work of its own too, for about one program in a thousand, and the guest cannot
//! tell: registers and counts are then what an event would have made of them. So a program is
//! answered wrong only if it is answered wrong every time.

use std::time::Duration;

use xen_lab::{Clock, Machine, RunError};
use xen_program::outcome::{ProgramAnswer, StepOutcome, StepResult, Told, answers, list};
use xen_program::{Case, Mode, Outcome, Report, Step, parse};

use crate::bench::{lab, machine, run};

const CASES: &str = include_str!("programs.txt");
/// Times a list holds each case.
const TIMES: usize = 3;

fn bytes(cases: &[Case]) -> Vec<Vec<u8>> {
    cases.iter().map(|case| case.program().to_bytes()).collect()
}

/// What becomes of `count` programs, the same again and again, and how long that took.
fn answered(machine: &Machine, report: Report, mode: Mode, cases: &[Case], count: usize) -> (Vec<Told>, Duration) {
    let lab = lab("programs").expect("the test has asked");
    let programs = bytes(cases);
    let list = list(report, mode, programs.iter().map(Vec::as_slice).cycle().take(count));
    let answer = run(lab, machine, "programs", &list).unwrap();
    let told = answers(&answer.bytes).unwrap().into_iter().map(|answer| match answer {
        ProgramAnswer::Ran { clean: true, told } => told,
        other => panic!("not run, or the arena is not as it was: {other:?}"),
    });
    (told.collect(), answer.run)
}

/// Each case's outcomes.
fn outcomes(machine: &Machine, mode: Mode, cases: &[Case]) -> Vec<Vec<Outcome>> {
    let (told, _) = answered(machine, Report::Full, mode, cases, TIMES * cases.len());
    let outcome = |told: &Told| match told {
        Told::Full(record) => Outcome::from_bytes(record).unwrap(),
        Told::Digest(_) => panic!("asked for all of it"),
    };
    let of = |number| told.iter().skip(number).step_by(cases.len()).map(outcome).collect();
    (0..cases.len()).map(of).collect()
}

/// What is never as a case expects.
fn unmet(cases: &[Case], outcomes: &[Vec<Outcome>]) -> Vec<String> {
    let check = |(case, outcomes): (&Case, &Vec<Outcome>)| {
        let unmet: Result<Vec<_>, _> = outcomes.iter().map(|outcome| case.check(outcome).err().ok_or(())).collect();
        Some(format!("{}: {}", case.name, unmet.ok()?.first()?))
    };
    cases.iter().zip(outcomes).filter_map(check).collect()
}

#[test]
fn programs_are_answered_as_measured() {
    if lab("programs").is_none() {
        return;
    }
    let cases = parse(CASES).unwrap().cases;
    // With single steps, an interrupt of the processor can come right before the call.
    for clock in [Clock::Host, Clock::SingleStep] {
        let mut machine = machine(&format!("programs-{clock:?}"));
        machine.clock = clock;
        assert_eq!(unmet(&cases, &outcomes(&machine, Mode::None, &cases)), [""; 0], "{clock:?}");
    }
}

#[test]
fn an_answer_that_is_not_the_expected_one_is_found() {
    if lab("wrong programs").is_none() {
        return;
    }
    let wrong = CASES.replace("-ESRCH, done=0", "-EPERM, done=0").replace("upcalls=4", "upcalls=5");
    let cases = parse(&wrong).unwrap().cases;
    let unmet = unmet(&cases, &outcomes(&machine("programs-wrong"), Mode::None, &cases));
    let names: Vec<_> = unmet.iter().filter_map(|unmet| unmet.split(':').next()).collect();
    assert_eq!(names, ["3", "148"], "{unmet:?}");
}

fn says_when_it_is_interrupted(case: &Case) -> bool {
    case.steps.iter().any(|step| matches!(step.step, Step::Call { interrupt: Some(_), .. }))
}

#[test]
fn every_call_can_be_interrupted_wherever_xen_looks() {
    if lab("interrupted programs").is_none() {
        return;
    }
    // The others say what registers and arguments are without an interruption.
    let names = ["3", "16", "21", "22", "54", "66", "99", "141", "143", "accesses"];
    let mut cases = parse(CASES).unwrap().cases;
    cases.retain(|case| names.contains(&case.name.as_str()));
    assert_eq!(cases.len(), names.len());
    let outcomes = outcomes(&machine("programs-step"), Mode::Step, &cases);
    assert_eq!(unmet(&cases, &outcomes), [""; 0]);
    let interruptions = |name| {
        let place = names.iter().position(|candidate| *candidate == name).unwrap();
        outcomes[place][0].steps.iter().map(interruptions).collect::<Vec<_>>()
    };
    // Two updates; two calls; three.
    assert_eq!((interruptions("16"), interruptions("66"), interruptions("143")), (vec![1], vec![0], vec![2]));
}

fn interruptions(step: &StepOutcome) -> u64 {
    if let StepResult::Called(called) = &step.result { called.interruptions } else { 0 }
}

#[test]
fn thousands_of_programs_end_alike_however_they_are_interrupted() {
    const PROGRAMS: usize = 4000;
    if lab("many programs").is_none() {
        return;
    }
    let mut cases = parse(CASES).unwrap().cases;
    cases.retain(|case| !says_when_it_is_interrupted(case));
    for (mode, allowed) in [(Mode::None, PROGRAMS / 100), (Mode::Random, 0)] {
        let machine = machine(&format!("programs-{mode:?}"));
        let (told, took) = answered(&machine, Report::Digest, mode, &cases, PROGRAMS);
        println!("{mode:?}: {PROGRAMS} programs in {took:.2?}: {:.0} per second", PROGRAMS as f64 / took.as_secs_f64());
        // Of what was interrupted at random, nothing is told that depends on the interruption.
        let others = told.iter().skip(cases.len()).zip(&told).filter(|(told, before)| told != before).count();
        assert!(told.len() == PROGRAMS && others <= 2 * allowed, "{mode:?}: {others} answers change");
    }
}

#[test]
fn what_is_no_list_is_refused() {
    let Some(lab) = lab("no programs") else { return };
    let error = run(lab, &machine("programs-none"), "programs", b"no list of programs").unwrap_err();
    assert!(matches!(&error, RunError::Refused { reason, .. } if reason.contains("mark")), "{error}");
}
