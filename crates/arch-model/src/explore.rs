//! Every interleaving of at most so many deviations, by repetition.

use std::sync::Arc;

use guest_model::{Program, Scenario};

use crate::{
    design::Design,
    program::applies,
    run::{Choice, Run},
    world::{Arch, Found},
};

/// What an exploration came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Interleavings gone through.
    pub schedules: u64,
    /// Most points of one.
    pub longest: usize,
    /// Preemptions that the scheduler refused, because a region keeps them off: points where they would have been
    /// possible.
    pub refused_preemptions: u64,
    /// Sleeps of tasks that asked whether they may, on all ways.
    pub sleeps: u64,
    /// What was found, with the schedule, and what happened on the way.
    pub found: Option<(Found, String, Vec<String>)>,
    /// Whether the scenario has steps that mean nothing on the architecture; then nothing was run.
    pub applies: bool,
}

/// More points than this on one way is no scenario.
const MOST: usize = 5000;

/// Where a way has been, and what else could have been done there.
struct Fork {
    choices: Vec<Choice>,
    taken: usize,
    /// Whether going elsewhere costs nothing here.
    is_free: bool,
}

impl Fork {
    fn cost(&self, choice: usize) -> usize {
        usize::from(!self.is_free && self.choices.get(choice).is_some_and(|choice| choice.is_deviation()))
    }
}

pub(crate) fn explore<A: Arch>(design: Design, scenario: &Arc<Scenario>, deviations: usize) -> Outcome {
    let mut outcome =
        Outcome { schedules: 0, longest: 0, refused_preemptions: 0, sleeps: 0, found: None, applies: true };
    if !scenario.programs.iter().all(means_something) {
        return Outcome { applies: false, ..outcome };
    }
    // Fewest first; what has been gone through with fewer is gone through again.
    for bound in 0..=deviations {
        outcome.schedules = 0;
        let mut path = Vec::new();
        loop {
            way::<A>(design, scenario, &mut path, &mut outcome);
            if outcome.found.is_some() {
                return outcome;
            }
            if !next(&mut path, bound) {
                break;
            }
        }
    }
    outcome
}

fn means_something(program: &Program) -> bool {
    match program {
        Program::Fixed(steps) => steps.iter().all(|step| applies(*step)),
        Program::Any { alphabet, .. } => alphabet.iter().all(|step| applies(*step)),
    }
}

/// The next way within the bound; `false` when there is none.
fn next(path: &mut Vec<Fork>, bound: usize) -> bool {
    while let Some(last) = path.pop() {
        let spent: usize = path.iter().map(|fork| fork.cost(fork.taken)).sum();
        let other = (last.taken + 1..last.choices.len()).find(|choice| spent + last.cost(*choice) <= bound);
        if let Some(taken) = other {
            path.push(Fork { taken, ..last });
            return true;
        }
    }
    false
}

/// Goes one way: as `path` says, and then on without deviation.
fn way<A: Arch>(design: Design, scenario: &Arc<Scenario>, path: &mut Vec<Fork>, outcome: &mut Outcome) {
    let mut run = Run::<A>::new(design, scenario, false);
    follow(&mut run, path, outcome);
    outcome.schedules += 1;
    outcome.sleeps += run.world.tasks.iter().map(|task| u64::from(task.slept.get())).sum::<u64>();
    outcome.longest = outcome.longest.max(path.len());
    let found = run.world.found.borrow().clone();
    if let Some(found) = found {
        // Once more, to be told of.
        let mut again = Run::<A>::new(design, scenario, true);
        let mut same = std::mem::take(path);
        follow(&mut again, &mut same, &mut outcome.clone());
        outcome.found = Some((found, name(&same), again.world.log.take()));
    }
}

fn follow<A: Arch>(run: &mut Run<A>, path: &mut Vec<Fork>, outcome: &mut Outcome) {
    for point in 0..MOST {
        if run.world.found.borrow().is_some() || run.is_over() {
            path.truncate(point);
            return;
        }
        let taken = match path.get(point) {
            Some(fork) => fork.choices[fork.taken],
            None => {
                let choices = run.choices();
                outcome.refused_preemptions += u64::from(run.is_pinned());
                let Some(first) = choices.first().copied() else {
                    return run.world.note(None, "nobody can go on, and not everybody has come to the end".to_owned());
                };
                path.push(Fork { choices, taken: 0, is_free: run.is_stuck() });
                first
            }
        };
        run.take_choice(taken);
    }
    run.world.note(None, format!("more than {MOST} points on one way"));
}

/// The schedule: how often the first choice, then what else.
fn name(path: &[Fork]) -> String {
    let (mut words, mut first) = (Vec::new(), 0);
    for fork in path {
        if fork.taken == 0 {
            first += 1;
            continue;
        }
        words.push(first.to_string());
        words.push(fork.choices[fork.taken].to_string());
        first = 0;
    }
    if words.is_empty() { "0".to_owned() } else { words.join(".") }
}
