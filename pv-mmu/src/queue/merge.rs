//! When two pending operations may become one.
//!
//! Two updates of one L1 entry may, when nothing but L1 updates of the same subject lies between
//! them: the intermediate value is never effective, which R1 allows, and the result takes the first
//! one's place. The newer one must be one that Xen cannot refuse once it has accepted the older:
//! otherwise the older one's effect would be lost with it (R2). Such are values that are not present,
//! which Xen stores as they are, and values that map the same frame in the same way or less.
//!
//! Updates of *different* L1 entries in such a run commute: an L1 update takes and gives up references
//! to the frames it maps, and the one refusal it can meet, a writable mapping of a frame that is a page
//! table or descriptor page, depends on types that no L1 update changes. Anything else between the two
//! (an update of a higher level, a pin, a TLB flush, a descriptor) keeps them apart (R3).

use hypercall::{MmuUpdate, MmuextOp, PAGE_SHIFT, Pte, PteFlags, UpdateCommand, VirtAddr};

/// Flags that choose what an L1 entry may do and how its memory is cached: Xen looks at them when it
/// decides. The others it stores as they are.
const DECIDING: PteFlags =
    PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::PWT).union(PteFlags::PCD).union(PteFlags::PAT);

/// One update that does what `older` and then `newer`, of the same entry, do.
///
/// `None` where there is no such update: the newer one might be refused by itself, or is a command of
/// the machine-to-physical table, or one Xen does not know.
pub(crate) fn combine(older: MmuUpdate, newer: MmuUpdate) -> Option<MmuUpdate> {
    if is_accepted_after(older.pte(), newer.pte()) { compose(older, newer) } else { None }
}

/// Whether Xen takes `newer` wherever it has taken `older`.
fn is_accepted_after(older: Pte, newer: Pte) -> bool {
    let (before, after) = (older.flags() & DECIDING, newer.flags() & DECIDING);
    let gains_nothing = before == after || before == after | PteFlags::RW;
    !newer.is_present() || older.is_present() && older.frame() == newer.frame() && gains_nothing
}

/// The update whose effect is that of `older` and then `newer`, if both are accepted.
pub(crate) fn compose(older: MmuUpdate, newer: MmuUpdate) -> Option<MmuUpdate> {
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
