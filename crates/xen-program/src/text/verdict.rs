//! Answers in words, and whether they are the expected ones.

use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use super::Case;
use super::names::{answer, frame_name};
use super::printer::{change_text, expectation_text, memory_text, step_outcome_text};
use crate::expect::{Expectation, Memory};
use crate::frame::Frame;
use crate::outcome::{Change, End, Outcome, PageProbe};
use crate::program::Program;

/// Where a case was not answered as expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unmet {
    /// A step.
    #[error("step {number}, `{step}`: expected `{expected}`, found `{found}`")]
    Step {
        /// The step's number, from 1.
        number: usize,
        /// The step.
        step: String,
        /// What was expected.
        expected: String,
        /// Everything it came to.
        found: String,
    },
    /// The arena could not be restored.
    #[error("behind the last step: {0}")]
    End(String),
}

impl Case {
    /// Compares an outcome of the case's program with what is expected.
    ///
    /// # Errors
    /// The first expectation that does not hold.
    pub fn check(&self, outcome: &Outcome) -> Result<(), Unmet> {
        let mut memory = Memory::default();
        for (number, (step, outcome)) in (1..).zip(self.steps.iter().zip(&outcome.steps)) {
            memory.apply(&outcome.changes);
            let unmet = |expectation: &&Expectation| !expectation.holds(&step.step, outcome, &memory);
            if let Some(expectation) = step.expected.iter().find(unmet) {
                let expected = expectation_text(expectation, &step.step);
                let found = match expectation {
                    Expectation::Memory { place, .. } => memory_text(*place, memory.word(*place)),
                    _ => step_outcome_text(outcome, &step.step),
                };
                return Err(Unmet::Step { number, step: step.step.to_string(), expected, found });
            }
        }
        if outcome.end == End::Clean { Ok(()) } else { Err(Unmet::End(end_text(&outcome.end))) }
    }
}

impl Outcome {
    /// One line per step of `program`, which this is the outcome of, and per thing that was found
    /// behind the last.
    #[must_use]
    pub fn lines(&self, program: &Program) -> Vec<String> {
        let steps = program.steps.iter().zip(&self.steps);
        let mut lines: Vec<_> = steps.map(|(step, outcome)| step_outcome_text(outcome, step)).collect();
        lines.push(changes_text("unnoticed", &self.unnoticed));
        lines.push(format!("probes: {}", self.probes.iter().map(probe_text).collect::<Vec<_>>().join(", ")));
        lines.push(changes_text("probing", &self.probed));
        lines.push(end_text(&self.end));
        lines
    }
}

fn changes_text(when: &str, changes: &[Change]) -> String {
    format!("{when}: {}", changes.iter().map(change_text).collect::<Vec<_>>().join(", "))
}

fn probe_text(probe: &PageProbe) -> String {
    let page = frame_name(Frame::Page(probe.page));
    match &probe.table {
        None => format!("{page} {}", answer(probe.writable)),
        Some((unpin, levels)) => {
            let levels: Vec<_> = levels.iter().map(|level| answer(*level)).collect();
            format!("{page} {} unpin {} pins {}", answer(probe.writable), answer(*unpin), levels.join(" "))
        }
    }
}

fn end_text(end: &End) -> String {
    match end {
        End::Clean => "the arena is as it was".into(),
        End::Held(page, value) => {
            format!("{} is still held: giving it back was answered with {}", frame_name((*page).into()), answer(*value))
        }
        End::Different(frame, index, word) => {
            let place = crate::outcome::Place::Word(*frame, *index);
            format!("the arena is not as it was: {}", memory_text(place, *word))
        }
    }
}
