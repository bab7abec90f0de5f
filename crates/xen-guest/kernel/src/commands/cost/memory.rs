//! Accesses to tables as memory: plain ones to a page, and those to a live table, which Xen traps and
//! emulates.

use hypercall::{ENTRIES_PER_TABLE, Pte, TaskContext, VirtAddr};
use xen_guest::memory::{Fault, Page, probe, take_page};

use super::{
    SIZES,
    arrays::{Change, Content, Frames, set},
    issuer::Issuer,
    meter::{Meter, ticks},
};
use crate::{error::Error, mmu};

/// An access of the word at an address that leaves the entry in it.
type Access = fn(VirtAddr, Pte) -> Result<(), Fault>;

fn store(address: VirtAddr, pte: Pte) -> Result<(), Fault> {
    // SAFETY: the words accessed here are of pages of the pool.
    unsafe { probe::store(address, pte.bits()) }
}

fn exchange(address: VirtAddr, pte: Pte) -> Result<(), Fault> {
    // SAFETY: as in `store`.
    unsafe { probe::exchange(address, pte.bits()) }.map(drop)
}

fn and(address: VirtAddr, pte: Pte) -> Result<(), Fault> {
    // SAFETY: as in `store`.
    unsafe { probe::and(address, pte.bits()) }
}

fn clear_writable(address: VirtAddr, _: Pte) -> Result<(), Fault> {
    // SAFETY: as in `store`.
    unsafe { probe::clear_writable(address) }
}

const TRAPPED: [(&str, Access, Change); 9] = [
    ("store", store, ("flags-ro", Content::ReadOnly, Content::ReadOnlyMarked)),
    ("store", store, ("map-ro", Content::Empty, Content::ReadOnly)),
    ("exchange", exchange, ("unmap-ro", Content::ReadOnly, Content::Empty)),
    ("exchange", exchange, ("unmap-rw", Content::Writable, Content::Empty)),
    ("exchange", exchange, ("remap-ro", Content::ReadOnly, Content::ReadOnlyOther)),
    ("exchange", exchange, ("map-ro", Content::Empty, Content::ReadOnly)),
    ("and", and, ("protect", Content::Writable, Content::ReadOnly)),
    ("and-byte", clear_writable, ("protect", Content::Writable, Content::ReadOnly)),
    ("and", and, ("flags-ro", Content::ReadOnlyMarked, Content::ReadOnly)),
];

fn each(page: &Page, count: usize, pte: Pte, access: Access) -> Result<(), Fault> {
    let address = |index: usize| VirtAddr::unchecked(page.address().value() + 8 * index as u64);
    (0..count).try_for_each(|index| access(address(index), pte))
}

pub(super) fn measure(context: &TaskContext, issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let table = mmu::pinned_table(context)?;
    let frames = Frames::take()?;
    for (name, access, (change, from, to)) in TRAPPED {
        for size in SIZES {
            meter.row(format_args!("trapped/{name}/{change}"), size, || {
                set(issuer, &table, size, frames.pte(from))?;
                ticks(|| each(&table, size, frames.pte(to), access))
            })?;
        }
    }
    set(issuer, &table, ENTRIES_PER_TABLE, Pte::EMPTY)?;
    let page = take_page().ok_or(Error::NoPage)?;
    let load: Access = |address, _| probe::load(address).map(drop);
    for (name, access) in [("store", store as Access), ("load", load)] {
        for size in SIZES {
            meter.row(format_args!("plain/{name}"), size, || ticks(|| each(&page, size, Pte::EMPTY, access)))?;
        }
    }
    Ok(())
}
