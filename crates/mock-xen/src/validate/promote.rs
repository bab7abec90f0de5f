//! Validation of tables of levels 2 to 4, entry by entry.

use std::ops::Range;

use hypercall::{ENTRIES_PER_TABLE, Level, Pte};

use super::flags::adjusted;
use super::{Hold, Stop, xen_slots};
use crate::domain::Assist;
use crate::frames::{Frame, Progress};
use crate::machine::{Machine, TableWork};
use crate::planted::Fault;
use crate::running::OldTable;
use crate::schedule::PreemptPoint;

impl Machine {
    /// Validates the entries of a table, in place, from where it stopped the last time, and with them
    /// every table below that is not in use yet.
    ///
    /// # Errors
    /// The refusal of the first entry that is refused. Where entries before it have their references,
    /// the table becomes the running hypercall's to put away. Interrupted before an entry of an L2
    /// or L3, or in a table below.
    pub(super) fn promote(&self, work: &mut TableWork<'_>, table: &Frame, level: Level) -> Result<(), Stop> {
        let Progress { entries, mut next_held } = table.state.lock().progress;
        let first = entries + usize::from(entries > 0 && self.planted.has(Fault::ResumeSkipsEntry));
        for index in first..ENTRIES_PER_TABLE {
            if index > first && self.preempts_validation(work, level) {
                table.state.lock().progress = Progress { entries: index, next_held: false };
                return Err(Stop::Preempted);
            }
            let entry = Pte::from_bits(table.load(index));
            if entry.is_present() && !xen_slots::are_at(level, index) {
                let hold = Hold::Entry { held: next_held };
                if let Err(stop) = self.take_child(work, table, level, entry, hold) {
                    self.stop_at(work, (table, index), entry, next_held, stop);
                    return Err(stop);
                }
                table.store(index, adjusted(entry, level, self.planted).bits());
            }
            next_held = false;
        }
        if level == Level::L4 {
            self.install_xen_slots(table);
        }
        Ok(())
    }

    fn preempts_validation(&self, work: &mut TableWork<'_>, level: Level) -> bool {
        level != Level::L4
            && work.running.preempted(PreemptPoint::Validate(level))
            && !self.planted.has(Fault::ValidationNotPreempted)
    }

    /// Writes down how far validation came when entry `index` stopped it; `held` says that the entry
    /// had a reference on its table from an earlier pass.
    fn stop_at(&self, work: &mut TableWork<'_>, (table, index): (&Frame, usize), entry: Pte, held: bool, stop: Stop) {
        let child = self.frames.guest(entry.frame());
        let still_held = child.filter(|child| self.stays_held(work.running, child, held));
        match stop {
            Stop::Preempted => table.state.lock().progress = Progress { entries: index, next_held: true },
            Stop::Refused(_) if index > 0 => {
                table.state.lock().progress = Progress { entries: index, next_held: still_held.is_some() };
                self.leave_refused(work, table, entry);
            }
            Stop::Refused(_) => {
                let nobodys = still_held.filter(|child| !work.running.puts_away(child.mfn));
                nobodys.iter().for_each(|child| child.unhold());
            }
        }
    }

    /// Makes a refused table the one to be put away.
    ///
    /// The child that was refused may have been that so far; then it is put away with its parent.
    /// A grandchild may have been, of a child refused because of its first entry: that one Xen 4.17
    /// forgets, and it stays partial until somebody uses it as such a table again.
    fn leave_refused(&self, work: &mut TableWork<'_>, table: &Frame, entry: Pte) {
        let before = work.running.old_table.replace(OldTable::partial(table.mfn));
        let forgotten = before.filter(|old| old.frame != entry.frame());
        if let Some(frame) = forgotten.and_then(|old| self.frames.guest(old.frame)) {
            frame.state.lock().lost += 1;
        }
    }

    fn install_xen_slots(&self, table: &Frame) {
        if !self.planted.has(Fault::XenEntriesKept) {
            let strict = self.domain.has(Assist::StrictMachineToPhysical);
            xen_slots::install(table, &self.frames.layout, strict);
        }
    }
}

/// The entries of `range` that stand for references: present, and not Xen's own of an L4.
pub(crate) fn guest_entries(table: &Frame, level: Level, range: Range<usize>) -> impl Iterator<Item = (usize, Pte)> {
    let entries = range.map(|index| (index, Pte::from_bits(table.load(index))));
    entries.filter(move |(index, entry)| entry.is_present() && !xen_slots::are_at(level, *index))
}
