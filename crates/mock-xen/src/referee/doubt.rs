//! The benefit of the doubt.
//!
//! Behind a refused operation the referee sees that others were not looked at, and cannot always see which: several requests
//! may be equal, merged or asked for again. It goes by the likeliest way. Where a rule is broken by that, it goes back to
//! what it knew before the first refusal and looks for other ways on which none is; one that it finds is what has happened.
//!
//! Protocol. A doubt begins before the first operation that is not applied, and is over when something is asked while nothing
//! is pending, every refusal has been told and every region left. All that happens in between goes through [`Bench::happens`]. Of ways it tries [`TRIED`] at most: what
//! could be explained only by further ones is reported.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fmt;
use std::iter;
use std::sync::Arc;

use super::Moment;
use super::choices::{Made, Way, Ways};
use super::state::State;

/// Ways that are tried for one violation.
const TRIED: usize = 1000;
/// Events that are gone through for them.
const GONE: usize = 100_000;
/// Things that may happen during one doubt; more are judged by the likeliest way.
const LONGEST: usize = 4096;

type Event = Box<dyn Fn(&mut State) + Send>;

/// What is known, and what it was before it came to be in doubt.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) state: State,
    doubt: Option<Doubt>,
}

/// What it was, and what has happened since.
struct Doubt {
    before: Box<State>,
    events: Vec<Event>,
    ways: Ways,
    end: Option<End>,
}

impl fmt::Debug for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doubt").field("events", &self.events.len()).field("ways", &self.ways).finish_non_exhaustive()
    }
}

/// That no way was found on which no rule is broken.
#[derive(Clone, Copy)]
enum End {
    /// There is none: the rules are broken.
    Certain,
    /// There are more than can be tried: it cannot be told.
    Undecided,
}

/// What came of a way.
struct Tried {
    state: State,
    /// How many events it explains.
    explained: usize,
    /// When it broke rules first, if it did, and how many.
    broke: Option<(Moment, u64)>,
}

impl Bench {
    pub(super) const fn new(state: State) -> Self {
        Self { state, doubt: None }
    }

    /// Something is about to happen that may be taken for several things.
    pub(super) fn doubt(&mut self) {
        if self.doubt.is_some() {
            return;
        }
        let ways = Ways::default();
        self.state.follow(Some(&ways));
        let before = Box::new(self.state.clone());
        self.doubt = Some(Doubt { before, events: Vec::new(), ways, end: None });
    }

    /// Something happens, and is judged.
    pub(super) fn happens<R>(&mut self, event: impl Fn(&mut State) -> R + Send + 'static) -> R {
        let found = self.state.doubtful;
        let answer = event(&mut self.state);
        let Some(doubt) = &mut self.doubt else { return answer };
        doubt.events.push(Box::new(move |state| drop(event(state))));
        if self.state.doubtful > found {
            self.reconsider();
        }
        if self.doubt.as_ref().is_some_and(|doubt| doubt.events.len() > LONGEST) {
            self.end();
        }
        answer
    }

    /// Looks for a way on which no rule is broken, and takes it.
    fn reconsider(&mut self) {
        let Some(doubt) = &mut self.doubt else { return };
        if doubt.end.is_none() {
            match doubt.search() {
                Ok((ways, state)) => return (doubt.ways, self.state) = (ways, state),
                Err(end) => doubt.end = Some(end),
            }
            self.state.undecided += u64::from(matches!(doubt.end, Some(End::Undecided)));
        }
        if let Some(End::Undecided) = doubt.end {
            self.state.take_back(&doubt.before);
        }
    }

    /// Something new is about to be asked for: where nothing before it can be told any more, there is no doubt about that.
    pub(super) fn settle(&mut self) {
        if self.doubt.is_some() && self.state.is_settled() {
            self.end();
        }
    }

    fn end(&mut self) {
        self.doubt = None;
        self.state.follow(None);
    }
}

impl Doubt {
    /// Of ways that have been tried, the one that explains most is looked at first for others.
    fn search(&self) -> Result<(Ways, State), End> {
        let (mut known, mut open) = (BTreeSet::new(), BinaryHeap::new());
        let mut next: Vec<Way> = iter::once(Way::clone(&self.ways)).chain(Way::plain()).collect();
        loop {
            for way in next {
                if known.len() == TRIED || known.len() * self.events.len() > GONE {
                    return Err(End::Undecided);
                }
                if !known.insert(way.clone()) {
                    continue;
                }
                let ways = Arc::new(way);
                let Tried { state, explained, broke } = self.go(&ways);
                let Some((at, found)) = broke else { return Ok((ways, state)) };
                let rank = (explained, Reverse(found), Reverse(ways.others.len()));
                open.push((rank, Reverse(known.len()), others(&state, &ways, at)));
            }
            (_, _, next) = open.pop().ok_or(End::Certain)?;
        }
    }

    /// Goes a way until it breaks a rule.
    fn go(&self, ways: &Ways) -> Tried {
        let mut state = (*self.before).clone();
        let found = state.doubtful;
        state.follow(Some(ways));
        for (explained, event) in self.events.iter().enumerate() {
            event(&mut state);
            if state.doubtful > found {
                let broke = Some((state.now(), state.doubtful - found));
                return Tried { state, explained, broke };
            }
        }
        Tried { state, explained: self.events.len(), broke: None }
    }
}

/// Ways that differ from `ways` in one more choice before `broke`; the latest choices first.
fn others(state: &State, ways: &Ways, broke: Moment) -> Vec<Way> {
    let mut made = state.choices_made();
    made.retain(|made| made.place.0 <= broke && !ways.others.contains_key(&made.place));
    made.sort_unstable_by_key(|made| Reverse(made.place));
    let other = |made: &Made, way| {
        let mut next = Way::clone(ways);
        next.others.insert(made.place, way);
        next
    };
    let others = |made: Made| (0..made.ways).filter(move |way| *way != made.taken).map(move |way| other(&made, way));
    made.into_iter().flat_map(others).collect()
}
