//! One set of programs on the mock and on real Xen.

use std::collections::HashSet;
use std::fmt;
use std::ops::AddAssign;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize};
use xen_program::outcome::{ProgramAnswer, Told};
use xen_program::{Mode, Outcome, Program, Report, parse};

use crate::executor::Executor;
use crate::running::{Ran, Running, RunningError};
use crate::table::Outcomes;
use crate::unmodelled::unmodelled;

/// The two that are compared.
#[derive(Clone, Copy)]
pub struct Pair<'a> {
    /// The mock, or what is in its place.
    pub mock: &'a dyn Executor,
    /// The real Xen, or what is in its place.
    pub xen: &'a dyn Executor,
}

impl fmt::Debug for Pair<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pair")
    }
}

/// A program that the two answer differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The program.
    #[serde(serialize_with = "text", deserialize_with = "program")]
    pub program: Program,
    /// What the mock answers, a line per step and per finding behind the last.
    pub mock: Vec<String>,
    /// What real Xen answers.
    pub xen: Vec<String>,
}

/// How long each of the two took, workers added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    /// The mock.
    #[serde(serialize_with = "seconds", deserialize_with = "duration", rename = "mock_seconds")]
    pub mock: Duration,
    /// Real Xen, its boots included.
    #[serde(serialize_with = "seconds", deserialize_with = "duration", rename = "xen_seconds")]
    pub xen: Duration,
}

impl Times {
    /// Operations per second of the mock, of `operations` in all.
    #[must_use]
    pub fn mock_rate(&self, operations: u64) -> u64 {
        rate(operations, self.mock)
    }

    /// Operations per second of real Xen.
    #[must_use]
    pub fn xen_rate(&self, operations: u64) -> u64 {
        rate(operations, self.xen)
    }
}

fn rate(operations: u64, time: Duration) -> u64 {
    (operations as f64 / time.as_secs_f64().max(1e-9)) as u64
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        self.mock += other.mock;
        self.xen += other.xen;
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

/// What a comparison found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compared {
    /// Operations and outcomes, as the mock has them.
    pub(crate) outcomes: Outcomes,
    /// Operations of the programs that were compared.
    pub(crate) operations: u64,
    /// Programs that were compared.
    pub(crate) programs: u64,
    /// Those that met something the mock does not model, by what.
    pub(crate) unmodelled: Vec<String>,
    /// Programs that real Xen answered differently at first and alike when asked again: it was busy
    /// with something of its own in between.
    pub(crate) unsteady: u64,
    /// Times real Xen was started.
    pub(crate) boots: u64,
    /// How long each took for the programs that were compared.
    pub(crate) times: Times,
    /// Differences, by the program's place in the set.
    pub(crate) differences: Vec<(usize, Difference)>,
}

/// Runs programs on both and compares everything that is observed.
///
/// Real Xen tells digests first; where one differs from the mock's, it is asked again for everything, and
/// what counts is a difference that stays.
///
/// # Errors
/// Where an executor fails.
pub(crate) fn compare(pair: Pair<'_>, mode: Mode, programs: &[Program]) -> Result<Compared, RunningError> {
    let bytes: Vec<Vec<u8>> = programs.iter().map(Program::to_bytes).collect();
    let all: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
    let start = Instant::now();
    let mocked = Running::new(pair.mock, Report::Full, mode).all(&all)?;
    let mut compared = Compared::default();
    compared.times.mock = start.elapsed();
    let mut places = Vec::new();
    for (place, (program, ran)) in programs.iter().zip(&mocked).enumerate() {
        if compared.take_in(program, ran) {
            places.push(place);
        }
    }
    let start = Instant::now();
    let mut suspects = compared.ask(pair, mode, Report::Digest, &all, &places)?;
    compared.times.xen = start.elapsed();
    suspects.retain(|(place, ran)| !is_same(&mocked[*place], ran));
    for _ in 0..TRIES {
        let places: Vec<usize> = suspects.iter().map(|(place, _)| *place).collect();
        let again: Vec<usize> = places.iter().flat_map(|place| [*place; TIMES]).collect();
        let mut answers = compared.ask(pair, mode, Report::Full, &all, &again)?;
        let alike: HashSet<usize> =
            answers.iter().filter(|(place, ran)| is_same(&mocked[*place], ran)).map(|(place, _)| *place).collect();
        answers.retain(|(place, _)| !alike.contains(place));
        answers.dedup_by_key(|(place, _)| *place);
        compared.unsteady += alike.len() as u64;
        suspects = answers;
    }
    for (place, ran) in suspects {
        let program = programs[place].clone();
        let (mock, xen) = (lines(&mocked[place], &program), lines(&ran, &program));
        compared.differences.push((place, Difference { program, mock, xen }));
    }
    Ok(compared)
}

/// Boots in which real Xen is asked again for everything. It now and then has something of its own to do, which
/// interrupts a call and shows in its registers; hardly ever in the same place each time.
pub(crate) const TRIES: usize = 2;
/// How often it is asked in each of them.
pub(crate) const TIMES: usize = 4;

impl Compared {
    /// Counts what a program came to on the mock; whether it is to be compared.
    fn take_in(&mut self, program: &Program, ran: &Ran) -> bool {
        if let Some(outcome) = outcome(ran) {
            if let Some(what) = unmodelled(&outcome) {
                self.unmodelled.push(what);
                return false;
            }
            self.outcomes.add(program, &outcome);
        }
        self.operations += program.operations() as u64;
        self.programs += 1;
        true
    }

    /// Asks real Xen about the programs at `places`.
    fn ask(
        &mut self,
        pair: Pair<'_>,
        mode: Mode,
        report: Report,
        all: &[&[u8]],
        places: &[usize],
    ) -> Result<Vec<(usize, Ran)>, RunningError> {
        let programs: Vec<&[u8]> = places.iter().map(|place| all[*place]).collect();
        let mut running = Running::new(pair.xen, report, mode);
        let ran = running.all(&programs)?;
        self.boots += running.lists;
        Ok(places.iter().copied().zip(ran).collect())
    }
}

fn is_same(mock: &Ran, xen: &Ran) -> bool {
    match (mock, xen) {
        (
            Ran::Answered(ProgramAnswer::Ran { clean, told }),
            Ran::Answered(ProgramAnswer::Ran { clean: xen_clean, told: xen_told }),
        ) => clean == xen_clean && told.digest() == xen_told.digest(),
        _ => mock == xen,
    }
}

/// What was observed of a program that was answered in full.
pub(crate) fn outcome(ran: &Ran) -> Option<Outcome> {
    match ran {
        Ran::Answered(ProgramAnswer::Ran { told: Told::Full(record), .. }) => Outcome::from_bytes(record).ok(),
        _ => None,
    }
}

/// A line per step and per finding behind the last, or why there is none.
pub(crate) fn lines(ran: &Ran, program: &Program) -> Vec<String> {
    match (outcome(ran), ran) {
        (Some(outcome), _) => outcome.lines(program),
        (None, Ran::Ended(why)) => vec![why.clone()],
        (None, Ran::Answered(answer)) => vec![format!("{answer:?}")],
    }
}

/// Both answers, step by step; where they differ, one below the other.
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps: Vec<String> = self.program.steps.iter().map(ToString::to_string).collect();
        let lines = self.mock.len().max(self.xen.len());
        for line in 0..lines.max(steps.len()) {
            match steps.get(line) {
                Some(step) => writeln!(f, "    {step}")?,
                None if line == steps.len() => writeln!(f, "    # behind the last step")?,
                None => {}
            }
            let (mock, xen) = (self.mock.get(line), self.xen.get(line));
            if mock == xen {
                writeln!(f, "        #   both: {}", mock.map_or("-", String::as_str))?;
            } else {
                writeln!(f, "        # ! mock: {}", mock.map_or("-", String::as_str))?;
                writeln!(f, "        # ! xen:  {}", xen.map_or("-", String::as_str))?;
            }
        }
        Ok(())
    }
}

fn text<S: serde::Serializer>(program: &Program, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(program)
}

/// The program in its text form.
fn program<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Program, D::Error> {
    use serde::de::Error;
    let cases = parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)?.cases;
    match &*cases {
        [case] => Ok(case.program()),
        _ => Err(D::Error::invalid_length(cases.len(), &"one program")),
    }
}
