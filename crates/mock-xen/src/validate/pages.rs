//! L1 entries: the references a mapping stands for, and its update.

use std::sync::atomic::Ordering;

use hypercall::{ENTRIES_PER_TABLE, Errno, Level, Pte, PteFlags};

use super::flags::{AccessedDirty, adjusted, refused_without_io, same_references};
use super::promote::guest_entries;
use crate::domain::FrameOwner;
use crate::frames::{CACHE_ATTRIBUTE, Claim, Frame, FrameType, Layout, Place};
use crate::machine::{Machine, Tables};
use crate::planted::Fault;

/// What an L1 entry is compared with before it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FastPath {
    /// What the entry held: a harmless change is not checked.
    Taken,
    /// Nothing.
    None,
}

/// An L1 entry before and after an update.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Replaced {
    pub(crate) old: Pte,
    pub(crate) new: Pte,
}

impl Machine {
    /// Takes the references of a present L1 entry that maps a frame of `owner`, and answers with
    /// the entry as Xen lets it stand, flags of I/O mappings changed.
    ///
    /// # Errors
    /// `-EINVAL` for a flag the domain may not set. `-EBUSY` where the frame is not `owner`'s or in
    /// use as something that must not be written; `-EACCES` for another cache attribute on a frame
    /// from Xen's heap; what [`Layout::io_entry`] says of I/O frames.
    fn take_page(&self, entry: Pte, owner: FrameOwner) -> Result<Pte, Errno> {
        let privileged = self.domain.is_privileged();
        if !privileged && refused_without_io(entry) {
            return Err(Errno::INVAL);
        }
        match (self.frames.place(entry.frame()), owner) {
            (Place::Absent | Place::Io, _) => self.take_io(entry, owner, privileged),
            (Place::Xen(frame), FrameOwner::Xen) | (Place::Guest(frame), FrameOwner::Domain) => {
                self.take_frame(frame, entry)?;
                Ok(entry)
            }
            _ => Err(self.planted.refusal(Fault::ForeignFrameInvalid, Errno::INVAL, Errno::BUSY)),
        }
    }

    fn take_io(&self, entry: Pte, owner: FrameOwner, permitted: bool) -> Result<Pte, Errno> {
        let taken = Layout::io_entry(entry, owner, permitted).map_err(|errno| match errno {
            Errno::PERM => self.planted.refusal(Fault::LocalApicInvalid, Errno::INVAL, errno),
            _ => self.planted.refusal(Fault::HighestFramePermission, Errno::PERM, errno),
        })?;
        let (mut flags, asked) = (taken.flags(), entry.flags());
        if self.planted.has(Fault::IoCacheable) {
            flags = flags.without(CACHE_ATTRIBUTE) | (asked & CACHE_ATTRIBUTE);
        } else if self.planted.has(Fault::IoApicWritable) {
            flags = flags | (asked & PteFlags::RW);
        }
        Ok(taken.with_flags(flags))
    }

    fn take_frame(&self, frame: &Frame, entry: Pte) -> Result<(), Errno> {
        let mut state = frame.state.lock();
        let mut stale = None;
        if self.counts_as_writable(entry) {
            let (claim, unused) = state.claim(FrameType::Writable);
            if claim != Claim::Taken {
                return Err(self.planted.refusal(Fault::TableWritableInvalid, Errno::INVAL, Errno::BUSY));
            }
            stale = unused;
            if self.planted.has(Fault::WritableUncounted) {
                state.give(self.tlbs.now());
            }
        }
        state.general_count += 1;
        drop(state);
        if let Some(unused) = stale {
            self.tlbs.flush_stale(unused);
        }
        if frame.is_special() && entry.flags() & CACHE_ATTRIBUTE != PteFlags::NONE {
            self.put_page(entry);
            return Err(self.planted.refusal(Fault::CacheAttributePermission, Errno::PERM, Errno::ACCES));
        }
        Ok(())
    }

    /// Gives back the references of an entry that was present in an L1 table.
    fn put_page(&self, entry: Pte) {
        let Some(frame) = self.frames.get(entry.frame()) else { return };
        let mut state = frame.state.lock();
        let kept = self.planted.has(Fault::WritableKept) || self.planted.has(Fault::WritableUncounted);
        if self.counts_as_writable(entry) && !kept {
            state.give(self.tlbs.now());
        }
        state.general_count -= 1;
    }

    fn counts_as_writable(&self, entry: Pte) -> bool {
        entry.flags().contains(PteFlags::RW) || self.planted.has(Fault::ReadOnlyCountedWritable)
    }

    /// Writes entry `index` of the L1 table in `table`, which the caller has found to be one under
    /// `_tables`, and answers with what it held and holds.
    ///
    /// # Errors
    /// `-EINVAL` for a flag the domain may not set; where more than harmless flags change, what the
    /// new mapping is refused with. The entry is unchanged then.
    pub(crate) fn update_l1(
        &self,
        _tables: &Tables,
        place: (&Frame, usize),
        asked: Pte,
        merge: AccessedDirty,
        owner: FrameOwner,
    ) -> Result<Replaced, Errno> {
        if asked.is_present() && !self.domain.is_privileged() && refused_without_io(asked) {
            return Err(Errno::INVAL);
        }
        self.replace_l1(place, asked, merge, owner, FastPath::Taken)
    }

    /// What becomes of a store of the guest to entry `index` of the L1 table in `table`, which it has
    /// mapped read-only: every present entry is checked, whatever the entry held.
    ///
    /// # Errors
    /// What the new mapping is refused with; the entry is unchanged then.
    pub(crate) fn emulate_store(&self, _tables: &Tables, place: (&Frame, usize), asked: Pte) -> Result<Pte, Errno> {
        let path = if self.planted.has(Fault::EmulationFastPath) { FastPath::Taken } else { FastPath::None };
        let replaced = self.replace_l1(place, asked, AccessedDirty::Replace, FrameOwner::Domain, path)?;
        Ok(replaced.old)
    }

    fn replace_l1(
        &self,
        (table, index): (&Frame, usize),
        asked: Pte,
        merge: AccessedDirty,
        owner: FrameOwner,
        path: FastPath,
    ) -> Result<Replaced, Errno> {
        let word = table.word(index);
        loop {
            let old = Pte::from_bits(word.load(Ordering::SeqCst));
            let wanted = if asked.is_present() { adjusted(asked, Level::L1, self.planted) } else { asked };
            let unchecked = path == FastPath::Taken && asked.is_present() && self.is_harmless(old, wanted);
            let new = if asked.is_present() && !unchecked {
                adjusted(self.take_page(asked, owner)?, Level::L1, self.planted)
            } else {
                wanted
            };
            let stored = merge.merge_entry(old, new, self.planted);
            let installed =
                word.compare_exchange(old.bits(), stored.bits(), Ordering::SeqCst, Ordering::SeqCst).is_ok();
            let given_up = if installed { old } else { new };
            if given_up.is_present() && !unchecked {
                self.put_page(given_up);
            }
            if installed {
                return Ok(Replaced { old, new: stored });
            }
        }
    }

    fn is_harmless(&self, old: Pte, new: Pte) -> bool {
        same_references(old, new, self.planted.has(Fault::WriteChangeUnchecked))
            && !self.planted.has(Fault::FastPathMissing)
    }

    /// Validates the entries of an L1 table, in place.
    ///
    /// # Errors
    /// The refusal of the first entry that is refused. The entries before it keep their changed
    /// flags, it and those behind it are as they were.
    pub(super) fn validate_l1(&self, table: &Frame) -> Result<(), Errno> {
        for (index, entry) in guest_entries(table, Level::L1, 0..ENTRIES_PER_TABLE) {
            match self.take_page(entry, FrameOwner::Domain) {
                Ok(entry) => table.store(index, adjusted(entry, Level::L1, self.planted).bits()),
                Err(_) if self.planted.has(Fault::ContentsUnchecked) => table.store(index, 0),
                Err(errno) => {
                    self.spoil_refused(table, index);
                    guest_entries(table, Level::L1, 0..index).for_each(|(_, entry)| self.put_page(entry));
                    return Err(errno);
                }
            }
        }
        Ok(())
    }

    /// What planted faults leave in a table whose entry `refused` was refused.
    fn spoil_refused(&self, table: &Frame, refused: usize) {
        let entry = Pte::from_bits(table.load(refused));
        if self.planted.has(Fault::RefusedEntryAdjusted) {
            table.store(refused, adjusted(entry, Level::L1, self.planted).bits());
        } else if self.planted.has(Fault::EarlierEntriesRestored) {
            for (index, entry) in guest_entries(table, Level::L1, 0..refused) {
                let restored = entry.flags().without(PteFlags::USER).without(PteFlags::GUEST_KERNEL);
                table.store(index, entry.with_flags(restored).bits());
            }
        }
    }

    /// Gives back everything the entries of an L1 table refer to.
    pub(super) fn release_l1(&self, table: &Frame) {
        guest_entries(table, Level::L1, 0..ENTRIES_PER_TABLE).for_each(|(_, entry)| self.put_page(entry));
    }
}
