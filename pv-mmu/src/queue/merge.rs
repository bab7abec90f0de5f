//! When two pending operations may become one.
//!
//! Two updates of one L1 entry may, when nothing but L1 updates of the same subject lies between
//! them: the intermediate value is never effective, which R1 allows, and the result takes the
//! first one's place. Updates of *different* L1 entries in such a run commute: an L1 update takes
//! and gives up references to the frames it maps, and the one refusal it can meet, a writable
//! mapping of a frame that is a page table or descriptor page, depends on types that no L1 update
//! changes. Anything else between the two (an update of a higher level, a pin, a TLB flush, a
//! descriptor) keeps them apart (R3).

use hypercall::{MmuUpdate, MmuextOp, PAGE_SHIFT, PteFlags, UpdateCommand, VirtAddr};

/// One update that does what `older` and then `newer`, of the same entry, do.
///
/// `None` where there is no such update: a command of the machine-to-physical table, or one Xen
/// does not know.
pub(crate) fn combine(older: MmuUpdate, newer: MmuUpdate) -> Option<MmuUpdate> {
    use UpdateCommand::{NoTranslate, Normal, PreserveAd};
    match (older.slot.command()?, newer.slot.command()?) {
        (Normal | NoTranslate | PreserveAd, Normal | NoTranslate) => Some(newer),
        // What the hardware noted in the entry before `older` is overwritten by it and stays so.
        (Normal | NoTranslate, PreserveAd) => Some(MmuUpdate { slot: older.slot, value: newer.value | noted(older) }),
        (PreserveAd, PreserveAd) => Some(MmuUpdate { slot: newer.slot, value: newer.value | noted(older) }),
        (UpdateCommand::MachPhys, _) | (_, UpdateCommand::MachPhys) => None,
    }
}

const fn noted(update: MmuUpdate) -> u64 {
    update.value & PteFlags::ACCESSED_DIRTY.bits()
}

/// Whether flushing `wide` leaves nothing to do for `narrow`, when they stand side by side.
///
/// The calling vCPU's number is not known here, so a set of vCPUs never covers a local flush.
pub(crate) fn covers(wide: &MmuextOp, narrow: &MmuextOp) -> bool {
    use MmuextOp::{InvlpgAll, InvlpgLocal, InvlpgMulti, TlbFlushAll, TlbFlushLocal, TlbFlushMulti};
    match (wide, narrow) {
        (TlbFlushAll, narrow) => narrow.is_tlb_flush(),
        (TlbFlushLocal, TlbFlushLocal | InvlpgLocal { .. }) => true,
        (TlbFlushMulti { vcpus }, TlbFlushMulti { vcpus: inner } | InvlpgMulti { vcpus: inner, .. }) => {
            vcpus.contains_all(inner)
        }
        (InvlpgLocal { address }, InvlpgLocal { address: inner })
        | (InvlpgAll { address }, InvlpgLocal { address: inner } | InvlpgAll { address: inner }) => {
            same_page(*address, *inner)
        }
        (InvlpgAll { address }, InvlpgMulti { address: inner, .. }) => same_page(*address, *inner),
        (InvlpgMulti { address, vcpus }, InvlpgMulti { address: inner, vcpus: inner_vcpus }) => {
            same_page(*address, *inner) && vcpus.contains_all(inner_vcpus)
        }
        _ => false,
    }
}

const fn same_page(a: VirtAddr, b: VirtAddr) -> bool {
    a.value() >> PAGE_SHIFT == b.value() >> PAGE_SHIFT
}
