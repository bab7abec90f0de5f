//! Which translations a TLB flush drops, and where.

use hypercall::{MmuextOp, Operation, PAGE_SHIFT, VcpuId, VcpuMask};

/// The vCPUs whose TLB is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Who {
    One(VcpuId),
    Some(VcpuMask),
    All,
}

impl Who {
    /// Whether nothing has to be done for `other` once this is done. `online`: the vCPUs that count.
    fn covers(&self, other: &Self, online: Option<VcpuMask>) -> bool {
        match (self.among(online), other.among(online)) {
            (Self::All, _) => true,
            (Self::One(here), Self::One(there)) => here == there,
            (Self::Some(these), Self::One(there)) => these.contains(there),
            (Self::Some(these), Self::Some(those)) => these.contains_all(&those),
            (Self::One(here), Self::Some(those)) => VcpuMask::EMPTY.with(here).contains_all(&those),
            (_, Self::All) => false,
        }
    }

    const fn among(&self, online: Option<VcpuMask>) -> Self {
        match (self, online) {
            (Self::Some(vcpus), Some(online)) => Self::Some(vcpus.intersection(&online)),
            (Self::All, Some(online)) => Self::Some(online),
            _ => *self,
        }
    }
}

/// What a TLB flush reaches: one page or everything, on some vCPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Reach {
    page: Option<u64>,
    who: Who,
    online: Option<VcpuMask>,
}

impl Reach {
    /// The reach of `operation` when `vcpu` issues it; `None` if it is no TLB flush. The flush that an
    /// `update_va_mapping` carries is part of that write, not a flush of its own.
    pub(super) const fn of(operation: &Operation, vcpu: VcpuId, online: Option<VcpuMask>) -> Option<Self> {
        let Operation::Mmuext { op, .. } = operation else { return None };
        let (page, who) = match op {
            MmuextOp::TlbFlushLocal => (None, Who::One(vcpu)),
            MmuextOp::TlbFlushMulti { vcpus } => (None, Who::Some(*vcpus)),
            MmuextOp::TlbFlushAll => (None, Who::All),
            MmuextOp::InvlpgLocal { address } => (Some(address.value() >> PAGE_SHIFT), Who::One(vcpu)),
            MmuextOp::InvlpgMulti { address, vcpus } => (Some(address.value() >> PAGE_SHIFT), Who::Some(*vcpus)),
            MmuextOp::InvlpgAll { address } => (Some(address.value() >> PAGE_SHIFT), Who::All),
            _ => return None,
        };
        Some(Self { page, who, online })
    }

    /// Whether this flush leaves nothing of `other` to do: every translation `other` drops, on every
    /// vCPU it drops it on.
    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.page.is_none() || self.page == other.page) && self.who.covers(&other.who, self.online)
    }

    /// Whether it reaches no TLB at all.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.who.among(self.online), Who::Some(vcpus) if vcpus.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hypercall::{DomId, VirtAddr};

    const V0: VcpuId = VcpuId::new(0);
    const V1: VcpuId = VcpuId::new(1);

    fn reach(op: MmuextOp, online: Option<VcpuMask>) -> Reach {
        Reach::of(&Operation::Mmuext { op, domain: DomId::SELF }, V0, online).unwrap()
    }

    fn covers(wide: MmuextOp, narrow: MmuextOp) -> bool {
        reach(wide, None).covers(&reach(narrow, None))
    }

    #[test]
    fn everything_covers_a_page_and_all_covers_some() {
        let address = VirtAddr::new(0x5000).unwrap();
        let both = VcpuMask::EMPTY.with(V0).with(V1);
        let (local, page) = (MmuextOp::TlbFlushLocal, MmuextOp::InvlpgLocal { address });
        assert!(covers(local, page) && !covers(page, local));
        assert!(covers(MmuextOp::InvlpgAll { address }, page));
        assert!(covers(MmuextOp::TlbFlushAll, MmuextOp::TlbFlushMulti { vcpus: both }));
        assert!(covers(MmuextOp::TlbFlushMulti { vcpus: both }, local));
        assert!(!covers(MmuextOp::TlbFlushMulti { vcpus: VcpuMask::EMPTY.with(V1) }, local));
        assert!(!covers(MmuextOp::TlbFlushMulti { vcpus: both }, MmuextOp::TlbFlushAll));
        assert!(!covers(page, MmuextOp::InvlpgLocal { address: VirtAddr::new(0x6000).unwrap() }));
        assert!(covers(page, MmuextOp::InvlpgLocal { address: VirtAddr::new(0x5fff).unwrap() }));
    }

    #[test]
    fn offline_vcpus_do_not_count() {
        let (first, both) = (VcpuMask::EMPTY.with(V0), VcpuMask::EMPTY.with(V0).with(V1));
        let wide = reach(MmuextOp::TlbFlushMulti { vcpus: first }, Some(first));
        assert!(wide.covers(&reach(MmuextOp::TlbFlushMulti { vcpus: both }, Some(first))));
        assert!(wide.covers(&reach(MmuextOp::TlbFlushAll, Some(first))));
        assert!(reach(MmuextOp::TlbFlushMulti { vcpus: VcpuMask::EMPTY.with(V1) }, Some(first)).is_empty());
        assert!(!wide.is_empty());
    }
}
