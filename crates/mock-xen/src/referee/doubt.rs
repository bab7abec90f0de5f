//! The benefit of the doubt.
//!
//! Behind a refused operation the referee sees that others were not looked at, and cannot always see which: several requests
//! may be equal, merged or asked for again. It goes by the likeliest way. Where a rule is broken by that, it goes back to
//! what it knew before the first refusal, and from there all ways on which no rule is broken; as long as there is one, the first
//! of them is what has happened.
//!
//! Protocol. A doubt begins before the first operation that is not applied, and is over when something is asked while nothing
//! is pending, every refusal has been told and every region left. All that happens in between goes through
//! [`Bench::happens`]. Where no way is left, the rules are broken, as the likeliest way has it; unless there were once more
//! than [`MOST`], and some were given up: then it cannot be told.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use super::choices::Choices;
use super::state::State;

/// Ways that are followed at once.
const MOST: usize = 32;
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
    /// The ways on which no rule is broken, the likeliest first, since they were first looked for.
    ways: Option<Vec<State>>,
    /// Whether some had to be given up.
    is_cut: bool,
}

impl fmt::Debug for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doubt").field("events", &self.events.len()).finish_non_exhaustive()
    }
}

impl Bench {
    pub(super) const fn new(state: State) -> Self {
        Self { state, doubt: None }
    }

    /// Something is about to happen that may be taken for several things.
    pub(super) fn doubt(&mut self) {
        let doubt = || Doubt { before: Box::new(self.state.clone()), events: Vec::new(), ways: None, is_cut: false };
        self.doubt.get_or_insert_with(doubt);
    }

    /// Something happens, and is judged.
    pub(super) fn happens<R>(&mut self, event: impl Fn(&mut State) -> R + Send + 'static) -> R {
        let found = self.state.doubtful;
        let answer = event(&mut self.state);
        let Some(doubt) = &mut self.doubt else { return answer };
        doubt.events.push(Box::new(move |state| drop(event(state))));
        if doubt.ways.is_some() || self.state.doubtful > found {
            doubt.judge(&mut self.state);
        }
        if doubt.events.len() > LONGEST {
            self.doubt = None;
        }
        answer
    }

    /// Something new is about to be asked for: where nothing before it can be told any more, there is no doubt about that.
    pub(super) fn settle(&mut self) {
        let ways = self.doubt.as_ref().and_then(|doubt| doubt.ways.as_ref()).into_iter().flatten();
        if self.doubt.is_some() && self.state.is_settled() && ways.into_iter().all(State::is_settled) {
            self.doubt = None;
        }
    }
}

impl Doubt {
    /// Goes on on all ways; `state` is what the likeliest has led to.
    fn judge(&mut self, state: &mut State) {
        let was_in_vain = self.ways.as_ref().is_some_and(Vec::is_empty);
        let (events, mut ways) = match self.ways.take() {
            Some(ways) => (self.events.len() - 1, ways),
            None => (0, vec![(*self.before).clone()]),
        };
        for event in &self.events[events..] {
            ways = Self::go_on(ways, event, &mut self.is_cut);
        }
        if let Some(likeliest) = ways.first() {
            *state = likeliest.clone();
            state.follow(None);
        } else if self.is_cut {
            state.take_back(&self.before);
            state.undecided += u64::from(!was_in_vain);
        }
        self.ways = Some(ways);
    }

    /// All ways to take `event` on which it breaks no rule.
    fn go_on(ways: Vec<State>, event: &Event, is_cut: &mut bool) -> Vec<State> {
        let (mut next, mut known) = (Vec::new(), HashSet::new());
        for state in ways {
            let mut open = vec![Vec::new()];
            while let Some(way) = open.pop() {
                let choices = Arc::new(Mutex::new(Choices::follow(way)));
                let mut led = state.clone();
                led.follow(Some(choices.clone()));
                event(&mut led);
                open.extend(choices.lock().others());
                if led.doubtful > state.doubtful || !known.insert(led.key()) {
                    continue;
                }
                if next.len() == MOST {
                    *is_cut = true;
                    return next;
                }
                next.push(led);
            }
        }
        next
    }
}
