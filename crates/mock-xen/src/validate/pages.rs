//! L1 entries: the references a mapping stands for, and its update.

use std::sync::atomic::Ordering;

use hypercall::{Errno, Level, Pte, PteFlags};

use super::flags::{AccessedDirty, adjusted, same_references};
use crate::frames::{CACHE_ATTRIBUTE, Claim, Frame, FrameOwner, FrameType, Frames, Layout, Owner, Place, Tables};
use crate::not_modelled::NotModelled;

impl Frames {
    /// Takes the references of a present L1 entry that maps a frame of `owner`, and answers with
    /// the entry as Xen lets it stand, flags of I/O mappings changed.
    ///
    /// # Errors
    /// `-EBUSY` where the frame is not `owner`'s or in use as something that must not be written;
    /// `-EACCES` for another cache attribute on a frame from Xen's heap; what
    /// [`Layout::io_entry`] says of I/O frames.
    pub(crate) fn take_page(&self, entry: Pte, owner: FrameOwner) -> Result<Pte, Errno> {
        match (self.place(entry.frame()), owner) {
            (Place::Absent | Place::Other(Owner::Io), _) => Layout::io_entry(entry, owner),
            (Place::Other(Owner::Xen), FrameOwner::Xen) => Err(NotModelled::HypervisorFrames.errno()),
            (Place::Guest(frame), FrameOwner::Domain) => {
                frame.take(entry)?;
                Ok(entry)
            }
            _ => Err(Errno::BUSY),
        }
    }

    /// Gives back the references of an entry that was present in an L1 table.
    pub(crate) fn put_page(&self, entry: Pte) {
        if let Some(frame) = self.guest(entry.frame()) {
            frame.put(entry);
        }
    }

    /// Writes entry `index` of the L1 table in `table`, which the caller has found to be one under
    /// `_tables`, and answers with what it held.
    ///
    /// # Errors
    /// As [`Frames::take_page`]; the entry is unchanged then.
    pub(crate) fn update_l1(
        &self,
        _tables: &Tables,
        (table, index): (&Frame, usize),
        asked: Pte,
        merge: AccessedDirty,
        owner: FrameOwner,
    ) -> Result<Pte, Errno> {
        let word = table.word(index);
        loop {
            let old = Pte::from_bits(word.load(Ordering::SeqCst));
            let unchecked = asked.is_present() && same_references(old, adjusted(asked, Level::L1));
            let new = if !asked.is_present() {
                asked
            } else if unchecked {
                adjusted(asked, Level::L1)
            } else {
                adjusted(self.take_page(asked, owner)?, Level::L1)
            };
            let stored = merge.merge(old, new);
            let installed =
                word.compare_exchange(old.bits(), stored.bits(), Ordering::SeqCst, Ordering::SeqCst).is_ok();
            let given_up = if installed { old } else { new };
            if given_up.is_present() && !unchecked {
                self.put_page(given_up);
            }
            if installed {
                return Ok(old);
            }
        }
    }

    /// Validates the entries of an L1 table, in place.
    ///
    /// # Errors
    /// The refusal of the first entry that is refused. The entries before it keep their changed
    /// flags, it and those behind it are as they were.
    pub(super) fn validate_l1(&self, table: &Frame) -> Result<(), Errno> {
        for (index, entry) in present_entries(table) {
            match self.take_page(entry, FrameOwner::Domain) {
                Ok(entry) => table.word(index).store(adjusted(entry, Level::L1).bits(), Ordering::SeqCst),
                Err(errno) => {
                    present_entries(table).take_while(|(earlier, _)| *earlier < index).for_each(|(_, entry)| {
                        self.put_page(entry);
                    });
                    return Err(errno);
                }
            }
        }
        Ok(())
    }

    /// Gives back everything the entries of an L1 table refer to.
    pub(super) fn release_l1(&self, table: &Frame) {
        present_entries(table).for_each(|(_, entry)| self.put_page(entry));
    }
}

impl Frame {
    fn take(&self, entry: Pte) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if !entry.flags().contains(PteFlags::RW) {
            state.general_count += 1;
        } else if state.claim(FrameType::Writable) != Claim::Taken {
            return Err(Errno::BUSY);
        }
        drop(state);
        if self.is_special() && entry.flags() & CACHE_ATTRIBUTE != PteFlags::NONE {
            self.put(entry);
            return Err(Errno::ACCES);
        }
        Ok(())
    }

    fn put(&self, entry: Pte) {
        let mut state = self.state.lock();
        if entry.flags().contains(PteFlags::RW) {
            state.unclaim();
        } else {
            state.general_count -= 1;
        }
    }
}

/// The present entries of a table with their indices.
pub(super) fn present_entries(table: &Frame) -> impl Iterator<Item = (usize, Pte)> {
    table.entries().filter(|(_, entry)| entry.is_present())
}
