//! What is looked at: scenarios by their numbers, and the designs they are looked at in.

use std::sync::Arc;

use Step::{
    Clear, Enter, Flush, FlushTlb, Leave, Lock, Map, Offline, Online, Pause, Range, Read, Refused, Resume, Set, Sleep,
    SoftOff, SoftOn, Suspend, Sync, Unlock, Unpin, Unset,
};
use mock_xen::referee::Rule;

use crate::{
    design::{self, Design, Linux},
    explore::{self, Bounds, Misfit, Outcome, Schedule, Seen},
    found::Found,
    picture::Moment,
    scenario::{Handler, Profile, Program, Scenario, Step},
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
    let bugs = bugs().into_iter().map(|(scenario, policy, rule)| (scenario, Some((policy, rule))));
    let all = bugs.chain(scenarios().into_iter().map(|scenario| (scenario, None)));
    all.map(|(scenario, had)| Exhibit { scenario: Arc::new(scenario), had }).collect()
}

/// Every program of at most `length` operations for each of two tasks: S60.
#[must_use]
pub fn every_program(profile: Profile, length: usize, bounds: Bounds) -> Scenario {
    let alphabet = vec![Enter, Leave, Set(0), Set(1), FlushTlb, Sync];
    let any = Program::Any { alphabet, length };
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

/// Real bugs, each with the design that had it and the rule it broke.
fn bugs() -> Vec<(Scenario, Policy, Rule)> {
    use Policy::{Linux66, Linux70, Linux2006, Linux2009, Linux2009Native, Linux2026, Linux2026Debug};
    let region: &[Step] = &[Enter, Set(0), Leave];
    vec![
        (nested("B1", "a region became preemptible", &[region, &[Set(1)]]), Linux2006, Rule::R7),
        (
            nested("B2", "set_ptes opens a region inside a region", &[&[Enter, Enter, Range(2), Leave, Set(1), Leave]]),
            Linux2009,
            Rule::R4,
        ),
        (
            nested("B3", "nested, and preempted", &[&[Enter, Enter, Set(0), Leave, Leave], &[Enter, Set(1), Leave]]),
            Linux66,
            Rule::R7,
        ),
        (nested("B5", "kmap_local in a region", &[&[Enter, Map(0), Leave]]), Linux2009, Rule::R1),
        (nested("B6", "a fault in a region needs its entry", &[&[Enter, Set(0), Map(1), Leave]]), Linux2009, Rule::R1),
        (
            nested("B7", "an allocation sleeps in a region", &[&[Enter, Set(0), Sleep, Leave], &[Set(1)]]),
            Linux2006,
            Rule::R7,
        ),
        (
            nested("B10", "a TLB flush overtakes the write it is for", &[&[Enter, Set(0), FlushTlb, Leave]]),
            Linux2009Native,
            Rule::R12,
        ),
        (
            nested("B11", "a table is unpinned under a switch away from it", &[&[], &[Unpin(0)], &[Set(0)]]).loading(),
            Linux2009,
            Rule::R12,
        ),
        (
            nested(
                "B13a",
                "preempted between the count and the mode: enter",
                &[&[Enter, Lock(0), Leave, Unlock(0)], &[]],
            ),
            Linux70,
            Rule::R9,
        ),
        (
            nested(
                "B13b",
                "preempted between the count and the mode: leave",
                &[&[Lock(0), Enter, Unlock(0), Leave], &[]],
            ),
            Linux70,
            Rule::R9,
        ),
        (
            nested("B14", "left with bottom halves off", &[&[Enter, Set(0), SoftOff, Leave, SoftOn]]),
            Linux2026,
            Rule::R2,
        ),
        (
            nested("B15", "debugging switched on in a region", &[&[Enter, Set(0), Step::Count(true), Leave]]),
            Linux2026Debug,
            Rule::R2,
        ),
        (nested("B16", "a read past what is queued", &[&[Enter, Set(0), Read(0), Leave]]), Linux2026, Rule::R11),
        (
            nested("B17", "a handler's write is undone by an older one", &[region]).interrupted_by(Handler::Set(0)),
            Linux2026,
            Rule::R6,
        ),
        (nested("B18", "an exchange overtakes a write", &[&[Enter, Set(0), Clear(0), Leave]]), Linux2026, Rule::R10),
        (
            nested("B19", "what follows a refused write is dropped", &[&[Enter, Set(0), Refused(1), Set(2), Leave]]),
            Linux2026,
            Rule::R14,
        ),
    ]
}

/// Scenarios a right library passes.
fn scenarios() -> Vec<Scenario> {
    let wide = Bounds::default();
    let two: &[Step] = &[Enter, Set(0), Set(1), Leave];
    let other: &[Step] = &[Enter, Set(2), Leave];
    vec![
        strict("S17", "preempted in a region", &[two, &[Set(2), Read(0)]]),
        strict("S18", "preempted in a region and resumed elsewhere", &[two, &[Set(2)]])
            .within(Bounds { migrations: 2, ..wide }),
        nested("S19", "nested, preempted by a region", &[&[Enter, Enter, Set(0), Leave, Set(1), Leave], other]),
        nested("S20", "preempted inside enter, pause, resume and leave", &[&[Enter, Pause, Resume, Leave], other])
            .within(Bounds { preemptions: 3, ..wide }),
        strict(
            "S21",
            "two regions take turns",
            &[&[Enter, Set(0), Set(0), Set(1), Unset(0), Leave], &[Enter, Set(2), Set(3), Unset(2), Leave]],
        ),
        strict("S22", "the switch hands over writes, base pointer and stack", &[two, other]).loading(),
        nested(
            "S23",
            "switched out while paused",
            &[&[Enter, Set(0), Pause, Set(1), Resume, Set(0), Leave], &[Set(2)]],
        ),
        nested(
            "S24",
            "only the next task's state changes",
            &[&[Enter, Enter, Set(0), Leave, Leave], &[Set(2), Set(3)]],
        )
        .loading(),
        strict("S25", "moved there and back in one region", &[&[Enter, Set(0), Set(0), Leave], &[]])
            .within(Bounds { migrations: 3, ..wide }),
        strict("S29", "a handler writes the entry that is pending", &[two]).interrupted_by(Handler::Set(0)),
        strict("S30", "interrupted at every step", &[two, other])
            .interrupted_by(Handler::Set(3))
            .within(Bounds { interrupts: 3, ..wide }),
        nested(
            "S31",
            "entered as a task, left with bottom halves off",
            &[&[Enter, Set(0), SoftOff, Set(1), Leave, SoftOn]],
        ),
        strict("S32", "an event that masking does not hold off", &[two, other]).interrupted_by(Handler::NotHeldOff),
        strict("S33", "a fault in a region", &[&[Enter, Set(0), Map(1), Set(0), Leave], &[Set(2)]]),
        strict("S38", "mapped and unmapped in a region", &[&[Enter, Set(0), Map(1), Map(1), Set(0), Leave]])
            .interrupted_by(Handler::Read(1)),
        nested(
            "S39",
            "an inner region ends and what it unmapped is unmapped",
            &[&[Enter, Set(0), Enter, Clear(1), Set(1), Leave, Read(1), Leave]],
        ),
        strict("S40", "an operation that may not wait", &[&[Enter, Set(0), Sync, Set(1), Leave], other]),
        strict("S41", "a table is unpinned under a switch away from it", &[&[], &[Unpin(0)], &[Set(0)]]).loading(),
        strict(
            "S49",
            "the hypervisor takes the vCPU away within a hypercall",
            &[&[Enter, Set(0), Set(1), FlushTlb, Leave], other],
        )
        .within(Bounds { hypervisor: 4, deviations: 4, ..wide }),
        strict("S54", "a vCPU goes offline with operations queued", &[two, &[Offline(0), Online(0)]]),
        strict("S57", "suspended with operations queued everywhere", &[two, &[Suspend], other]),
        every_program(Profile::Strict, 2, wide),
        strict(
            "R10",
            "read-modify-write of what is pending, and of another entry",
            &[&[Enter, Set(0), Clear(0), Clear(1), Set(1), Leave]],
        )
        .interrupted_by(Handler::Clear(0)),
        strict("R14", "refusals in a region, preempted", &[&[Enter, Set(0), Refused(1), Set(2), Leave], &[Refused(3)]])
            .within(Bounds { migrations: 0, ..wide }),
        strict("R15", "a range longer than the queue", &[&[Range(5), Enter, Range(5), Leave], other])
            .interrupted_by(Handler::FlushTlb),
        strict(
            "R18",
            "counting switched off and on in a region",
            &[&[Enter, Set(0), Step::Count(false), Set(1), Step::Count(true), Leave], other],
        ),
        strict(
            "lock",
            "two tasks take turns at a spinning lock",
            &[&[Lock(0), Enter, Set(0), Leave, Unlock(0)], &[Lock(0), Enter, Set(0), Flush, Leave, Unlock(0)]],
        ),
        Scenario {
            sleeping_locks: true,
            ..strict(
                "lock-rt",
                "two tasks take turns at a sleeping lock",
                &[&[Lock(0), Enter, Set(0), Leave, Unlock(0)], &[Lock(0), Enter, Set(0), Leave, Unlock(0)]],
            )
        },
    ]
}
