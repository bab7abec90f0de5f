//! Page tables that map all of the guest's memory in one piece.
//!
//! The tables lie in frames of the guest themselves, so making one adds a frame that is to be
//! mapped: the plan grows until nothing is missing.

use std::collections::BTreeMap;

use hypercall::{Level, Mfn, PAGE_SHIFT, Pfn, Pte, PteFlags, VirtAddr};

use super::memory::Memory;
use crate::memory::{index_at, is_guest_address};

/// Entries that point to a table, in the form in which Xen stores them.
const TABLE: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER).union(PteFlags::ACCESSED_DIRTY);

/// The tables of a direct map, by level and by the address at which what they map starts.
#[derive(Debug)]
pub(super) struct DirectMap {
    at: VirtAddr,
    tables: BTreeMap<(Level, u64), Mfn>,
}

impl DirectMap {
    /// Plans tables for everything in `memory`, in frames it adds there. `None` where the map would
    /// leave the guest's range.
    pub(super) fn plan(at: VirtAddr, memory: &mut Memory) -> Option<Self> {
        let mut map = Self { at, tables: BTreeMap::new() };
        let mut planned = 0;
        while let Some((pfn, _)) = memory.get(planned) {
            let address = map.address(pfn)?;
            for level in [Level::L1, Level::L2, Level::L3] {
                map.tables.entry((level, start_of(level, address))).or_insert_with(|| memory.add_frame());
            }
            planned += 1;
        }
        Some(map)
    }

    fn address(&self, pfn: Pfn) -> Option<u64> {
        let address = self.at.value().checked_add(pfn.number().checked_mul(1 << PAGE_SHIFT)?)?;
        (is_guest_address(address) && VirtAddr::unchecked(address).is_canonical()).then_some(address)
    }

    /// The map's tables with their levels.
    pub(super) fn tables(&self) -> impl Iterator<Item = (Mfn, Level)> {
        self.tables.iter().map(|((level, _), table)| (*table, *level))
    }

    /// The entry that maps `pfn`, with the table it belongs into and its index.
    pub(super) fn entry(&self, pfn: Pfn, frame: Mfn, writable: bool) -> Option<(Mfn, usize, Pte)> {
        let address = self.address(pfn)?;
        let table = *self.tables.get(&(Level::L1, start_of(Level::L1, address)))?;
        let flags = TABLE | PteFlags::GUEST_KERNEL;
        let flags = if writable { flags } else { flags.without(PteFlags::RW) };
        Some((table, index_at(address, Level::L1), Pte::new(frame, flags)))
    }

    /// The entries by which the map's own L3 and L2 tables point downwards.
    pub(super) fn inner_entries(&self) -> impl Iterator<Item = (Mfn, usize, Pte)> {
        [Level::L2, Level::L3].into_iter().flat_map(move |parent| {
            let children = self.tables.iter().filter(move |((level, _), _)| Some(*level) == parent.below());
            children.filter_map(move |((_, start), child)| {
                let table = *self.tables.get(&(parent, start_of(parent, *start)))?;
                Some((table, index_at(*start, parent), Pte::new(*child, TABLE)))
            })
        })
    }

    /// The entries an L4 needs for the map.
    pub(super) fn root_entries(&self) -> impl Iterator<Item = (usize, Pte)> {
        let roots = self.tables.iter().filter(|((level, _), _)| *level == Level::L3);
        roots.map(|((_, start), table)| (index_at(*start, Level::L4), Pte::new(*table, TABLE)))
    }
}

/// The first address that the table of `level` for `address` maps.
const fn start_of(level: Level, address: u64) -> u64 {
    let bits = PAGE_SHIFT + 9 * level.number() as u32;
    address >> bits << bits
}
