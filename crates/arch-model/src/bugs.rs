//! The bugs that lazy regions had on these architectures, as programs.

use std::sync::Arc;

use Step::{Enter, Leave, Range, Set, Unset};
use guest_model::{Handler, Profile, Program, Scenario, Step};
use mock_xen::referee::Rule;

use crate::{Design, Model};

/// A bug: its program, and where it is known.
#[derive(Clone, Debug)]
pub struct Bug {
    /// What shows it.
    pub scenario: Arc<Scenario>,
    /// The designs that have it.
    pub had: &'static [Design],
    /// The rule by which it is found.
    pub rule: Rule,
}

impl Bug {
    /// The designs that have it and are an architecture's. With radix tables nothing waits, and no design can go wrong.
    pub fn had_on(&self, model: Model) -> impl Iterator<Item = Design> + use<'_> {
        let waits = model != Model::Radix;
        self.had.iter().copied().filter(move |design| waits && design.is_for(model.preemption()))
    }
}

fn nested(name: &'static str, about: &'static str, programs: &[&[Step]]) -> Scenario {
    let programs = programs.iter().map(|steps| Program::Fixed(steps.to_vec())).collect();
    Scenario::new(name, about, Profile::Nested, programs)
}

/// All of them.
#[must_use]
pub fn bugs() -> Vec<Bug> {
    use Design::{TaskFlag, VcpuMode, VcpuModePinned};
    let bug = |scenario, had, rule| Bug { scenario: Arc::new(scenario), had, rule };
    let interrupted = Scenario {
        handlers: vec![Handler::Set(5)],
        ..nested("B9", "a handler's own write waits as its task's", &[&[Enter, Set(0), Leave]])
    };
    vec![
        bug(
            nested("B2", "a range set in a region ends it", &[&[Enter, Range(1), Set(3), Leave]]),
            &[VcpuMode, VcpuModePinned, TaskFlag],
            Rule::R4,
        ),
        bug(
            nested(
                "B4",
                "a region's batch stays on the vCPU that its task leaves",
                &[&[Enter, Set(0), Set(1), Leave], &[Set(2)]],
            ),
            &[VcpuMode],
            Rule::R1,
        ),
        bug(
            nested(
                "B8",
                "a page freed in a region is unmapped by a region within, which ends it",
                &[&[Enter, Set(0), Enter, Unset(3), Leave, Set(1), Leave]],
            ),
            &[VcpuModePinned, TaskFlag],
            Rule::R4,
        ),
        bug(interrupted, &[TaskFlag, VcpuModePinned], Rule::R6),
    ]
}
