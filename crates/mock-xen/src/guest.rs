//! What the guest and its processors do to memory without a hypercall, by frame number: for callers
//! that know a frame and not where it is mapped. No TLB has a part in it.

use std::sync::atomic::Ordering;

use hypercall::{Errno, Level, Mfn, Pte, PteFlags, PteSlot};
use parking_lot::RwLockReadGuard;

use crate::MockXen;
use crate::frames::{Frame, FrameType};
use crate::machine::Tables;

/// Why a store of the guest or its processor does not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The frame is not the guest's.
    #[error("`{0}` is no frame of the guest: declare it when the guest is built")]
    NotTheGuests(Mfn),
    /// No mapping of the frame allows writing.
    #[error("`{mfn}` is not mapped writable, its type is {kind:?}: map it writable or use a hypercall")]
    NotWritable {
        /// The frame.
        mfn: Mfn,
        /// What it is in use as.
        kind: FrameType,
    },
    /// A trapped store to something that is no L1 table in use.
    #[error("`{slot}` lies in no L1 table in use: Xen emulates stores to such tables only")]
    NotAnL1 {
        /// The word.
        slot: PteSlot,
    },
    /// Xen refuses the entry, and the guest gets a page fault (error code 3).
    #[error("page fault for the store of `{entry}` to `{slot}`: refused with {errno}")]
    PageFault {
        /// The entry's place.
        slot: PteSlot,
        /// The entry.
        entry: Pte,
        /// Why it is refused.
        errno: Errno,
    },
    /// The processor sets no flag in an entry that is not present.
    #[error("`{slot}` is not present: the processor does not use it")]
    NotPresent {
        /// The entry's place.
        slot: PteSlot,
    },
}

impl MockXen {
    /// A store of the guest through a writable mapping of `mfn`: word `index`, 0 to 511.
    ///
    /// # Errors
    /// [`StoreError::NotWritable`] where no mapping allows it: a page table, for one.
    ///
    /// # Panics
    /// For an index above 511.
    pub fn write_plain(&self, mfn: Mfn, index: usize, word: u64) -> Result<(), StoreError> {
        let frame = self.machine.frames.guest(mfn).ok_or(StoreError::NotTheGuests(mfn))?;
        let state = frame.state.lock();
        if state.kind != FrameType::Writable || state.type_count == 0 {
            return Err(StoreError::NotWritable { mfn, kind: state.kind });
        }
        frame.store(index, word);
        Ok(())
    }

    /// What the processor does when it uses the present entry at `slot`: of `flags`, accessed and
    /// dirty are set.
    ///
    /// # Errors
    /// [`StoreError::NotPresent`] where the entry is not present.
    pub fn set_accessed_dirty(&self, slot: PteSlot, flags: PteFlags) -> Result<(), StoreError> {
        let (frame, _tables) = self.entry_at(slot)?;
        let set = (flags & PteFlags::ACCESSED_DIRTY).bits();
        let used = |word: u64| Pte::from_bits(word).is_present().then_some(word | set);
        match frame.word(slot.index()).fetch_update(Ordering::SeqCst, Ordering::SeqCst, used) {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::NotPresent { slot }),
        }
    }

    /// A store of the guest to an entry of an L1 table it has mapped read-only: Xen traps it and
    /// makes it as a checked update.
    ///
    /// # Errors
    /// [`StoreError::PageFault`] where Xen refuses the entry, [`StoreError::NotAnL1`] for any other
    /// word.
    pub fn trapped_write(&self, slot: PteSlot, entry: Pte) -> Result<(), StoreError> {
        self.trapped_exchange(slot, entry).map(drop)
    }

    /// As [`MockXen::trapped_write`] for an atomic exchange: answers with what the entry held.
    ///
    /// # Errors
    /// As [`MockXen::trapped_write`].
    pub fn trapped_exchange(&self, slot: PteSlot, entry: Pte) -> Result<Pte, StoreError> {
        let (frame, tables) = self.entry_at(slot)?;
        let in_use = frame.state.lock().table();
        if in_use != Some(Level::L1) {
            return Err(StoreError::NotAnL1 { slot });
        }
        let stored = self.machine.emulate_store(&tables, (frame, slot.index()), entry);
        stored.map_err(|errno| StoreError::PageFault { slot, entry, errno })
    }

    fn entry_at(&self, slot: PteSlot) -> Result<(&Frame, RwLockReadGuard<'_, Tables>), StoreError> {
        let frame = self.machine.frames.guest(slot.table()).ok_or(StoreError::NotTheGuests(slot.table()))?;
        Ok((frame, self.machine.tables()))
    }
}
