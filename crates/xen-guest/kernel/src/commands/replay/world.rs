//! The guest of the trace, rebuilt in memory that the kernel does not use.
//!
//! Every frame with a name is empty and has its place in a direct map, writable unless it was a table when the trace
//! began. The kernel's root leads to that direct map, and so does every L4 of the trace from the moment it is going to be
//! one: [`World::copy_own`] gives it the kernel's own entries, without which loading it would be the kernel's end.

use hypercall::{
    DomId, ENTRIES_PER_TABLE, Errno, Level, Mfn, MmuUpdate, MmuextOp, Operation, PAGE_SIZE, Pte, PteFlags, PteSlot,
    Subject, VaFlush, VirtAddr, issue_operation, xen::Xen,
};
use mmu_replay::{KERNEL_ENTRIES, List, OWN_ENTRY, Older, XEN_ENTRIES, rename_word};
use xen_guest::memory::{Page, p2m, probe, tables, take_page};

use super::frames::{DIRECT_MAP, Frames};
use crate::error::Error;

/// The root's entry that leads to the direct map.
const ROOT_ENTRY: usize = (DIRECT_MAP >> 39) as usize % ENTRIES_PER_TABLE;
const WRITABLE: PteFlags =
    PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::ACCESSED).union(PteFlags::DIRTY).union(PteFlags::NX);
const READ_ONLY: PteFlags = PteFlags::PRESENT.union(PteFlags::ACCESSED).union(PteFlags::NX);
const TO_TABLE: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER).union(PteFlags::ACCESSED);

pub(super) struct World {
    frames: Frames,
    /// Where the kernel's root is mapped.
    root: VirtAddr,
}

impl World {
    /// Rebuilds the guest a list is for.
    pub(super) fn build(list: &List<'_>) -> Result<Self, Error> {
        let frames = Frames::take(list.head().frames)?;
        let root = p2m::address_of(tables::root()).ok_or(Error::Payload)?;
        let world = Self { frames, root };
        for name in frames.names() {
            let frame = frames.named(name).ok_or(Error::Payload)?;
            mmuext(MmuextOp::ClearPage { frame })?;
        }
        world.map()?;
        list.older(|older| world.older(&older))?;
        Ok(world)
    }

    pub(super) const fn frames(&self) -> &Frames {
        &self.frames
    }

    /// Makes the direct map, out of pages of the pool.
    fn map(&self) -> Result<(), Error> {
        let mut top = table()?;
        let mut middle = table()?;
        let mut bottom = None;
        for name in self.frames.names() {
            let place = name.number() as usize;
            let page: &mut Page = match bottom.take() {
                Some((number, page)) if number == place / ENTRIES_PER_TABLE => &mut bottom.insert((number, page)).1,
                full => {
                    finish(full, &mut middle)?;
                    &mut bottom.insert((place / ENTRIES_PER_TABLE, table()?)).1
                }
            };
            let frame = self.frames.named(name).ok_or(Error::Payload)?;
            page.write(place % ENTRIES_PER_TABLE, Pte::new(frame, WRITABLE).bits())?;
        }
        finish(bottom, &mut middle)?;
        finish(Some((0, middle)), &mut top)?;
        top.protect()?;
        let update = MmuUpdate::new(PteSlot::of(tables::root(), ROOT_ENTRY), Pte::new(top.frame(), TO_TABLE));
        Ok(issue(&Operation::Update { update, subject: Subject::SELF })?)
    }

    fn older(&self, older: &Older) -> Result<(), Error> {
        let table = self.frames.named(older.frame).ok_or(Error::Payload)?;
        if older.pinned == Some(Level::L4) && !self.copy_own(older.frame) {
            return Err(Error::Payload);
        }
        let va = Frames::address(older.frame);
        issue(&Operation::UpdateVaMapping { va, pte: Pte::new(table, READ_ONLY), flush: VaFlush::None })?;
        match older.pinned {
            Some(level) => Ok(mmuext(MmuextOp::Pin { level, table })?),
            None => Ok(()),
        }
    }

    /// Fills a frame with zeros. `false`, as below, where the kernel cannot write there.
    pub(super) fn zero(&self, name: Mfn) -> bool {
        let used = |index: &usize| self.entry(PteSlot::of(name, *index)) != 0;
        (0..ENTRIES_PER_TABLE).filter(used).all(|index| write(PteSlot::of(name, index), 0))
    }

    /// Whether a frame has the kernel's own entries.
    pub(super) fn is_root(&self, name: Mfn) -> bool {
        is_own(self.entry(PteSlot::of(name, ROOT_ENTRY)), self.own(ROOT_ENTRY))
    }

    /// The trace's entries in a frame that are not empty. In an L4, others are Xen's and the kernel's.
    pub(super) fn entries(&self, name: Mfn) -> impl Iterator<Item = (usize, u64)> + Clone {
        let traces = if self.is_root(name) { OWN_ENTRY + 1..XEN_ENTRIES.start } else { 0..ENTRIES_PER_TABLE };
        traces.map(move |index| (index, self.entry(PteSlot::of(name, index)))).filter(|(_, word)| *word != 0)
    }

    /// The kernel's own entries in a frame.
    pub(super) fn own_entries(&self, name: Mfn) -> impl Iterator<Item = usize> + Clone {
        let is_own = move |index: &usize| is_own(self.entry(PteSlot::of(name, *index)), self.own(*index));
        KERNEL_ENTRIES.filter(is_own)
    }

    /// Copies the kernel's own entries.
    pub(super) fn copy_own(&self, name: Mfn) -> bool {
        let own = KERNEL_ENTRIES.chain([OWN_ENTRY]);
        own.map(|index| (index, self.own(index)))
            .filter(|(_, word)| *word != 0)
            .all(|(index, word)| write(PteSlot::of(name, index), word))
    }

    /// The kernel's own L4 entry.
    pub(super) fn own(&self, index: usize) -> u64 {
        probe::load(VirtAddr::unchecked(self.root.value() + 8 * index as u64)).unwrap_or_default()
    }

    pub(super) fn store(&self, slot: PteSlot, value: u64) -> bool {
        rename_word(&self.frames, value).is_some_and(|word| write(slot, word))
    }

    /// An atomic, which Xen emulates in a table. Answers with what the entry held.
    pub(super) fn exchange(&self, slot: PteSlot, value: u64) -> Option<u64> {
        let word = rename_word(&self.frames, value)?;
        // SAFETY: as in `write`.
        unsafe { probe::exchange(address(slot), word) }.ok()
    }

    /// How the direct map has a frame.
    pub(super) fn mapping(&self, name: Mfn) -> Pte {
        tables::walk(Frames::address(name), Level::L1).map_or(Pte::EMPTY, |(_, pte)| pte)
    }

    /// Has the direct map map a frame writable; refused with [`Errno::BUSY`] while it is a table in use.
    pub(super) fn make_writable(&self, name: Mfn) -> Result<(), Errno> {
        let frame = self.frames.named(name).ok_or(Errno::INVAL)?;
        issue(&Operation::UpdateVaMapping {
            va: Frames::address(name),
            pte: Pte::new(frame, WRITABLE),
            flush: VaFlush::None,
        })
    }

    /// The entry in the frame with the slot's name; 0 where the direct map does not have it.
    pub(super) fn entry(&self, slot: PteSlot) -> u64 {
        probe::load(address(slot)).unwrap_or_default()
    }
}

/// Whether an entry is the kernel's own; the processor marks it as used by itself.
const fn is_own(word: u64, own: u64) -> bool {
    own != 0 && (word ^ own) & !PteFlags::ACCESSED_DIRTY.bits() == 0
}

fn address(slot: PteSlot) -> VirtAddr {
    VirtAddr::unchecked(Frames::address(slot.table()).value() + (8 * slot.index() as u64) % PAGE_SIZE)
}

fn write(slot: PteSlot, word: u64) -> bool {
    // SAFETY: frames with names are mapped in the direct map alone, and no reference leads there. Entries of the L4s
    // by which the kernel is mapped are written with the kernel's own alone.
    unsafe { probe::store(address(slot), word) }.is_ok()
}

fn table() -> Result<Page, Error> {
    take_page().ok_or(Error::NoPage)
}

/// Links a table that is complete, if there is one, into the one above.
fn finish(full: Option<(usize, Page)>, above: &mut Page) -> Result<(), Error> {
    let Some((index, mut page)) = full else { return Ok(()) };
    page.protect()?;
    Ok(above.write(index, Pte::new(page.frame(), TO_TABLE).bits())?)
}

fn issue(operation: &Operation) -> Result<(), Errno> {
    // SAFETY: 1. This is a kernel without a red zone. 2. What changes is the direct map and its frames, to which no
    // reference leads.
    let mut xen = unsafe { Xen::assume() };
    issue_operation(&mut xen, operation)
}

fn mmuext(op: MmuextOp) -> Result<(), Errno> {
    issue(&Operation::Mmuext { op, domain: DomId::SELF })
}
