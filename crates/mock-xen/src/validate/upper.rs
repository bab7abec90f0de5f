//! Updates of entries of levels 2 to 4.

use hypercall::{Errno, Level, Pte};

use super::flags::{AccessedDirty, adjusted, refused_in_upper, same_references};
use super::{Hold, Stop, xen_slots};
use crate::frames::Frame;
use crate::machine::{Machine, TableWork};
use crate::planted::Fault;
use crate::running::OldTable;

impl Machine {
    /// Writes entry `index` of the table in `table`, in use at `level` (2 to 4).
    ///
    /// A table that is given up is left to be put away by the passes that follow, and so every
    /// removal costs the guest one more of them.
    ///
    /// # Errors
    /// `-EINVAL` for an L4 entry that is Xen's own; what the entry's references are refused with;
    /// interrupted. The entry is unchanged then.
    pub(super) fn update_upper(
        &self,
        work: &mut TableWork<'_>,
        (table, index): (&Frame, usize),
        level: Level,
        asked: Pte,
        merge: AccessedDirty,
    ) -> Result<(), Stop> {
        if xen_slots::are_at(level, index) {
            return Err(self.planted.refusal(Fault::XenEntryPermission, Errno::PERM, Errno::INVAL).into());
        }
        let old = Pte::from_bits(table.load(index));
        let mut new = asked;
        if asked.is_present() {
            if refused_in_upper(asked, self.planted) {
                return Err(Errno::INVAL.into());
            }
            new = adjusted(asked, level, self.planted);
            if same_references(old, new, self.planted.has(Fault::UpperWriteChangeUnchecked)) {
                table.store(index, merge.merge_entry(old, new, self.planted).bits());
                return Ok(());
            }
            self.take_child(work, table, level, new, Hold::Operation)?;
            self.miscount_child(new);
        }
        table.store(index, merge.merge_entry(old, new, self.planted).bits());
        if old.is_present() && old.frame() != table.mfn {
            self.give_up(work, table, old);
        }
        Ok(())
    }

    /// Leaves the table that an entry of `parent` led to.
    ///
    /// A linear entry stops to count as one here. In Xen it does when the table is put away, which
    /// the vCPU that removed it cannot tell from this; but where another vCPU has let the parent go
    /// meanwhile, Xen 4.17 gets the counts wrong.
    fn give_up(&self, work: &mut TableWork<'_>, parent: &Frame, entry: Pte) {
        let Some(frame) = self.frames.guest(entry.frame()).filter(|_| !self.planted.has(Fault::ChildKept)) else {
            return;
        };
        self.forget_linear(frame, Some(parent));
        if self.planted.has(Fault::RemovalNotContinued) && self.unclaim(work, frame, None, false).is_ok() {
            frame.unhold();
        } else {
            work.running.old_table = Some(OldTable::given_up(frame.mfn));
        }
    }

    /// What a planted fault does to the count of a table that an entry now leads to.
    fn miscount_child(&self, entry: Pte) {
        if self.planted.has(Fault::ChildUncounted)
            && let Some(child) = self.frames.guest(entry.frame())
        {
            let mut state = child.state.lock();
            state.type_count = state.type_count.saturating_sub(1);
        }
    }
}
