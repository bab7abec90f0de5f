//! What an operation acts on, and which two operations commute.
//!
//! R3 lets two operations change places only where a proof shows that nobody can tell. These are
//! the proofs the referee accepts:
//!
//! - **Two L1 updates of different entries, for the same subject.** An L1 update gives up the frame
//!   that the old entry maps and takes the one the new entry maps. It is refused for reasons that lie
//!   in its own value and in the type of the frame it maps: a writable mapping of a frame that is a
//!   page table or descriptor page. Frames become and cease to be such only by pins, base pointers,
//!   descriptor tables and updates of higher levels. So neither changes whether the other succeeds,
//!   and both orders end in the same memory.
//! - **Two TLB flushes.** Each only drops translations; both orders drop the union.
//! - **A TLB flush and anything that changes no translation** (pins, descriptor tables, cache flushes,
//!   stack, FPU flag, segment bases). What the flush drops depends on the entries alone, and what
//!   the other does depends on no TLB. A change of translation is an update of any level, a mapping
//!   changed by address, a base pointer, and, because stale translations can still write to it, a
//!   frame that is cleared or copied.
//! - **A register of the vCPU (stack, FPU flag, segment base) and an L1 update.** They share no state: the
//!   register is used when the vCPU next leaves or enters user mode, with upcalls masked until the
//!   whole array has run.
//!
//! Anything else keeps its order.

use hypercall::{Level, MmuextOp, Operation, Subject, VcpuId, VcpuMask};

use super::{chain::Write, reach::Reach};

/// An L1 entry, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryKey {
    pub(super) subject: Subject,
    pub(super) address: u64,
}

/// What an operation acts on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Effect {
    /// One L1 entry.
    Entry(EntryKey, Write),
    /// Translations, in any other way.
    Translation,
    /// TLBs.
    Flush(Reach),
    /// A register of the vCPU that no table or type depends on.
    Register,
    /// Types, descriptors, caches.
    Other,
}

impl Effect {
    /// The effect of `operation`, whose entry, if it is an update, is in a table of `level`.
    pub(super) fn of(operation: &Operation, level: Level, vcpu: VcpuId, online: Option<VcpuMask>) -> Self {
        if let Some(reach) = Reach::of(operation, vcpu, online) {
            return Self::Flush(reach);
        }
        match operation {
            Operation::Update { update, subject } => match Write::of(update) {
                Some(write) if level == Level::L1 => {
                    Self::Entry(EntryKey { subject: *subject, address: update.slot.address() }, write)
                }
                _ => Self::Translation,
            },
            Operation::Mmuext { op, .. } if is_bookkeeping(op) => Self::Other,
            Operation::StackSwitch { .. } | Operation::FpuTaskswitch { .. } | Operation::SetSegmentBase { .. } => {
                Self::Register
            }
            Operation::SetGdt(_) | Operation::UpdateDescriptor { .. } => Self::Other,
            _ => Self::Translation,
        }
    }

    /// Whether nobody can tell in which order the two became effective.
    pub(super) fn commutes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entry(a, _), Self::Entry(b, _)) => a.subject == b.subject && a.address != b.address,
            (Self::Flush(_), Self::Flush(_) | Self::Register | Self::Other)
            | (Self::Register | Self::Other, Self::Flush(_))
            | (Self::Register, Self::Entry(..))
            | (Self::Entry(..), Self::Register) => true,
            _ => false,
        }
    }

    /// Whether both write one L1 entry.
    pub(super) fn same_entry(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Entry(a, _), Self::Entry(b, _)) if a == b)
    }

    /// The TLBs it flushes, if it does.
    pub(super) const fn reach(&self) -> Option<Reach> {
        if let Self::Flush(reach) = self { Some(*reach) } else { None }
    }

    pub(super) const fn is_flush(&self) -> bool {
        matches!(self, Self::Flush(_))
    }
}

/// Whether `op`, which is no TLB flush, leaves every translation and every frame's contents alone.
const fn is_bookkeeping(op: &MmuextOp) -> bool {
    matches!(
        op,
        MmuextOp::Pin { .. }
            | MmuextOp::Unpin { .. }
            | MmuextOp::SetLdt { .. }
            | MmuextOp::FlushCache
            | MmuextOp::FlushCacheGlobal
            | MmuextOp::MarkSuper { .. }
            | MmuextOp::UnmarkSuper { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall::{DomId, Mfn, MmuUpdate, Pte, PteSlot, UpdateCommand, VirtAddr};

    fn effect(operation: Operation) -> Effect {
        Effect::of(&operation, Level::L1, VcpuId::new(0), None)
    }

    fn update(index: usize, subject: Subject) -> Operation {
        Operation::Update { update: MmuUpdate::new(PteSlot::of(Mfn::new(9), index), Pte::EMPTY), subject }
    }

    fn mmuext(op: MmuextOp) -> Operation {
        Operation::Mmuext { op, domain: DomId::SELF }
    }

    #[test]
    fn only_what_is_proven_commutes() {
        let a = effect(update(1, Subject::SELF));
        let flush = effect(mmuext(MmuextOp::TlbFlushAll));
        let stack = effect(Operation::StackSwitch { ss: 0, sp: VirtAddr::unchecked(0) });
        let pin = effect(mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(3) }));
        let base = effect(mmuext(MmuextOp::NewBaseptr { table: Mfn::new(3) }));
        assert!(a.commutes(&effect(update(2, Subject::SELF))));
        assert!(!a.commutes(&a));
        assert!(!a.commutes(&effect(update(2, Subject::frames_of(DomId::IO)))));
        assert!(a.commutes(&stack) && stack.commutes(&a) && !stack.commutes(&stack));
        assert!(flush.commutes(&pin) && flush.commutes(&flush) && !flush.commutes(&a) && !flush.commutes(&base));
        assert!(!a.commutes(&pin) && !base.commutes(&stack));
    }

    #[test]
    fn an_update_of_a_higher_level_or_of_no_entry_is_no_l1_write() {
        let upper = Effect::of(&update(1, Subject::SELF), Level::L2, VcpuId::new(0), None);
        let Operation::Update { update, subject } = update(1, Subject::SELF) else { unreachable!() };
        let m2p = MmuUpdate { slot: update.slot.with_command(UpdateCommand::MachPhys), ..update };
        assert_eq!(upper, Effect::Translation);
        assert_eq!(effect(Operation::Update { update: m2p, subject }), Effect::Translation);
    }
}
