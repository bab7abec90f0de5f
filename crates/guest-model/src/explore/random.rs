//! Beyond the bounds: ways at random, each from its seed.
//!
//! Every other way gives each vCPU's tasks priorities instead and goes by them, but for a few places chosen
//! at random where the highest becomes the lowest (PCT: a fault that takes d such places is met on one
//! way in n·kᵈ⁻¹ at least, for n tasks and k choices).

use std::sync::Arc;

use super::{Bounds, Choice, Outcome, Seen, Stand, run::Run, show};
use crate::{
    design::Design,
    explore::{OBSERVED, choice::Schedule},
    found::Found,
    scenario::Scenario,
};

/// The generator SplitMix64, whose every seed is as good as any other.
#[derive(Clone, Copy, Debug)]
pub struct Dice(u64);

impl Dice {
    /// The throws of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// One of `sides`, at least 1.
    pub fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % sides.max(1) as u64) as usize
    }
}

/// How a way at random is made.
enum Way {
    /// One choice in so many is not the first.
    OneIn(usize),
    /// By priorities, which change at these choices.
    Priorities(Vec<usize>),
}

/// Choices within which the places lie at which priorities change.
const PLACES: usize = 200;
/// How many such places there are.
const CHANGES: usize = 3;

impl Way {
    fn new(dice: &mut Dice, number: u64) -> Self {
        if number.is_multiple_of(2) {
            return Self::OneIn(2 + dice.throw(30));
        }
        Self::Priorities((0..CHANGES).map(|_| dice.throw(PLACES)).collect())
    }

    /// Which of the choices to take, this being the `at`-th time.
    fn choose(&self, dice: &mut Dice, at: usize, choices: &[Choice]) -> usize {
        let is_program = matches!(choices[0], Choice::Do(_) | Choice::Spread(_) | Choice::Wake(_));
        let is_turn = match self {
            Self::OneIn(many) => dice.throw(*many) == 0,
            Self::Priorities(places) => places.contains(&at),
        };
        if is_program || is_turn { dice.throw(choices.len()) } else { 0 }
    }
}

/// Goes `ways` ways at random from `seed`. What is found comes with the schedule it was found on.
pub(crate) fn sample<D: Design>(
    scenario: &Arc<Scenario>,
    seed: u64,
    ways: u64,
    mut observe: impl FnMut(&Seen) -> bool,
) -> Outcome {
    let mut run = Run::<D>::new(scenario, Bounds::UNBOUNDED, false);
    let (mut dice, mut seen) = (Dice::new(seed), Seen::default());
    for number in 0..ways {
        let way = Way::new(&mut dice, number);
        if let Some(schedule) = go(&mut run, &way, &mut dice, &mut seen) {
            drop(run);
            let fault = show::<D>(scenario, &fewer::<D>(scenario, schedule)).ok();
            return Outcome { seen, complete: false, fault };
        }
        seen.schedules += 1;
        if seen.schedules.is_multiple_of(OBSERVED) && !observe(&seen) {
            break;
        }
        run.reset();
    }
    Outcome { seen, complete: false, fault: None }
}

/// Goes one way to its end, and answers with its schedule if something was found there.
fn go<D: Design>(run: &mut Run<D>, way: &Way, dice: &mut Dice, seen: &mut Seen) -> Option<Schedule> {
    let mut taken: Vec<(Vec<Choice>, usize)> = Vec::new();
    loop {
        match run.advance() {
            Stand::Wrong(_) => break,
            Stand::End => return None,
            Stand::Open => {}
        }
        let begin = run.first_steps();
        let open: Vec<_> = run.choices().iter().copied().filter(|choice| choice.is_within(&begin)).collect();
        let choice = open[way.choose(dice, taken.len(), &open)];
        seen.states += 1;
        seen.choices.count(choice);
        let place = run.choices().iter().position(|other| *other == choice);
        taken.push((run.choices().to_vec(), place.unwrap_or_default()));
        run.take(choice);
    }
    Some(Schedule::of(taken.iter().map(|(choices, index)| (&**choices, *index))))
}

/// Leaves out whatever the fault does not need: one choice after the other, as long as the same rule is
/// broken without it.
fn fewer<D: Design>(scenario: &Arc<Scenario>, schedule: Schedule) -> Schedule {
    let rule = |schedule: &Schedule| {
        let found = super::replay::<D>(scenario, schedule).ok().and_then(|(found, _)| found);
        found.map(|found: Found| found.rule())
    };
    let wanted = rule(&schedule);
    let mut best = schedule;
    let mut at = 0;
    while at < best.len() {
        let shorter = best.without(at);
        if rule(&shorter) == wanted {
            best = shorter;
        } else {
            at += 1;
        }
    }
    best
}
