//! What is looked at: scenarios by their numbers, and where each is known to go wrong.

mod bugs;
mod callers;
mod scenarios;

use std::sync::Arc;

use mock_xen::referee::Rule;

use crate::{
    explore::Bounds,
    policy::Policy,
    scenario::{Handler, Profile, Program, Scenario, Step},
};

/// A scenario, and where it is known to go wrong.
#[derive(Clone, Debug)]
pub struct Exhibit {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The design that had the bug, and the rule by which it is found; `None` for one that no design here has.
    pub had: Option<(Policy, Rule)>,
}

/// Everything that is looked at, in the order of its numbers: bugs, then scenarios.
#[must_use]
pub fn catalogue() -> Vec<Exhibit> {
    let bugs = bugs::all().into_iter().map(|(scenario, policy, rule)| (scenario, Some((policy, rule))));
    let clean = scenarios::all().into_iter().chain(callers::all());
    let all = bugs.chain(clean.map(|scenario| (scenario, None)));
    all.map(|(scenario, had)| Exhibit { scenario: Arc::new(scenario), had }).collect()
}

/// Every program of at most `length` operations for each of two tasks: S60.
#[must_use]
pub fn every_program(profile: Profile, length: usize, bounds: Bounds) -> Scenario {
    let alphabet = vec![Step::Enter, Step::Leave, Step::Set(0), Step::Set(1), Step::FlushTlb, Step::Sync];
    let any = Program::Any { begin: 0..alphabet.len() as u8 + 1, alphabet, length };
    let about = "every program of two tasks on two vCPUs";
    Scenario { bounds, ..Scenario::new("S60", about, profile, vec![any.clone(), any]) }
}

fn nested(name: &'static str, about: &'static str, programs: &[&[Step]]) -> Scenario {
    let programs = programs.iter().map(|steps| Program::Fixed(steps.to_vec())).collect();
    Scenario::new(name, about, Profile::Nested, programs)
}

fn strict(name: &'static str, about: &'static str, programs: &[&[Step]]) -> Scenario {
    Scenario { profile: Profile::Strict, ..nested(name, about, programs) }
}

impl Scenario {
    fn interrupted_by(self, handler: Handler) -> Self {
        let handlers = self.handlers.into_iter().chain([handler]).collect();
        Self { handlers, ..self }
    }

    fn within(self, bounds: Bounds) -> Self {
        Self { bounds, ..self }
    }

    /// Switches load the next task's base pointer and stack.
    fn loading(self) -> Self {
        Self { switch_loads: true, ..self }
    }
}
