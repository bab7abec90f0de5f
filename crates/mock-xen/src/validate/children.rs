//! Entries of levels 2 to 4: the references on the table each leads to.
//!
//! An entry leads to a table of the level below. It may also be *linear*: lead to a table of its own
//! level, so that the guest reads its tables as memory. Such an entry must be read-only. One for
//! the table itself takes no reference. One for another takes both on it, provided that it is in
//! use at that level already; and since chains of them could not be let go in bounded depth, a
//! table either maps others or is mapped by others, never both (XSA-240).

use hypercall::{Errno, Level, Pte, PteFlags};

use super::flags::refused_in_upper;
use super::{Hold, Preempted, Stop};
use crate::frames::{Frame, FrameState, FrameType};
use crate::machine::{Machine, TableWork};
use crate::planted::Fault;

impl Machine {
    /// Takes the references of a present entry in the table `parent` of `level`.
    ///
    /// # Errors
    /// `-EINVAL` for flags no entry of this level may have, for a frame that is not the guest's or
    /// in use as something else; whatever validating the child says; interrupted.
    pub(super) fn take_child(
        &self,
        work: &mut TableWork<'_>,
        parent: &Frame,
        level: Level,
        entry: Pte,
        hold: Hold,
    ) -> Result<(), Stop> {
        let Some(below) = level.below().filter(|_| !refused_in_upper(entry, self.planted)) else {
            return Err(Errno::INVAL.into());
        };
        match self.acquire(work, entry.frame(), FrameType::Table(below), hold) {
            Err(Stop::Refused(Errno::INVAL)) if self.take_linear(parent, level, entry) => Ok(()),
            other => other.map(drop),
        }
    }

    /// Whether the entry may stand as a linear one; takes its references if so.
    fn take_linear(&self, parent: &Frame, level: Level, entry: Pte) -> bool {
        if entry.flags().contains(PteFlags::RW) && !self.planted.has(Fault::LinearWritableAccepted) {
            return false;
        }
        if entry.frame() == parent.mfn {
            parent.state.lock().linear += i16::from(self.planted.has(Fault::LinearSelfCounted));
            return true;
        }
        let Some(target) = self.frames.guest(entry.frame()) else { return false };
        let chain = self.planted.has(Fault::LinearChainAccepted);
        if !parent.state.lock().maps_another(chain) {
            return false;
        }
        let taken = target.state.lock().is_mapped_by_another(level, chain);
        if !taken {
            parent.state.lock().linear -= 1;
        } else if self.planted.has(Fault::LinearUncounted) {
            target.state.lock().type_count -= 1;
        }
        taken
    }

    /// Gives back the references of an entry of the table `parent`; `partial` says that the table it
    /// leads to is partial and the entry has no more than a general reference on it.
    ///
    /// # Errors
    /// Interrupted, the child is partial.
    pub(super) fn put_child(
        &self,
        work: &mut TableWork<'_>,
        parent: &Frame,
        entry: Pte,
        partial: bool,
    ) -> Result<(), Preempted> {
        if !entry.is_present() || entry.frame() == parent.mfn {
            return Ok(());
        }
        let Some(child) = self.frames.guest(entry.frame()) else { return Ok(()) };
        self.unclaim(work, child, Some(parent), partial)?;
        child.unhold();
        Ok(())
    }
}

impl FrameState {
    /// Counts an entry that maps another table of this one's level, unless others map this one.
    const fn maps_another(&mut self, chain: bool) -> bool {
        let counted = self.linear >= 0 && self.linear < i16::MAX || chain;
        self.linear = self.linear.wrapping_add(counted as i16);
        counted
    }

    /// Counts and references the entry of another table of `level` that maps this one, unless this
    /// one maps others or is not in use at that level.
    fn is_mapped_by_another(&mut self, level: Level, chain: bool) -> bool {
        let counted = (self.linear <= 0 && self.linear > i16::MIN || chain) && self.table() == Some(level);
        if counted {
            self.linear = self.linear.wrapping_sub(1);
            self.type_count += 1;
            self.general_count += 1;
        }
        counted
    }
}
