//! Between pseudo-physical and machine frames.
//!
//! The domain's builder lists the machine frame of every pfn; Xen keeps the reverse for the whole
//! machine, readable at a fixed address. A domain may write its own part of that, so an answer from
//! there counts only where the list agrees.

use hypercall::{Errno, Level, Mfn, PAGE_SIZE, Pfn, VirtAddr};

use super::{probe, tables};
use crate::{calls, start_info};

/// Where the machine-to-physical table is mapped (`MACH2PHYS_VIRT_START`).
const MACHINE_TO_PHYSICAL: u64 = 0xffff_8000_0000_0000;

/// The machine frame of `pfn`; `None` beyond the domain's memory.
#[must_use]
pub fn frame(pfn: Pfn) -> Option<Mfn> {
    let frames = start_info::frame_list();
    frames.get(usize::try_from(pfn.number()).ok()?).map(|frame| Mfn::new(*frame))
}

/// What Xen's table says of `frame`, right or wrong; `None` where it has no entry.
#[must_use]
pub fn recorded_pfn(frame: Mfn) -> Option<Pfn> {
    let address = frame.number().checked_mul(8)?.checked_add(MACHINE_TO_PHYSICAL)?;
    probe::load(VirtAddr::new(address).ok()?).ok().map(Pfn::new)
}

/// The frame in which Xen keeps the start of that table.
///
/// # Errors
/// The hypervisor's refusal.
pub fn table_start() -> Result<Mfn, Errno> {
    calls::machine_to_physical_start()
}

/// The pfn of `frame`; `None` where it is not one of the domain's.
#[must_use]
pub fn pfn(frame: Mfn) -> Option<Pfn> {
    recorded_pfn(frame).filter(|pfn| self::frame(*pfn) == Some(frame))
}

/// The machine frame behind `address` in the mapping the kernel starts with; `None` outside.
#[must_use]
pub fn frame_at(address: VirtAddr) -> Option<Mfn> {
    let pfn = Pfn::new(address.value() / PAGE_SIZE);
    if pfn < start_info::mapped_end() { frame(pfn) } else { None }
}

/// The first pfn that the kernel's tables map nowhere: from here up to [`start_info::frames`] the domain's memory is
/// nobody's yet. The builder maps more than what the kernel knows the place of, so its tables are looked at.
#[must_use]
pub fn unmapped() -> Pfn {
    let is_mapped = |pfn: &u64| {
        let entry = tables::walk(VirtAddr::unchecked(pfn * PAGE_SIZE), Level::L1);
        entry.is_ok_and(|(_, pte)| pte.is_present())
    };
    Pfn::new((start_info::mapped_end().number()..).find(|pfn| !is_mapped(pfn)).unwrap_or(u64::MAX))
}

/// Where the mapping the kernel starts with has `frame`; `None` where it does not have it.
#[must_use]
pub fn address_of(frame: Mfn) -> Option<VirtAddr> {
    let pfn = pfn(frame)?;
    (pfn < start_info::mapped_end()).then(|| VirtAddr::unchecked(pfn.number() * PAGE_SIZE))
}
