//! From a virtual address to an entry or a frame, through page tables as they are this moment.
//!
//! The walk takes no lock, as the processor takes none: what it finds while another vCPU changes
//! the tables is what was there at some moment. It leaves accessed and dirty flags alone; those are
//! set by whoever plays the processor (`MockXen::set_accessed_dirty`).

use hypercall::{Level, Mfn, Pte, PteFlags};

use crate::frames::{Frame, Frames};

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

/// The end of a walk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walked<'a> {
    /// The table of the wanted level.
    pub(crate) table: &'a Frame,
    /// The entry's index in it.
    pub(crate) index: usize,
    /// Whether every entry above allows writing.
    pub(crate) writable: bool,
}

impl Frames {
    /// Walks from the L4 table `base` to the entry of level `wanted` for `address`; `None` where an
    /// entry above is absent, a superpage, or leads out of the guest's memory.
    pub(crate) fn walk(&self, base: Mfn, address: u64, wanted: Level) -> Option<Walked<'_>> {
        let mut table = self.guest(base)?;
        let mut level = Level::L4;
        let mut writable = true;
        while level != wanted {
            let entry = Pte::from_bits(table.load(index_at(address, level)));
            if !entry.is_present() || entry.flags().contains(PteFlags::PSE) {
                return None;
            }
            writable &= entry.flags().contains(PteFlags::RW);
            table = self.guest(entry.frame())?;
            level = level.below()?;
        }
        Some(Walked { table, index: index_at(address, wanted), writable })
    }

    /// The guest's frame that `address` is mapped to; for writing, if `write` is set. Devices are
    /// no memory that arguments can lie in.
    pub(crate) fn translate(&self, base: Mfn, address: u64, write: bool) -> Option<&Frame> {
        let Walked { table, index, writable } = self.walk(base, address, Level::L1)?;
        let entry = Pte::from_bits(table.load(index));
        let allowed = !write || writable && entry.flags().contains(PteFlags::RW);
        if entry.is_present() && allowed { self.guest(entry.frame()) } else { None }
    }
}
