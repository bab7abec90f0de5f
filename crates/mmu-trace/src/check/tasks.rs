//! The lazy regions of every task.

use std::collections::HashMap;

/// How many tasks state is kept for. Tasks outside regions make room, once they are half of them: so that making room
/// costs little however many tasks a trace has.
const MAX_TASKS: usize = 1 << 16;

/// A task's number; idle threads share number 0 and are told apart by their vCPU.
type Key = (u32, u32);

const fn key(task: u32, vcpu: u32) -> Key {
    if task == 0 { (0, vcpu) } else { (task, 0) }
}

/// A task whose enters and leaves are known.
#[derive(Default)]
struct Task {
    depth: u32,
    /// Line of the enter that opened the outermost region.
    since: u64,
    operations: u64,
}

/// What an enter did.
pub(super) enum Entered {
    /// Opened a region.
    Region,
    /// There was one already.
    Nested { since: u64 },
}

/// What a leave did.
pub(super) enum Left {
    /// Ended a region, or an inner one.
    Region { empty: bool },
    /// Ended one whose enter the trace does not have.
    Unseen,
    /// There was none.
    Nothing,
}

/// The known tasks.
#[derive(Default)]
pub(super) struct Tasks {
    known: HashMap<Key, Task>,
    /// How many of them are in a region.
    open: usize,
    untracked: u64,
}

impl Tasks {
    pub(super) fn enter(&mut self, task: u32, vcpu: u32, line: u64) -> Entered {
        self.make_room();
        let key = key(task, vcpu);
        if self.known.len() >= MAX_TASKS && !self.known.contains_key(&key) {
            self.untracked += 1;
            return Entered::Region;
        }
        let task = self.known.entry(key).or_default();
        task.depth += 1;
        if task.depth > 1 {
            return Entered::Nested { since: task.since };
        }
        task.since = line;
        task.operations = 0;
        self.open += 1;
        Entered::Region
    }

    pub(super) fn leave(&mut self, task: u32, vcpu: u32) -> Left {
        self.make_room();
        let Some(task) = self.known.get_mut(&key(task, vcpu)) else {
            if self.known.len() < MAX_TASKS {
                self.known.insert(key(task, vcpu), Task::default());
            }
            return Left::Unseen;
        };
        if task.depth == 0 {
            return Left::Nothing;
        }
        task.depth -= 1;
        self.open -= usize::from(task.depth == 0);
        Left::Region { empty: task.depth == 0 && task.operations == 0 }
    }

    /// The task queued something, in a region or not.
    pub(super) fn note_operation(&mut self, task: u32, vcpu: u32) {
        if let Some(task) = self.known.get_mut(&key(task, vcpu)) {
            task.operations += 1;
        }
    }

    /// True if the task is known to be in no region.
    pub(super) fn outside(&self, task: u32, vcpu: u32) -> bool {
        self.known.get(&key(task, vcpu)).is_some_and(|task| task.depth == 0)
    }

    /// The task can be in no region any more: ends one that is open, and says where it began.
    pub(super) fn abandon(&mut self, task: u32, vcpu: u32) -> Option<u64> {
        let task = self.known.get_mut(&key(task, vcpu)).filter(|task| task.depth > 0)?;
        task.depth = 0;
        self.open -= 1;
        Some(task.since)
    }

    /// The task is no more; says where a region began that was still open.
    pub(super) fn exit(&mut self, task: u32, vcpu: u32) -> Option<u64> {
        let since = self.abandon(task, vcpu);
        self.known.remove(&key(task, vcpu));
        since
    }

    /// Nothing is known any more about any task.
    pub(super) fn forget(&mut self) {
        self.known.clear();
        self.open = 0;
    }

    pub(super) fn open(&self) -> u64 {
        self.open as u64
    }

    pub(super) fn untracked(&self) -> u64 {
        self.untracked
    }

    fn make_room(&mut self) {
        if self.known.len() >= MAX_TASKS && self.open <= MAX_TASKS / 2 {
            self.known.retain(|_, task| task.depth > 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entered, Left, MAX_TASKS, Tasks};

    #[test]
    fn state_is_bounded_and_what_it_leaves_out_is_counted() {
        let mut tasks = Tasks::default();
        for task in 1..=MAX_TASKS as u32 + 5 {
            assert!(matches!(tasks.enter(task, 0, 1), Entered::Region));
        }
        assert_eq!((tasks.open(), tasks.untracked()), (MAX_TASKS as u64, 5));
        assert!(matches!(tasks.leave(MAX_TASKS as u32 + 1, 0), Left::Unseen));
        assert!(matches!(tasks.enter(1, 0, 2), Entered::Nested { since: 1 }));
    }

    #[test]
    fn tasks_outside_regions_make_room() {
        let mut tasks = Tasks::default();
        for task in 1..=3 * MAX_TASKS as u32 {
            assert!(matches!(tasks.enter(task, 0, 1), Entered::Region));
            assert!(matches!(tasks.leave(task, 0), Left::Region { empty: true }));
        }
        assert_eq!((tasks.open(), tasks.untracked()), (0, 0));
        assert!(tasks.known.len() <= MAX_TASKS);
    }
}
