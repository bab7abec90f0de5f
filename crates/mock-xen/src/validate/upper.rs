//! Entries of levels 2 to 4: references to tables of the level below, and their update.

use std::sync::atomic::Ordering;

use hypercall::{Errno, Level, Mfn, Pte, PteFlags};

use super::flags::{AccessedDirty, adjusted, refused_in_upper, same_references};
use super::pages::present_entries;
use super::xen_slots;
use crate::frames::{Frame, FrameType, Frames, Tables};
use crate::not_modelled::NotModelled;

impl Frames {
    /// Takes the references of a present entry in the table `parent` of `level`.
    ///
    /// # Errors
    /// `-EINVAL` for flags no entry of this level may have, for a frame that is not the guest's or
    /// in use as something else; whatever validating the child says. A linear entry that Xen would
    /// accept is not modelled.
    fn take_child(&self, tables: &mut Tables, parent: Mfn, level: Level, entry: Pte) -> Result<(), Errno> {
        let Some(below) = level.below().filter(|_| !refused_in_upper(entry)) else { return Err(Errno::INVAL) };
        match self.claim(tables, entry.frame(), FrameType::Table(below)) {
            Err(Errno::INVAL) if self.is_linear(parent, level, entry) => Err(NotModelled::LinearTable.errno()),
            other => other,
        }
    }

    /// Whether Xen would take the entry for a linear one: read-only, and of the table itself or of
    /// another in use at the same level.
    fn is_linear(&self, parent: Mfn, level: Level, entry: Pte) -> bool {
        let same_level = |frame: &Frame| frame.state.lock().table() == Some(level);
        !entry.flags().contains(PteFlags::RW)
            && (entry.frame() == parent || self.guest(entry.frame()).is_some_and(same_level))
    }

    fn put_child(&self, tables: &mut Tables, entry: Pte) {
        if let Some(child) = self.guest(entry.frame()) {
            self.unclaim(tables, child);
        }
    }

    /// Writes entry `index` of the table in `table`, in use at `level` (2 to 4).
    ///
    /// Where this gives up a table, or leaves a half-validated one, it says so in `tables`.
    ///
    /// # Errors
    /// `-EINVAL` for an L4 entry that is Xen's own; what the entry's references are refused with.
    /// The entry is unchanged then.
    pub(super) fn update_upper(
        &self,
        tables: &mut Tables,
        (table, index): (&Frame, usize),
        level: Level,
        asked: Pte,
        merge: AccessedDirty,
    ) -> Result<(), Errno> {
        if level == Level::L4 && xen_slots::RANGE.contains(&index) {
            return Err(Errno::INVAL);
        }
        let old = Pte::from_bits(table.load(index));
        let mut new = asked;
        if asked.is_present() {
            if refused_in_upper(asked) {
                return Err(Errno::INVAL);
            }
            new = adjusted(asked, level);
            if same_references(old, new) {
                table.word(index).store(merge.merge(old, new).bits(), Ordering::SeqCst);
                return Ok(());
            }
            self.take_child(tables, table.mfn, level, new)?;
        }
        table.word(index).store(merge.merge(old, new).bits(), Ordering::SeqCst);
        if old.is_present() {
            self.put_child(tables, old);
            tables.leave_old_table();
        }
        Ok(())
    }

    /// Validates the entries of a table of `level` (2 to 4), in place, and with them every table
    /// below that is not in use yet.
    ///
    /// # Errors
    /// The refusal of the first entry that is refused. What was validated before it is let go, and
    /// where that is more than nothing, Xen leaves it for a continuation.
    pub(super) fn validate_upper(&self, tables: &mut Tables, table: &Frame, level: Level) -> Result<(), Errno> {
        for (index, entry) in guest_entries(table, level) {
            let entry = adjusted(entry, level);
            if let Err(errno) = self.take_child(tables, table.mfn, level, entry) {
                let earlier: Vec<_> = guest_entries(table, level).take_while(|(earlier, _)| *earlier < index).collect();
                earlier.into_iter().for_each(|(_, entry)| self.put_child(tables, entry));
                if index > 0 {
                    tables.leave_old_table();
                }
                return Err(errno);
            }
            table.word(index).store(entry.bits(), Ordering::SeqCst);
        }
        if level == Level::L4 {
            xen_slots::install(table, &self.layout);
        }
        Ok(())
    }

    /// Gives back everything the entries of a table of `level` (2 to 4) refer to.
    pub(super) fn release_upper(&self, tables: &mut Tables, table: &Frame, level: Level) {
        guest_entries(table, level).for_each(|(_, entry)| self.put_child(tables, entry));
    }
}

/// The present entries that are the guest's: all but Xen's own of an L4.
pub(crate) fn guest_entries(table: &Frame, level: Level) -> impl Iterator<Item = (usize, Pte)> {
    present_entries(table).filter(move |(index, _)| level != Level::L4 || !xen_slots::RANGE.contains(index))
}
