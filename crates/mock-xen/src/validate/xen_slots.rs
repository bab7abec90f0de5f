//! The sixteen L4 entries through which Xen maps itself.
//!
//! No update may touch them, and whatever a frame holds there is overwritten when it becomes an L4.
//! The entries' targets are of no interest to a guest; what it can see is which are present.

use std::ops::Range;
use std::sync::atomic::Ordering;

use hypercall::{Mfn, Pte, PteFlags};

use crate::frames::{Frame, Layout};

/// The entries' indices.
pub(crate) const RANGE: Range<usize> = 256..272;
/// The read-only machine-to-physical table: present once the L4 has been a kernel base pointer.
const MACHINE_TO_PHYSICAL: usize = 256;
/// The table as a page of its own linear map.
const SELF_MAP: usize = 258;
/// Not used.
const UNUSED: usize = 259;

const SUPERVISOR: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::ACCESSED_DIRTY);

/// Overwrites the entries of a frame that has just become an L4.
pub(super) fn install(table: &Frame, layout: &Layout) {
    for index in RANGE {
        let entry = match index {
            MACHINE_TO_PHYSICAL | UNUSED => Pte::EMPTY,
            SELF_MAP => Pte::new(table.mfn, SUPERVISOR | PteFlags::NX),
            _ => Pte::new(Mfn::new(layout.heap().number() + (index - RANGE.start) as u64), SUPERVISOR),
        };
        table.word(index).store(entry.bits(), Ordering::SeqCst);
    }
}

/// Makes the machine-to-physical table readable through an L4 that is loaded as a kernel base
/// pointer.
pub(crate) fn show_machine_to_physical(table: &Frame, layout: &Layout) {
    let flags = PteFlags::PRESENT | PteFlags::USER | PteFlags::ACCESSED;
    let entry = Pte::new(layout.machine_to_physical(), flags);
    table.word(MACHINE_TO_PHYSICAL).store(entry.bits(), Ordering::SeqCst);
}
