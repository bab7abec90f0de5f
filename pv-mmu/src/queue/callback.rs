//! Completion callbacks: exactly once, after the vCPU is released.

use core::hash::{Hash, Hasher};

use crate::Status;

/// What to run when an operation has been handed over.
///
/// It runs after the vCPU is released, in whatever context hands the batch over: the task's own,
/// an interrupt handler's or the switch code's. It may use the library as that context may. What it
/// queues, and callbacks it registers, belong to a later batch.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// use hypercall::TaskContext;
/// use pv_mmu::{Callback, Mmu, Operations, Status, TaskState};
///
/// static DONE: AtomicUsize = AtomicUsize::new(0);
/// fn count(tag: usize, status: Status) {
///     assert_eq!(status, Status::Applied);
///     DONE.fetch_add(tag, Ordering::Relaxed);
/// }
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut region = Mmu::new(&kernel).enter(&mut task, &context);
/// region.set_pte(guest.slot(0), guest.pte(0));
/// region.after_flush(Callback::new(count, 7));
/// assert_eq!(DONE.load(Ordering::Relaxed), 0);
/// region.leave()?;
/// assert_eq!(DONE.load(Ordering::Relaxed), 7);
/// # Ok::<(), pv_mmu::Failures>(())
/// ```
#[derive(Clone, Copy, Debug, Hash)]
pub struct Callback {
    run: fn(usize, Status),
    data: usize,
}

impl Callback {
    /// Runs `run` with `data` and the operation's status.
    #[must_use]
    pub const fn new(run: fn(usize, Status), data: usize) -> Self {
        Self { run, data }
    }

    pub(crate) fn run(self, status: Status) {
        (self.run)(self.data, status);
    }
}

/// Callbacks one vCPU can hold.
pub(crate) const CALLBACKS: usize = 16;

/// Where in the batch the operation stands that a callback waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Position {
    pub(crate) call: u16,
    pub(crate) item: u16,
}

#[derive(Clone, Copy, Debug, Hash)]
enum State {
    /// Its operation is pending; `None` waits for the next flush, whatever it holds.
    Waiting(Option<Position>),
    Due(Status),
}

/// Callbacks in the order they were registered; those due come first.
#[derive(Debug)]
pub(crate) struct Callbacks {
    slots: [Option<(Callback, State)>; CALLBACKS],
    len: usize,
}

impl Callbacks {
    pub(crate) const fn new() -> Self {
        Self { slots: [None; CALLBACKS], len: 0 }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Feeds every callback and how far it is.
    pub(crate) fn digest(&self, hasher: &mut impl Hasher) {
        self.slots.iter().flatten().for_each(|slot| slot.hash(hasher));
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.len == CALLBACKS
    }

    /// Registers a callback; `false` when there is no room.
    pub(crate) fn add(&mut self, callback: Callback, position: Option<Position>) -> bool {
        match self.slots.get_mut(self.len) {
            Some(slot) => *slot = Some((callback, State::Waiting(position))),
            None => return false,
        }
        self.len += 1;
        true
    }

    /// Whether one waits for the operation at `position`.
    pub(crate) fn waits_for(&self, position: Position) -> bool {
        let waits = |slot: &Option<(Callback, State)>| match slot {
            Some((_, State::Waiting(at))) => *at == Some(position),
            _ => false,
        };
        self.slots.iter().any(waits)
    }

    /// Makes every waiting callback due; `status` says what became of an operation, or of the batch.
    pub(crate) fn complete(&mut self, status: impl Fn(Option<Position>) -> Status) {
        for (_, state) in self.slots.iter_mut().flatten() {
            if let State::Waiting(position) = *state {
                *state = State::Due(status(position));
            }
        }
    }

    /// Takes the next callback that is due, so that it cannot run twice.
    pub(crate) fn take_due(&mut self) -> Option<(Callback, Status)> {
        let Some((callback, State::Due(status))) = self.slots[0] else { return None };
        self.slots[0] = None;
        self.slots.rotate_left(1);
        self.len = self.len.saturating_sub(1);
        Some((callback, status))
    }

    pub(crate) const fn any_due(&self) -> bool {
        matches!(self.slots[0], Some((_, State::Due(_))))
    }
}
