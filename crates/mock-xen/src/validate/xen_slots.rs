//! The sixteen L4 entries through which Xen maps itself.
//!
//! No update may touch them, and whatever a frame holds there is overwritten when it becomes an L4.
//! The entries' targets are of no interest to a guest; what it can see is which are present.

use std::ops::Range;

use hypercall::{Level, Mfn, Pte, PteFlags};

use crate::frames::{Frame, Layout};

/// The entries' indices.
pub(crate) const RANGE: Range<usize> = 256..272;
/// The read-only machine-to-physical table: present once the L4 has been a kernel base pointer, or
/// from the start where the guest asked for a strict one.
pub(crate) const MACHINE_TO_PHYSICAL: usize = 256;
/// The table as a page of its own linear map.
const SELF_MAP: usize = 258;
/// The domain's own mappings, Xen itself, and its map of the machine's memory: present on every machine. Of
/// the others, which machines have more or less of, the one modelled has none: it has no memory-mapped
/// configuration space, and not more memory than one entry maps.
const XENS_OWN: Range<usize> = 260..263;

const SUPERVISOR: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::ACCESSED_DIRTY);

/// Whether entry `index` of a table of `level` is one of them.
pub(crate) const fn are_at(level: Level, index: usize) -> bool {
    matches!(level, Level::L4) && index >= RANGE.start && index < RANGE.end
}

/// Overwrites the entries of a frame that has just become an L4.
pub(super) fn install(table: &Frame, layout: &Layout, strict: bool) {
    for index in RANGE {
        let entry = match index {
            MACHINE_TO_PHYSICAL if strict => machine_to_physical(layout),
            SELF_MAP => Pte::new(table.mfn, SUPERVISOR | PteFlags::NX),
            _ if XENS_OWN.contains(&index) => {
                Pte::new(Mfn::new(layout.heap().number() + (index - RANGE.start) as u64), SUPERVISOR)
            }
            _ => Pte::EMPTY,
        };
        table.store(index, entry.bits());
    }
}

/// Makes the machine-to-physical table readable through an L4 that is loaded as a kernel base
/// pointer, if it is not.
pub(crate) fn show_machine_to_physical(table: &Frame, layout: &Layout) {
    if table.load(MACHINE_TO_PHYSICAL) == 0 {
        table.store(MACHINE_TO_PHYSICAL, machine_to_physical(layout).bits());
    }
}

/// Hides it from one that is loaded as a user base pointer.
pub(crate) fn hide_machine_to_physical(table: &Frame) {
    table.store(MACHINE_TO_PHYSICAL, 0);
}

const fn machine_to_physical(layout: &Layout) -> Pte {
    let flags = PteFlags::PRESENT.union(PteFlags::USER).union(PteFlags::ACCESSED);
    Pte::new(layout.machine_to_physical(), flags)
}
