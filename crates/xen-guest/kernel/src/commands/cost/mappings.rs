//! `update_va_mapping`, by what the entry becomes and what is flushed.

use hypercall::{DomId, FlushScope, Mfn, Operation, Pte, PteFlags, VaFlush, VcpuId, VcpuMask, VirtAddr};
use xen_guest::memory::take_page;

use super::{issuer::Issuer, meter::Meter};
use crate::error::Error;

const FLUSHES: [(&str, VaFlush); 7] = [
    ("none", VaFlush::None),
    ("tlb-local", VaFlush::Tlb(FlushScope::Local)),
    ("tlb-all", VaFlush::Tlb(FlushScope::All)),
    ("tlb-vcpus", VaFlush::Tlb(FlushScope::Vcpus(OWN))),
    ("invlpg-local", VaFlush::Invlpg(FlushScope::Local)),
    ("invlpg-all", VaFlush::Invlpg(FlushScope::All)),
    ("invlpg-vcpus", VaFlush::Invlpg(FlushScope::Vcpus(OWN))),
];
/// The one vCPU that runs.
pub(super) const OWN: VcpuMask = VcpuMask::EMPTY.with(VcpuId::new(0));

const READ_ONLY: PteFlags = PteFlags::PRESENT.union(PteFlags::ACCESSED);
const WRITABLE: PteFlags = READ_ONLY.union(PteFlags::DIRTY).union(PteFlags::RW);
const MARK: PteFlags = PteFlags::from_bits_truncate(1 << 9);

/// Name, and the flags before and after; `None` for an empty entry.
type Change = (&'static str, Option<PteFlags>, Option<PteFlags>);

const CHANGES: [Change; 7] = [
    ("map-ro", None, Some(READ_ONLY)),
    ("map-rw", None, Some(WRITABLE)),
    ("unmap-ro", Some(READ_ONLY), None),
    ("unmap-rw", Some(WRITABLE), None),
    ("flags", Some(READ_ONLY), Some(READ_ONLY.union(MARK))),
    ("protect", Some(WRITABLE), Some(READ_ONLY)),
    ("unprotect", Some(READ_ONLY), Some(WRITABLE)),
];

/// The mapping of one page.
struct Window {
    va: VirtAddr,
    frame: Mfn,
}

impl Window {
    fn pte(&self, flags: Option<PteFlags>) -> Pte {
        flags.map_or(Pte::EMPTY, |flags| Pte::new(self.frame, flags))
    }

    fn own(&self, flags: Option<PteFlags>, flush: VaFlush) -> Operation {
        Operation::UpdateVaMapping { va: self.va, pte: self.pte(flags), flush }
    }

    fn others(&self, flags: Option<PteFlags>, flush: VaFlush) -> Operation {
        Operation::UpdateVaMappingOtherdomain { va: self.va, pte: self.pte(flags), flush, domain: DomId::SELF }
    }
}

pub(super) fn measure(issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    // Only probes look into a page of the pool, and none does while this changes its mapping.
    let page = take_page().ok_or(Error::NoPage)?;
    let window = Window { va: page.address(), frame: page.frame() };
    for (change, from, to) in CHANGES {
        for (kind, flush) in FLUSHES {
            meter.row(format_args!("update_va_mapping/{change}/{kind}"), 1, || {
                issuer.one(&window.own(from, VaFlush::Invlpg(FlushScope::All)))?;
                issuer.one(&window.own(to, flush))
            })?;
        }
        meter.row(format_args!("update_va_mapping_otherdomain/{change}/none"), 1, || {
            issuer.one(&window.own(from, VaFlush::Invlpg(FlushScope::All)))?;
            issuer.one(&window.others(to, VaFlush::None))
        })?;
    }
    issuer.one(&window.own(Some(WRITABLE), VaFlush::Invlpg(FlushScope::All))).map(drop)
}
