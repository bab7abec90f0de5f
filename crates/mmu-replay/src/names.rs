//! Names for frames, so that two guests with different machine frames can speak of the same ones.
//!
//! Name 0 is no frame, as frame 0 is to a base pointer. What is no memory, a device's frame, goes by its own number above
//! [`DEVICE`].
//! Entries that are not present hold no frame and stay as they are. Linear addresses are the same for both guests, but
//! for `update_va_mapping`'s: there the frame whose place in the direct map is meant is named, by the address of the
//! page with its number.

use core::ops::Range;

use hypercall::{
    DomId, ENTRIES_PER_TABLE, Level, Mfn, MmuUpdate, MmuextOp, Operation, PAGE_SHIFT, Pte, PteSlot, Subject, VirtAddr,
};

/// Bytes between the places of two names in the direct map.
pub const DIRECT_MAP_PAGE: u64 = 1 << PAGE_SHIFT;

/// Entries of an L4 that are Xen's (`ROOT_PAGETABLE_FIRST_XEN_SLOT` to `ROOT_PAGETABLE_LAST_XEN_SLOT`).
pub const XEN_ENTRIES: Range<usize> = 256..272;
/// Entries of an L4 that are the guest kernel's.
pub const KERNEL_ENTRIES: Range<usize> = XEN_ENTRIES.end..ENTRIES_PER_TABLE;
/// One more that is a kernel's own, where that kernel lies at low addresses: no list has anything to do with it.
pub const OWN_ENTRY: usize = 0;

/// Added to the number of a frame that is no memory.
pub const DEVICE: u64 = 1 << 39;

/// One direction between frames and their names.
pub trait Names {
    /// The frame's other number; `None` for one that has none.
    fn frame(&self, frame: Mfn) -> Option<Mfn>;

    /// Where the other side has what lies at this address of the direct map; `None` where that is no frame with a name.
    fn direct_map(&self, address: VirtAddr) -> Option<VirtAddr>;

    /// The entry as the other side numbers it.
    fn slot(&self, slot: PteSlot) -> Option<PteSlot> {
        let command = slot.command()?;
        Some(PteSlot::of(self.frame(slot.table())?, slot.index()).with_command(command))
    }
}

/// An entry's value with the frame's other number.
#[must_use]
pub fn rename_word(names: &(impl Names + ?Sized), word: u64) -> Option<u64> {
    let pte = Pte::from_bits(word);
    if pte.is_present() { Some(Pte::new(names.frame(pte.frame())?, pte.flags()).bits()) } else { Some(word) }
}

/// An operation with all its frames' other numbers; `None` for one that names a frame without, or that no replay has.
#[must_use]
pub fn rename(names: &(impl Names + ?Sized), operation: &Operation) -> Option<Operation> {
    Some(match *operation {
        Operation::Update { update, subject: Subject::SELF } => {
            let pte = Pte::from_bits(rename_word(names, update.value)?);
            let update = MmuUpdate::new(names.slot(update.slot)?, pte);
            Operation::Update { update, subject: Subject::SELF }
        }
        Operation::UpdateVaMapping { va, pte, flush } => {
            let pte = Pte::from_bits(rename_word(names, pte.bits())?);
            Operation::UpdateVaMapping { va: names.direct_map(va)?, pte, flush }
        }
        Operation::Mmuext { op, domain: DomId::SELF } => {
            Operation::Mmuext { op: rename_mmuext(names, op)?, domain: DomId::SELF }
        }
        Operation::StackSwitch { .. } => *operation,
        _ => return None,
    })
}

fn rename_mmuext(names: &(impl Names + ?Sized), op: MmuextOp) -> Option<MmuextOp> {
    let none_or = |table: Mfn| if table == Mfn::new(0) { Some(table) } else { names.frame(table) };
    Some(match op {
        MmuextOp::Pin { level, table } => MmuextOp::Pin { level, table: names.frame(table)? },
        MmuextOp::Unpin { table } => MmuextOp::Unpin { table: names.frame(table)? },
        MmuextOp::NewBaseptr { table } => MmuextOp::NewBaseptr { table: names.frame(table)? },
        MmuextOp::NewUserBaseptr { table } => MmuextOp::NewUserBaseptr { table: none_or(table)? },
        MmuextOp::TlbFlushLocal
        | MmuextOp::TlbFlushAll
        | MmuextOp::TlbFlushMulti { .. }
        | MmuextOp::InvlpgLocal { .. }
        | MmuextOp::InvlpgAll { .. }
        | MmuextOp::InvlpgMulti { .. } => op,
        _ => return None,
    })
}

/// A level by its number, 1 to 4.
pub(crate) fn level(number: u64) -> Option<Level> {
    Level::ALL.into_iter().find(|level| u64::from(level.number()) == number)
}
