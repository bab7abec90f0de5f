//! What a vCPU keeps of the hypercall it is in, from one pass to the next.

use std::fmt;

use hypercall::{Mfn, RawCall};

use crate::schedule::{PreemptPoint, Schedule};

/// A table that is not needed any more and is put away by the vCPU's next passes: by the rest of
/// this hypercall, or by the next that does so (`old_guest_table`).
///
/// It holds a general reference on the frame, and a type reference or, if the frame is partial,
/// that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OldTable {
    pub(crate) frame: Mfn,
    /// Whether the type reference is the one of a partial frame.
    pub(crate) partial: bool,
}

impl OldTable {
    /// A table that an operation gave up.
    pub(crate) const fn given_up(frame: Mfn) -> Self {
        Self { frame, partial: false }
    }

    /// A table that failed to be validated, or whose undoing was interrupted.
    pub(crate) const fn partial(frame: Mfn) -> Self {
        Self { frame, partial: true }
    }
}

/// One vCPU's.
#[derive(Default)]
pub(crate) struct Running {
    pub(crate) old_table: Option<OldTable>,
    schedule: Option<Box<dyn Schedule>>,
    /// Whether Xen itself has something to do before it goes on with the guest.
    softirq: bool,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("old_table", &self.old_table).finish_non_exhaustive()
    }
}

impl Running {
    /// Whether the pass is to end at `point`.
    pub(crate) fn preempted(&mut self, point: PreemptPoint) -> bool {
        self.softirq || self.schedule.as_mut().is_some_and(|schedule| schedule.pending(point))
    }

    /// Whether `frame` is the table to be put away.
    pub(crate) fn puts_away(&self, frame: Mfn) -> bool {
        self.old_table.is_some_and(|old| old.frame == frame)
    }

    /// From now on `schedule` decides; never, if there is none.
    pub(crate) fn follow(&mut self, schedule: Option<Box<dyn Schedule>>) {
        self.schedule = schedule;
    }

    /// Xen wants to schedule before it goes on with the guest.
    pub(crate) const fn raise_softirq(&mut self) {
        self.softirq = true;
    }

    /// The vCPU leaves Xen; `again` is the call with which it will come back, if it will.
    pub(crate) fn leave(&mut self, again: Option<&RawCall>) {
        self.softirq = false;
        if let (Some(schedule), Some(call)) = (&mut self.schedule, again) {
            schedule.continued(call);
        }
    }
}
