//! The conformance cases: what was measured on Xen 4.17, as programs with their expected answers.

use xen_program::outcome::{ProgramAnswer, Told};
use xen_program::{Case, Cases, Mode, Outcome, Report, parse};

use crate::compare::{TIMES, TRIES, lines};
use crate::executor::Executor;
use crate::running::{Ran, Running, RunningError};
use crate::unmodelled::unmodelled;

/// The files, in the order of the table they come from.
const FILES: [(&str, &str); 10] = [
    ("1-arguments", include_str!("../cases/1-arguments.txt")),
    ("2-l1-entries", include_str!("../cases/2-l1-entries.txt")),
    ("3-plain-pages", include_str!("../cases/3-plain-pages.txt")),
    ("4-pins", include_str!("../cases/4-pins.txt")),
    ("5-mmuext", include_str!("../cases/5-mmuext.txt")),
    ("6-upper-entries", include_str!("../cases/6-upper-entries.txt")),
    ("7-mappings", include_str!("../cases/7-mappings.txt")),
    ("8-multicalls", include_str!("../cases/8-multicalls.txt")),
    ("9-others", include_str!("../cases/9-others.txt")),
    ("xsa", include_str!("../cases/xsa.txt")),
];

/// All cases: the 163 of the table, by number, and those from security advisories.
///
/// # Panics
/// If a file is not in the text form, which the crate's tests exclude.
#[must_use]
pub fn cases() -> Cases {
    let mut all = Cases::default();
    for (name, text) in FILES {
        let Cases { cases, unproved } = parse(text).unwrap_or_else(|error| panic!("cases/{name}.txt, {error}"));
        all.cases.extend(cases);
        all.unproved.extend(unproved);
    }
    all
}

/// How a case was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// As expected.
    Met,
    /// In another way; what was expected and what was found.
    Unmet(String),
    /// With something the mock does not model.
    Unmodelled(String),
}

/// A case and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseVerdict {
    /// The case.
    pub case: Case,
    /// What was observed, a line per step and per finding behind the last.
    pub answer: Vec<String>,
    /// Whether that is what was expected.
    pub verdict: Verdict,
    /// Whether it was only when asked again.
    pub unsteady: bool,
}

/// Runs cases on one executor, interrupted as `mode` says. What is answered otherwise than expected is asked again, as
/// [`conform`](crate::conform()) does, and what counts is what stays.
///
/// # Errors
/// Where the executor fails.
pub fn run_cases<E: Executor + ?Sized>(
    executor: &E,
    mode: Mode,
    cases: Vec<Case>,
) -> Result<Vec<CaseVerdict>, RunningError> {
    let mut verdicts = ask(executor, mode, cases)?;
    for _ in 0..TRIES {
        let is_unmet = |place: &usize| matches!(verdicts[*place].verdict, Verdict::Unmet(_));
        let places: Vec<usize> = (0..verdicts.len()).filter(is_unmet).flat_map(|place| [place; TIMES]).collect();
        if places.is_empty() {
            break;
        }
        let again = places.iter().map(|place| verdicts[*place].case.clone()).collect();
        let again = places.into_iter().zip(ask(executor, mode, again)?);
        for (place, met) in again.filter(|(_, case)| case.verdict == Verdict::Met) {
            verdicts[place] = CaseVerdict { unsteady: true, ..met };
        }
    }
    Ok(verdicts)
}

fn ask<E: Executor + ?Sized>(executor: &E, mode: Mode, cases: Vec<Case>) -> Result<Vec<CaseVerdict>, RunningError> {
    let programs: Vec<Vec<u8>> = cases.iter().map(|case| case.program().to_bytes()).collect();
    let programs: Vec<&[u8]> = programs.iter().map(Vec::as_slice).collect();
    let ran = Running::new(executor, Report::Full, mode).all(&programs)?;
    let judged = cases.into_iter().zip(ran).map(|(case, ran)| CaseVerdict {
        answer: lines(&ran, &case.program()),
        verdict: judge(&case, &ran),
        case,
        unsteady: false,
    });
    Ok(judged.collect())
}

fn judge(case: &Case, ran: &Ran) -> Verdict {
    let record = match ran {
        Ran::Answered(ProgramAnswer::Ran { told: Told::Full(record), .. }) => record,
        Ran::Answered(other) => return Verdict::Unmet(format!("the program was not run: {other:?}")),
        Ran::Ended(why) => return Verdict::Unmet(why.clone()),
    };
    let outcome = match Outcome::from_bytes(record) {
        Ok(outcome) => outcome,
        Err(fault) => return Verdict::Unmet(format!("the record is damaged {fault}")),
    };
    match (unmodelled(&outcome), case.check(&outcome)) {
        (Some(what), _) => Verdict::Unmodelled(what),
        (None, Ok(())) => Verdict::Met,
        (None, Err(unmet)) => Verdict::Unmet(unmet.to_string()),
    }
}
