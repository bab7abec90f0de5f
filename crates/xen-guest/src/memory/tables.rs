//! The kernel's own page tables, read where the domain's builder has mapped them.

use core::arch::asm;
use core::fmt;

use hypercall::{Level, Mfn, PAGE_SHIFT, Pte, PteSlot, VirtAddr};

use super::{Fault, p2m, probe};
use crate::start_info;

/// Why an entry cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// The entry's table is not in the mapping the kernel starts with.
    NotMapped(Mfn),
    /// Its table is, but the access faulted.
    Fault(Fault),
    /// On the way from the root, an entry of this level is not present.
    NotPresent(Level),
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotMapped(table) => write!(f, "the table in {table} is not in the kernel's mapping"),
            Self::Fault(fault) => write!(f, "the table is mapped, but: {fault}"),
            Self::NotPresent(level) => write!(f, "the {level} entry on the way is not present"),
        }
    }
}

impl core::error::Error for TableError {}

impl From<Fault> for TableError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The entry at `slot`, as it is in memory.
///
/// # Errors
/// [`TableError`].
pub fn read(slot: PteSlot) -> Result<Pte, TableError> {
    Ok(Pte::from_bits(probe::load(address_of(slot)?)?))
}

/// The frame of the L4 table the domain starts on, which every vCPU runs on.
#[must_use]
pub fn root() -> Mfn {
    p2m::frame_at(start_info::root()).unwrap_or_default()
}

/// The frame of the L4 table that the calling vCPU runs on: the root, unless a hypercall has loaded another.
#[must_use]
pub fn base() -> Mfn {
    let base: u64;
    // SAFETY: Xen emulates the instruction and answers with the guest's own table.
    unsafe { asm!("mov {}, cr3", out(reg) base, options(nomem, nostack, preserves_flags)) };
    Mfn::new(base >> PAGE_SHIFT)
}

/// The slot of `level` by which the kernel's tables translate `address`, and what it holds.
///
/// # Errors
/// [`TableError`].
pub fn walk(address: VirtAddr, level: Level) -> Result<(PteSlot, Pte), TableError> {
    let (mut table, mut at) = (root(), Level::L4);
    loop {
        let slot = PteSlot::of(table, index(address, at));
        let pte = read(slot)?;
        match at.below() {
            Some(_) if at > level && !pte.is_present() => return Err(TableError::NotPresent(at)),
            Some(below) if at > level => (table, at) = (pte.frame(), below),
            _ => return Ok((slot, pte)),
        }
    }
}

/// The number of the entry by which a table of `level` translates `address`.
const fn index(address: VirtAddr, level: Level) -> usize {
    let shift = PAGE_SHIFT + 9 * (level.number() as u32 - 1);
    (address.value() >> shift) as usize % hypercall::ENTRIES_PER_TABLE
}

fn address_of(slot: PteSlot) -> Result<VirtAddr, TableError> {
    let table = p2m::address_of(slot.table()).ok_or(TableError::NotMapped(slot.table()))?;
    Ok(VirtAddr::unchecked(table.value() + 8 * slot.index() as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_takes_nine_bits() {
        let address = VirtAddr::unchecked((5 << 39) | (6 << 30) | (7 << 21) | (8 << 12) | 0xfff);
        assert_eq!(Level::ALL.map(|level| index(address, level)), [8, 7, 6, 5]);
        assert_eq!(index(VirtAddr::unchecked(u64::MAX), Level::L4), 511);
    }
}
