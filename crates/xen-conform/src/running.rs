//! Many programs on one executor, whatever becomes of a few of them.
//!
//! An executor gives up a list behind a program after which the arena could not be restored; the rest is
//! run from a fresh start. Where the machine itself ends, the list is halved until the program is found
//! that ends it.

use xen_program::outcome::{ProgramAnswer, answers, list};
use xen_program::{Malformed, Mode, Report};

use crate::executor::{ExecuteError, Executor};

/// Programs on their way, as bytes.
pub(crate) type Programs<'a> = [&'a [u8]];

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// It was answered.
    Answered(ProgramAnswer),
    /// The machine ended while it ran.
    Ended(String),
}

/// Why a set of programs could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunningError {
    /// The executor failed, not a program.
    #[error(transparent)]
    Execute(#[from] ExecuteError),
    /// The executor's answer is none.
    #[error("the executor's answer is damaged {0}: build both from one source")]
    Answer(Malformed),
    /// The executor has no room for the answer to a single program.
    #[error("the executor answered {answered} of {asked} programs and none behind: its room for answers is too small")]
    Stuck {
        /// Programs in the list.
        asked: usize,
        /// Answers in a row.
        answered: usize,
    },
}

/// Runs programs in order and counts the lists that took.
#[derive(Debug)]
pub(crate) struct Running<'a, E: ?Sized> {
    executor: &'a E,
    report: Report,
    mode: Mode,
    /// Lists run so far.
    pub(crate) lists: u64,
}

impl<'a, E: Executor + ?Sized> Running<'a, E> {
    pub(crate) const fn new(executor: &'a E, report: Report, mode: Mode) -> Self {
        Self { executor, report, mode, lists: 0 }
    }

    /// What becomes of each of `programs`.
    ///
    /// # Errors
    /// Where the executor fails for another reason than a program.
    pub(crate) fn all(&mut self, programs: &Programs<'_>) -> Result<Vec<Ran>, RunningError> {
        let mut ran = Vec::with_capacity(programs.len());
        while ran.len() < programs.len() {
            let rest = &programs[ran.len()..];
            let most = rest.len().min(self.executor.most());
            let answered = self.some(&rest[..most])?;
            if answered.is_empty() {
                return Err(RunningError::Stuck { asked: programs.len(), answered: ran.len() });
            }
            ran.extend(answered);
        }
        Ok(ran)
    }

    /// Runs a list and answers with what became of the programs at its start: all, or those up to one
    /// that stopped it.
    fn some(&mut self, programs: &Programs<'_>) -> Result<Vec<Ran>, RunningError> {
        self.lists += 1;
        let bytes = match self.executor.run(&list(self.report, self.mode, programs.iter().copied())) {
            Ok(bytes) => bytes,
            Err(ExecuteError::Ended(why)) if programs.len() == 1 => return Ok(vec![Ran::Ended(why)]),
            Err(ExecuteError::Ended(_)) => return self.some(&programs[..programs.len().div_ceil(2)]),
            Err(error) => return Err(error.into()),
        };
        let answers = answers(&bytes).map_err(RunningError::Answer)?;
        let is_run = |answer: &ProgramAnswer| *answer != ProgramAnswer::NotRun;
        Ok(answers.into_iter().take_while(is_run).map(Ran::Answered).collect())
    }
}
