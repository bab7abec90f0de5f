//! Choices between the requests that an arrival, a cut or a report may stand for.
//!
//! Protocol. Ways are counted from the likeliest on. While there is no doubt that is taken, and nothing noted. While
//! there is, the choices of one event are made by what [`Choices::follow`] was given and by the likeliest way beyond that, and say
//! afterwards which other ways there were.

use std::sync::Arc;

use parking_lot::Mutex;

/// Those of one event, of all vCPUs.
pub(super) type Shared = Arc<Mutex<Choices>>;

/// Those of one event.
#[derive(Debug)]
pub(super) struct Choices {
    follows: Vec<usize>,
    /// Which way of how many.
    made: Vec<(usize, usize)>,
}

/// One of `ways` ways: the likeliest, unless there is doubt.
pub(super) fn choose(choices: Option<&Shared>, ways: usize) -> usize {
    choices.map_or(0, |choices| choices.lock().choose(ways))
}

impl Choices {
    /// Choices that are made by `ways`, as far as those go.
    pub(super) const fn follow(ways: Vec<usize>) -> Self {
        Self { follows: ways, made: Vec::new() }
    }

    /// One of `ways` ways, from 0 on.
    pub(super) fn choose(&mut self, ways: usize) -> usize {
        if ways < 2 {
            return 0;
        }
        let taken = self.follows.get(self.made.len()).copied().unwrap_or(0);
        self.made.push((taken, ways));
        taken
    }

    /// Ways that lead elsewhere than those that were made: the same up to one choice, and another there.
    pub(super) fn others(&self) -> Vec<Vec<usize>> {
        let made = self.made.iter().enumerate().skip(self.follows.len());
        let others = made.flat_map(|(at, (_, ways))| (1..*ways).map(move |way| (at, way)));
        let up_to = |at: usize| self.made.iter().take(at).map(|(taken, _)| *taken);
        others.map(|(at, way)| up_to(at).chain([way]).collect()).collect()
    }
}
