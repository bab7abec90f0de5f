//! Letting tables of levels 2 to 4 go, entry by entry, backwards.

use hypercall::{Level, Pte};

use super::{Preempted, xen_slots};
use crate::frames::{Frame, Progress};
use crate::machine::{Machine, TableWork};
use crate::planted::Fault;
use crate::schedule::PreemptPoint;

impl Machine {
    /// Gives back what the entries of a table stand for, from the last that stands for something to
    /// the first.
    ///
    /// # Errors
    /// Interrupted behind an entry of an L2 or L3, or in a table below.
    pub(super) fn demote(&self, work: &mut TableWork<'_>, table: &Frame, level: Level) -> Result<(), Preempted> {
        let Progress { entries, next_held: mut partial } = table.state.lock().progress;
        let mut end = entries + usize::from(partial);
        while end > self.first_released(entries) {
            let index = end - 1;
            let entry = Pte::from_bits(table.load(index));
            if !xen_slots::are_at(level, index) && self.put_child(work, table, entry, partial).is_err() {
                table.state.lock().progress = Progress { entries: index, next_held: true };
                return Err(Preempted);
            }
            (partial, end) = (false, index);
            if index > 0 && self.preempts_release(work, level) {
                table.state.lock().progress = Progress { entries: index, next_held: false };
                return Err(Preempted);
            }
        }
        Ok(())
    }

    /// 0, or what the planted fault makes of it in a table that was refused half-way.
    fn first_released(&self, entries: usize) -> usize {
        usize::from(self.planted.has(Fault::FirstEntryKept) && entries < hypercall::ENTRIES_PER_TABLE)
    }

    fn preempts_release(&self, work: &mut TableWork<'_>, level: Level) -> bool {
        level != Level::L4
            && work.running.preempted(PreemptPoint::Release(level))
            && !self.planted.has(Fault::ReleaseNotPreempted)
    }
}
