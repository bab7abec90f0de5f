//! What a processor finds at a virtual address: by its TLB, else by the tables.
//!
//! The guest's kernel runs in user mode, and Xen reaches the guest's memory through the same
//! entries, so every access needs `USER` at each level. A table walk marks the entries it goes
//! through as accessed, and the last one as dirty if it is for a store, as soon as each is found
//! to be present; the last one only if the access is allowed.

use hypercall::{Level, Mfn, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};

use super::walk::index_at;
use crate::frames::Frame;
use crate::machine::{Machine, Tables};
use crate::tlb::TlbEntry;
use crate::validate::xen_slots;

/// What an access is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// A load.
    Read,
    /// A store, or a load and a store at once.
    Write,
}

/// What the processor raises instead of making an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `#PF`: whether an entry was there but forbids it.
    Page {
        /// See above.
        present: bool,
    },
    /// `#GP`: there is no such address.
    NoAddress,
}

/// The processor that makes an access, with what it runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor {
    pub(crate) vcpu: VcpuId,
    pub(crate) base: Mfn,
}

/// An entry with the flags that a processor has set in it.
type Noted = Option<(PteSlot, PteFlags)>;

/// Where an access goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Translated {
    pub(crate) frame: Mfn,
    /// The L1 entry in which the processor has noted the access, and the flags that were not set before.
    pub(crate) noted: Noted,
}

impl Machine {
    /// The frame a load goes to, if the processor's TLB knows.
    pub(crate) fn kept(&self, vcpu: VcpuId, address: u64) -> Option<Mfn> {
        Some(self.tlbs.of(vcpu).lock().get(address)?.frame)
    }

    /// The frame an access goes to. What is found in the tables is kept in the processor's TLB.
    ///
    /// Tables must stay what they are meanwhile: a translation read from one entry must not be kept
    /// after the flush that some other vCPU has made for its change.
    pub(crate) fn translate(
        &self,
        _tables: &Tables,
        processor: Processor,
        address: u64,
        access: Access,
    ) -> Result<Translated, Fault> {
        let mut tlb = self.tlbs.of(processor.vcpu).lock();
        if let Some(kept) = tlb.get(address)
            && (access == Access::Read || kept.writable && kept.dirty)
        {
            return Ok(Translated { frame: kept.frame, noted: None });
        }
        if !VirtAddr::unchecked(address).is_canonical() {
            return Err(Fault::NoAddress);
        }
        if xen_slots::RANGE.contains(&index_at(address, Level::L4)) {
            return Err(self.fault_in_xen(processor.base, address));
        }
        let (found, noted) = self.find(processor.base, address, access)?;
        tlb.keep(address, found);
        Ok(Translated { frame: found.frame, noted })
    }

    /// Whether the tables lead an access to `frame` at this moment.
    pub(crate) fn still_leads(&self, base: Mfn, address: u64, frame: Mfn, is_store: bool) -> bool {
        let Some((table, index)) = self.frames.walk(base, address, Level::L1) else { return false };
        let entry = Pte::from_bits(table.load(index));
        let allows = !is_store || entry.flags().contains(PteFlags::RW);
        entry.is_present() && entry.frame() == frame && allows
    }

    fn find(&self, base: Mfn, address: u64, access: Access) -> Result<(TlbEntry, Noted), Fault> {
        let absent = Fault::Page { present: false };
        let mut writable = true;
        let mut table = self.frames.guest(base).ok_or(absent)?;
        for level in [Level::L4, Level::L3, Level::L2] {
            let index = index_at(address, level);
            let entry = Pte::from_bits(table.load(index));
            let below = self.frames.below(entry).ok_or(absent)?;
            self.mark((table, index), PteFlags::ACCESSED);
            writable &= entry.flags().contains(PteFlags::RW);
            table = below;
        }
        self.leaf((table, index_at(address, Level::L1)), writable, access)
    }

    /// The entry is read and marked in one step: the processor marks nothing but what it has found.
    fn leaf(&self, slot: (&Frame, usize), above: bool, access: Access) -> Result<(TlbEntry, Noted), Fault> {
        let dirty = if access == Access::Write { PteFlags::DIRTY } else { PteFlags::NONE };
        loop {
            let entry = Pte::from_bits(slot.0.load(slot.1));
            if !entry.is_present() {
                return Err(Fault::Page { present: false });
            }
            let writable = above && entry.flags().contains(PteFlags::RW);
            if access == Access::Write && !writable {
                return Err(Fault::Page { present: true });
            }
            if self.mark_found(slot, entry, PteFlags::ACCESSED | dirty) {
                let new = (PteFlags::ACCESSED | dirty).without(entry.flags());
                let noted = (new != PteFlags::NONE).then(|| (PteSlot::of(slot.0.mfn, slot.1), new));
                let dirty = access == Access::Write || entry.flags().contains(PteFlags::DIRTY);
                return Ok((TlbEntry { frame: entry.frame(), writable, dirty }, noted));
            }
        }
    }

    /// Of Xen's own range a guest can read the machine-to-physical table, which has no frames to
    /// speak of here (see [`Machine::machine_to_physical_at`]). The other entries are not for user
    /// mode.
    fn fault_in_xen(&self, base: Mfn, address: u64) -> Fault {
        let entry = self.frames.guest(base).map_or(0, |root| root.load(index_at(address, Level::L4)));
        Fault::Page { present: Pte::from_bits(entry).is_present() }
    }

    /// The word of the machine-to-physical table at `address`, if `base` shows it there.
    pub(crate) fn machine_to_physical_at(&self, base: Mfn, address: u64) -> Option<u64> {
        let index = index_at(address, Level::L4);
        if index != xen_slots::MACHINE_TO_PHYSICAL || !VirtAddr::unchecked(address).is_canonical() {
            return None;
        }
        let shown = Pte::from_bits(self.frames.guest(base)?.load(index)).is_present();
        let mfn = Mfn::new(address % (1 << 39) / 8);
        let covered = mfn < self.frames.layout.end();
        (shown && covered).then(|| self.frames.m2p(mfn).unwrap_or(u64::MAX))
    }
}
