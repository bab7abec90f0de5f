//! Every interleaving of a scenario, or many at random.
//!
//! [`explore`] goes through all ways within the scenario's [`Bounds`], depth first and by repetition: a
//! way is repeated up to its last choice but one, and there takes the next. States that were met before
//! are not gone on from. A state is known by a 64-bit digest: of everything the coroutines share, of what
//! may still happen, and, for each coroutine, of its position and of all answers it has had since its
//! operation began. That is complete because nothing else can tell two states apart: the library keeps
//! no cells, statics or atomics of its own (a test of this crate sees to that), so what its code on a
//! coroutine does next follows from where it is and what it was answered. Two different states may have
//! one digest: among n states the odds are below n²/2⁶⁵, one in 300,000 for ten million.
//!
//! When something is found, the search begins anew with fewer things allowed to happen, one more each
//! time, until it is found again: so its schedule has the fewest choices there can be.

mod bounds;
mod choice;
mod random;
mod run;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;

pub(crate) use self::random::sample;
pub use self::{
    bounds::Bounds,
    choice::{Choice, Schedule, ScheduleError, Tally},
    random::Dice,
};
use self::{
    choice::Move,
    run::{Run, Stand},
};
use crate::{design::Design, found::Found, picture::Moment, scenario::Scenario};

/// What an exploration has seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// States with something to choose.
    pub states: u64,
    /// Ways gone, each to its end or to a state met before.
    pub schedules: u64,
    /// How often each kind of choice was taken.
    pub choices: Tally,
}

/// Something found, and how to see it again.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What it is.
    pub found: Found,
    /// The way to it, with the fewest choices.
    pub schedule: Schedule,
    /// The way, moment by moment.
    pub moments: Vec<Moment>,
}

/// The end of an exploration.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What was seen.
    pub seen: Seen,
    /// Whether everything within the bounds was.
    pub complete: bool,
    /// What was found, if anything: the search ends with it.
    pub fault: Option<Fault>,
}

/// Why a schedule does not fit a scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// How many choices came before.
    pub at: usize,
    /// The choice that cannot be made.
    pub choice: Option<Choice>,
    /// Those that can.
    pub choices: Vec<Choice>,
}

impl core::fmt::Display for Misfit {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { at, choice, choices } = self;
        let possible = choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match choice {
            Some(choice) => {
                write!(f, "the schedule does not fit: after {at} choices `{choice}` cannot be taken, only {possible}")
            }
            None => write!(f, "the schedule does not fit: everybody is at the end after {at} choices"),
        }
    }
}

impl core::error::Error for Misfit {}

/// How often, in states, an observer is told.
const OBSERVED: u64 = 1 << 12;

/// Goes through everything that can happen within the scenario's bounds; `observe` is told now and then
/// how far it is, and ends the search by answering `false`.
pub(crate) fn explore<D: Design>(scenario: &Arc<Scenario>, mut observe: impl FnMut(&Seen) -> bool) -> Outcome {
    let mut search = Search::<D>::new(scenario, scenario.bounds);
    let found = search.exhaust(&mut observe);
    let (seen, complete) = (search.seen, search.complete);
    drop(search);
    let fault = found.map(|_| fewest::<D>(scenario));
    Outcome { seen, complete, fault: fault.flatten() }
}

/// The same fault with the fewest choices.
fn fewest<D: Design>(scenario: &Arc<Scenario>) -> Option<Fault> {
    (0..=scenario.bounds.deviations).find_map(|deviations| {
        let bounds = Bounds { deviations, ..scenario.bounds };
        let mut search = Search::<D>::new(scenario, bounds);
        search.exhaust(&mut |_| true)?;
        let schedule = search.schedule();
        drop(search);
        show::<D>(scenario, &schedule).ok()
    })
}

/// Goes one way and looks at it; what is found at its end, if anything, is in the answer.
///
/// # Errors
/// [`Misfit`] where the schedule asks for what cannot happen.
pub(crate) fn replay<D: Design>(
    scenario: &Arc<Scenario>,
    schedule: &Schedule,
) -> Result<(Option<Found>, Vec<Moment>), Misfit> {
    let mut run = Run::<D>::new(scenario, Bounds::UNBOUNDED, true);
    let mut taken = 0;
    let mut moves = schedule.0.iter().flat_map(|part| match part {
        Move::First(times) => vec![None; *times as usize],
        Move::Take(choice) => vec![Some(*choice)],
    });
    let found = loop {
        match run.advance() {
            Stand::Wrong(found) => break Some(found),
            Stand::End => break None,
            Stand::Open => {}
        }
        let choice = moves.next().flatten();
        let first = run.choices()[0];
        match choice {
            Some(choice) if !run.choices().contains(&choice) => {
                return Err(Misfit { at: taken, choice: Some(choice), choices: run.choices().to_vec() });
            }
            choice => run.take(choice.unwrap_or(first)),
        }
        taken += 1;
    };
    if found.is_none() && moves.next().is_some() {
        return Err(Misfit { at: taken, choice: None, choices: Vec::new() });
    }
    let moments = run.machine.log.take().unwrap_or_default();
    Ok((found, moments))
}

fn show<D: Design>(scenario: &Arc<Scenario>, schedule: &Schedule) -> Result<Fault, Misfit> {
    let (found, moments) = replay::<D>(scenario, schedule)?;
    let found = found.unwrap_or(Found::Deadlock);
    Ok(Fault { found, schedule: schedule.clone(), moments })
}

struct Node {
    choices: Box<[Choice]>,
    taken: usize,
    /// What a program may begin with here, in a part of a scenario.
    begin: Range<u8>,
}

impl Node {
    /// The first choice from this on that belongs to the part that is explored.
    fn open(&self, from: usize) -> Option<usize> {
        (from..self.choices.len()).find(|number| self.choices[*number].is_within(&self.begin))
    }
}

/// A search in depth.
struct Search<D: Design> {
    run: Run<D>,
    way: Vec<Node>,
    met: HashSet<u64, FixedState>,
    seen: Seen,
    complete: bool,
    /// Whether states met before are gone on from all the same, to see what merging leaves out.
    #[cfg(test)]
    is_plain: bool,
    /// The states on the present way.
    #[cfg(test)]
    passed: Vec<u64>,
    /// The states in which ways end.
    #[cfg(test)]
    ends: HashSet<u64, FixedState>,
    /// How many ways do.
    #[cfg(test)]
    ended: u64,
}

impl<D: Design> Search<D> {
    fn new(scenario: &Arc<Scenario>, bounds: Bounds) -> Self {
        let run = Run::new(scenario, bounds, false);
        Self {
            run,
            way: Vec::new(),
            met: HashSet::default(),
            seen: Seen::default(),
            complete: false,
            #[cfg(test)]
            is_plain: false,
            #[cfg(test)]
            passed: Vec::new(),
            #[cfg(test)]
            ends: HashSet::default(),
            #[cfg(test)]
            ended: 0,
        }
    }

    /// Goes through everything, or up to the first finding.
    fn exhaust(&mut self, observe: &mut impl FnMut(&Seen) -> bool) -> Option<Found> {
        loop {
            if let Some(found) = self.go_on() {
                return Some(found);
            }
            self.seen.schedules += 1;
            if !self.next_way() {
                self.complete = true;
                return None;
            }
            if self.seen.schedules.is_multiple_of(OBSERVED) && !observe(&self.seen) {
                return None;
            }
            self.repeat();
        }
    }

    /// Goes on to the end, or to a state met before.
    fn go_on(&mut self) -> Option<Found> {
        loop {
            match self.run.advance() {
                Stand::Wrong(found) => return Some(found),
                Stand::End => {
                    #[cfg(test)]
                    {
                        self.ends.insert(self.run.digest());
                        self.ended += 1;
                    }
                    return None;
                }
                Stand::Open => {}
            }
            if self.is_merged() {
                return None;
            }
            self.seen.states += 1;
            let mut node = Node { choices: self.run.choices().into(), taken: 0, begin: self.run.first_steps() };
            let taken = node.open(0)?;
            node.taken = taken;
            self.seen.choices.count(node.choices[taken]);
            self.run.take(node.choices[taken]);
            self.way.push(node);
        }
    }

    /// Whether the state was met before.
    fn is_merged(&mut self) -> bool {
        let digest = self.run.digest();
        let is_new = self.met.insert(digest);
        #[cfg(test)]
        self.passed.truncate(self.way.len());
        // Two idle vCPUs may take turns for ever: a way that comes back to itself ends, merged or not.
        #[cfg(test)]
        let is_new = is_new || self.is_plain && !self.passed.contains(&digest);
        #[cfg(test)]
        self.passed.push(digest);
        !is_new
    }

    /// Turns to the next choice of the last node that has one; `false` when none has.
    fn next_way(&mut self) -> bool {
        while let Some(node) = self.way.last_mut() {
            if let Some(taken) = node.open(node.taken + 1) {
                node.taken = taken;
                self.seen.choices.count(node.choices[taken]);
                return true;
            }
            self.way.pop();
        }
        false
    }

    /// Goes the way up to its last node.
    fn repeat(&mut self) {
        self.run.reset();
        for node in &self.way {
            let stand = self.run.advance();
            debug_assert!(stand == Stand::Open && *self.run.choices() == *node.choices, "a way repeats itself");
            self.run.take(node.choices[node.taken]);
        }
    }

    fn schedule(&self) -> Schedule {
        Schedule::of(self.way.iter().map(|node| (&*node.choices, node.taken)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::every_program,
        design::PvMmu,
        scenario::{Handler, Profile, Program, Step},
    };

    fn scenario() -> Arc<Scenario> {
        let region = Program::Fixed(vec![Step::Enter, Step::Set(0), Step::FlushTlb, Step::Leave]);
        let programs = vec![region, Program::Fixed(vec![Step::Set(0)])];
        let bounds = Bounds { deviations: 2, ..Bounds::default() };
        let scenario = Scenario::new("plain", "with and without merging", Profile::Strict, programs);
        Arc::new(Scenario { handlers: vec![Handler::Set(1)], bounds, ..scenario })
    }

    #[test]
    fn merging_leaves_out_no_state_and_no_end() {
        let explored = |is_plain| {
            let scenario = scenario();
            let mut search = Search::<PvMmu>::new(&scenario, scenario.bounds);
            search.is_plain = is_plain;
            assert_eq!(search.exhaust(&mut |_| true), None);
            (search.met.clone(), search.ends.clone(), search.seen.schedules)
        };
        let (merged, plain) = (explored(false), explored(true));
        assert_eq!((&merged.0, &merged.1), (&plain.0, &plain.1));
        assert!(plain.2 > 3 * merged.2 && merged.1.len() > 3, "{} ways and {} merged", plain.2, merged.2);
    }

    /// States, ends, and the ways there.
    fn explored(scenario: Scenario, is_plain: bool) -> (HashSet<u64, FixedState>, HashSet<u64, FixedState>, u64) {
        let scenario = Arc::new(scenario);
        let mut search = Search::<PvMmu>::new(&scenario, scenario.bounds);
        search.is_plain = is_plain;
        assert_eq!(search.exhaust(&mut |_| true), None);
        (search.met.clone(), search.ends.clone(), search.ended)
    }

    #[test]
    fn the_parts_of_a_scenario_are_all_of_it_and_no_way_is_in_two() {
        let bounds = Bounds { deviations: 1, ..Bounds::default() };
        let whole = every_program(Profile::Strict, 1, bounds);
        for is_plain in [false, true] {
            let (mut met, mut ends, mut ways) = (HashSet::default(), HashSet::default(), 0);
            for part in whole.parts() {
                let explored = explored(part, is_plain);
                met.extend(explored.0);
                ends.extend(explored.1);
                ways += explored.2;
            }
            let whole = explored(whole.clone(), is_plain);
            assert_eq!((&met, &ends), (&whole.0, &whole.1));
            assert!(!is_plain || ways == whole.2, "{ways} ways in the parts, {} in the whole", whole.2);
        }
    }
}
