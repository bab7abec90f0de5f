//! From a virtual address to an entry, through page tables as they are this moment.
//!
//! A walk takes no lock, as the processor takes none: what it finds while another vCPU changes the
//! tables is what was there at some moment.

use hypercall::{Level, Mfn, Pte, PteFlags};

use crate::frames::{Frame, Frames};
use crate::machine::{Machine, Tables};
use crate::planted::Fault;

/// Lowest address of the hole in which Xen lives, and the first above it.
const LOW_END: u64 = 1 << 47;
const HIGH_START: u64 = 0xffff_8800_0000_0000;

/// Whether Xen lets a guest name `address` at all: its own range and the non-canonical hole are
/// out.
pub(crate) const fn is_guest_address(address: u64) -> bool {
    address < LOW_END || address >= HIGH_START
}

/// The index of the entry of `level` by which `address` is translated.
pub(crate) const fn index_at(address: u64, level: Level) -> usize {
    (address >> (12 + 9 * (level.number() - 1)) & 0x1ff) as usize
}

/// An entry's place.
pub(crate) type Slot<'a> = (&'a Frame, usize);

impl Frames {
    /// Walks from the L4 table `base` to the entry of level `wanted` for `address`; `None` where an
    /// entry above is absent, a superpage, or leads out of the guest's memory.
    pub(crate) fn walk(&self, base: Mfn, address: u64, wanted: Level) -> Option<Slot<'_>> {
        let mut table = self.guest(base)?;
        let mut level = Level::L4;
        while level != wanted {
            let entry = Pte::from_bits(table.load(index_at(address, level)));
            table = self.below(entry)?;
            level = level.below()?;
        }
        Some((table, index_at(address, wanted)))
    }

    /// The table that a present entry of an upper level leads to.
    pub(super) fn below(&self, entry: Pte) -> Option<&Frame> {
        let leads = entry.is_present() && !entry.flags().contains(PteFlags::PSE);
        if leads { self.guest(entry.frame()) } else { None }
    }
}

impl Machine {
    /// The L1 entry by which `base` translates a guest's address, as Xen looks it up: through the
    /// map of the tables that every L4 has of itself, which marks the entries of levels 4 and 3 as
    /// accessed.
    ///
    /// `None` for an address the guest may not name, and where what is found is no L1 table in use:
    /// an address may lead through linear entries, which end a level too high.
    pub(crate) fn live_l1(&self, _tables: &Tables, base: Mfn, address: u64) -> Option<Slot<'_>> {
        if !is_guest_address(address) {
            return None;
        }
        let mut table = self.frames.guest(base)?;
        for level in [Level::L4, Level::L3] {
            let slot = (table, index_at(address, level));
            table = self.frames.below(Pte::from_bits(table.load(slot.1)))?;
            self.mark(slot, PteFlags::ACCESSED);
        }
        let entry = Pte::from_bits(table.load(index_at(address, Level::L2)));
        let l1 = self.frames.below(entry)?;
        let in_use = l1.state.lock().table() == Some(Level::L1);
        in_use.then_some((l1, index_at(address, Level::L1)))
    }

    /// Sets flags in an entry that holds `found`, in one step; `false` where it holds something else by now.
    pub(super) fn mark_found(&self, (table, index): Slot<'_>, found: Pte, flags: PteFlags) -> bool {
        use std::sync::atomic::Ordering::SeqCst;
        let marked = found.with_flags(found.flags() | flags);
        if marked == found || self.planted.has(Fault::WalkMarksNothing) {
            return true;
        }
        table.word(index).compare_exchange(found.bits(), marked.bits(), SeqCst, SeqCst).is_ok()
    }

    /// Sets flags in an entry as the processor does when it uses it.
    pub(super) fn mark(&self, (table, index): Slot<'_>, flags: PteFlags) {
        let marked = Pte::from_bits(table.load(index)).flags().contains(flags);
        if !marked && !self.planted.has(Fault::WalkMarksNothing) {
            table.word(index).fetch_or(flags.bits(), std::sync::atomic::Ordering::SeqCst);
        }
    }
}
