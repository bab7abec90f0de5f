//! The designs by name, and what can be done with one that is only known by its name.

use std::sync::Arc;

use crate::{
    design::{self, Design, Linux},
    explore::{self, Misfit, Outcome, Schedule, Seen},
    found::Found,
    picture::Moment,
    scenario::Scenario,
};

/// A design of lazy regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// This library.
    PvMmu,
    /// Linux in 2006: a mode of the vCPU, and no switch that looks at it.
    Linux2006,
    /// Linux from 2009: the switch leaves the mode and enters it again.
    Linux2009,
    /// The same where TLB flushes are not queued.
    Linux2009Native,
    /// Linux 6.6: enters within enters counted on the vCPU.
    Linux66,
    /// Linux 7.0: a count of the task's that switches the vCPU's mode.
    Linux70,
    /// Linux in 2026: the task's count alone.
    Linux2026,
    /// The same with the debugging code of 2024 as it was first.
    Linux2026Debug,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::PvMmu,
        Self::Linux2006,
        Self::Linux2009,
        Self::Linux2009Native,
        Self::Linux66,
        Self::Linux70,
        Self::Linux2026,
        Self::Linux2026Debug,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PvMmu => "pv-mmu",
            Self::Linux2006 => "linux-2006",
            Self::Linux2009 => "linux-2009",
            Self::Linux2009Native => "linux-2009-native",
            Self::Linux66 => "linux-6.6",
            Self::Linux70 => "linux-7.0",
            Self::Linux2026 => "linux-2026",
            Self::Linux2026Debug => "linux-2026-debug",
        }
    }

    /// Goes through everything that can happen within the scenario's bounds. `observe` is told now and then
    /// how far that is, and ends it by answering `false`.
    pub fn explore(self, scenario: &Arc<Scenario>, observe: impl FnMut(&Seen) -> bool) -> Outcome {
        self.with(Explore { scenario, observe })
    }

    /// Goes one way, and answers with what was found at its end, if anything, and with every moment of it.
    ///
    /// # Errors
    /// [`Misfit`] where the schedule asks for what cannot happen.
    pub fn replay(self, scenario: &Arc<Scenario>, schedule: &Schedule) -> Result<(Option<Found>, Vec<Moment>), Misfit> {
        self.with(Replay { scenario, schedule })
    }

    /// Goes `ways` ways at random from `seed`, past every bound but one: a way ends.
    pub fn sample(self, scenario: &Arc<Scenario>, seed: u64, ways: u64, observe: impl FnMut(&Seen) -> bool) -> Outcome {
        self.with(Sample { scenario, seed, ways, observe })
    }

    fn with<A: Act>(self, act: A) -> A::Answer {
        match self {
            Self::PvMmu => act.on::<design::PvMmu>(),
            Self::Linux2006 => act.on::<Linux<design::Y2006>>(),
            Self::Linux2009 => act.on::<Linux<design::Y2009>>(),
            Self::Linux2009Native => act.on::<Linux<design::Y2009Native>>(),
            Self::Linux66 => act.on::<Linux<design::V6_6>>(),
            Self::Linux70 => act.on::<Linux<design::V7_0>>(),
            Self::Linux2026 => act.on::<Linux<design::Y2026>>(),
            Self::Linux2026Debug => act.on::<Linux<design::Y2026Debug>>(),
        }
    }
}

/// Something that can be done on any design.
trait Act {
    type Answer;

    fn on<D: Design>(self) -> Self::Answer;
}

struct Explore<'a, O> {
    scenario: &'a Arc<Scenario>,
    observe: O,
}

impl<O: FnMut(&Seen) -> bool> Act for Explore<'_, O> {
    type Answer = Outcome;

    fn on<D: Design>(self) -> Outcome {
        explore::explore::<D>(self.scenario, self.observe)
    }
}

struct Sample<'a, O> {
    scenario: &'a Arc<Scenario>,
    seed: u64,
    ways: u64,
    observe: O,
}

impl<O: FnMut(&Seen) -> bool> Act for Sample<'_, O> {
    type Answer = Outcome;

    fn on<D: Design>(self) -> Outcome {
        explore::sample::<D>(self.scenario, self.seed, self.ways, self.observe)
    }
}

struct Replay<'a> {
    scenario: &'a Arc<Scenario>,
    schedule: &'a Schedule,
}

impl Act for Replay<'_> {
    type Answer = Result<(Option<Found>, Vec<Moment>), Misfit>;

    fn on<D: Design>(self) -> Self::Answer {
        explore::replay::<D>(self.scenario, self.schedule)
    }
}
