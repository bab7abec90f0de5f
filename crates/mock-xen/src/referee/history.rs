//! What arrived lately on a vCPU, to tell a repetition from an invention.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use hypercall::Operation;

use super::{Asker, Moment, Rule};

/// An operation that was asked later than another and arrived before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Overtaker {
    pub(super) operation: Operation,
    pub(super) asked: Moment,
    /// The rule that this breaks.
    pub(super) rule: Rule,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fate {
    Applied,
    Refused,
    /// Its effect arrived with a later one.
    Merged {
        asker: Asker,
        asked: Moment,
        by: Overtaker,
        /// Whether it had stood behind a refused one before, so that it may be reported all the same.
        is_excused: bool,
    },
}

/// The last fates, at most `limit` of them.
#[derive(Clone, Debug)]
pub(super) struct History {
    limit: usize,
    fates: HashMap<Operation, (Moment, Fate)>,
    order: VecDeque<(Moment, Operation)>,
}

impl History {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, fates: HashMap::new(), order: VecDeque::new() }
    }

    pub(super) fn note(&mut self, operation: Operation, at: Moment, fate: Fate) {
        self.fates.insert(operation, (at, fate));
        self.order.push_back((at, operation));
        while self.order.len() > self.limit {
            self.forget_oldest();
        }
    }

    /// The latest fate of `operation`, and when it met it.
    pub(super) fn fate(&self, operation: &Operation) -> Option<(Moment, Fate)> {
        self.fates.get(operation).copied()
    }

    /// What may be reported though it was merged, as a sum.
    pub(super) fn excused(&self) -> u64 {
        let is_excused = |fate: &Fate| matches!(fate, Fate::Merged { is_excused: true, .. });
        let excused = self.fates.iter().filter(|(_, (_, fate))| is_excused(fate));
        excused.fold(0, |sum, (operation, _)| sum ^ BuildHasherDefault::<DefaultHasher>::default().hash_one(operation))
    }

    fn forget_oldest(&mut self) {
        let Some((at, operation)) = self.order.pop_front() else { return };
        if self.fates.get(&operation).is_some_and(|(latest, _)| *latest == at) {
            self.fates.remove(&operation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_fates_are_forgotten() {
        let flag = |set| Operation::FpuTaskswitch { set };
        let mut history = History::new(2);
        let first = Moment::default().next();
        let second = first.next();
        history.note(flag(true), first, Fate::Applied);
        history.note(flag(false), second, Fate::Applied);
        history.note(flag(true), second.next(), Fate::Refused);
        assert!(matches!(history.fate(&flag(true)), Some((_, Fate::Refused))));
        history.note(flag(true), second.next().next(), Fate::Applied);
        assert!(history.fate(&flag(false)).is_none() && history.fate(&flag(true)).is_some());
        assert_eq!(history.order.len(), 2);
    }
}
