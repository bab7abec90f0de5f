//! What each operation makes of an entry.
//!
//! Every one of them reads the entry and asks for an update that keeps what the hardware notes in it
//! meanwhile. An entry that is not present gets no notes, and a normal update is exact there; a
//! preserving one would take bits 5 and 6 of a swap entry for notes.

use core::slice::IterMut;

use hypercall::{MmuUpdate, Pte, PteFlags, PteSlot, UpdateCommand};

use super::values::{Held, Known, Young};
use crate::{
    Platform,
    queue::{Change, Reading, Source},
};

/// Entry `n` of the range that begins at `first`, which stays within its table.
const fn entry(first: PteSlot, n: usize) -> PteSlot {
    PteSlot::from_bits(first.address() + 8 * n as u64)
}

/// The update that replaces `known` and loses nothing the hardware may note until then.
pub(super) const fn replacing(slot: PteSlot, known: Known, pte: Pte) -> MmuUpdate {
    let command = if known.is_present() { UpdateCommand::PreserveAd } else { UpdateCommand::Normal };
    MmuUpdate::new(slot.with_command(command), pte)
}

/// Sets entries, whatever they hold.
pub(crate) struct SetEntries<F> {
    pub(crate) first: PteSlot,
    pub(crate) pte_of: F,
}

impl<F: FnMut(usize) -> Pte> Source for SetEntries<F> {
    fn slot(&self, n: usize) -> PteSlot {
        entry(self.first, n)
    }

    fn change(&mut self, n: usize, slot: PteSlot, _: impl FnOnce() -> Reading) -> Change {
        Change::Set(MmuUpdate::new(slot, (self.pte_of)(n)))
    }

    #[inline]
    fn write(&mut self, n: usize, places: &mut [MmuUpdate]) -> bool {
        for (n, place) in (n..).zip(places) {
            *place = MmuUpdate::new(entry(self.first, n), (self.pte_of)(n));
        }
        true
    }
}

/// Modifies entries by what is known of them.
pub(super) struct Modify<R, F> {
    /// Reads the table's entries.
    pub(super) read: R,
    pub(super) first: PteSlot,
    pub(super) pte_of: F,
}

impl<R: Fn(usize) -> Pte, F: FnMut(usize, Known) -> Option<Pte>> Source for Modify<R, F> {
    fn slot(&self, n: usize) -> PteSlot {
        entry(self.first, n)
    }

    fn change(&mut self, n: usize, slot: PteSlot, reading: impl FnOnce() -> Reading) -> Change {
        let pte = match reading() {
            Reading::Flush => return Change::AfterFlush,
            Reading::Memory => (self.read)(self.first.index() + n),
            Reading::Pending(overlay) => overlay.over((self.read)(self.first.index() + n)),
        };
        let known = Known::new(pte);
        (self.pte_of)(n, known).map_or(Change::Keep, |pte| Change::Set(replacing(slot, known, pte)))
    }
}

/// The entry in memory, where nothing is pending for it. What an operation tells of an entry for good
/// must not rest on an update that may yet be refused.
fn settled(read: impl FnOnce() -> Pte, reading: impl FnOnce() -> Reading) -> Option<Known> {
    (reading() == Reading::Memory).then(|| Known::new(read()))
}

/// Empties entries and notes what they hold.
pub(super) struct Clear<'c, R> {
    /// Reads the table's entries.
    pub(super) read: R,
    pub(super) first: PteSlot,
    /// Where it is noted: cells that are free.
    pub(super) cells: IterMut<'c, Held>,
}

impl<R: Fn(usize) -> Pte> Source for Clear<'_, R> {
    fn slot(&self, n: usize) -> PteSlot {
        entry(self.first, n)
    }

    fn change(&mut self, n: usize, slot: PteSlot, reading: impl FnOnce() -> Reading) -> Change {
        let Some(known) = settled(|| (self.read)(self.first.index() + n), reading) else { return Change::AfterFlush };
        if known.pte().is_none() {
            return Change::Keep;
        }
        if let Some(cell) = self.cells.next() {
            *cell = Held { slot, pte: known.pte() };
        }
        Change::Set(replacing(slot, known, Pte::EMPTY))
    }
}

/// Empties what is left of entries that hold notes and nothing else.
pub(super) struct Clean<'c> {
    pub(super) cells: &'c [Held],
}

impl Source for Clean<'_> {
    fn slot(&self, n: usize) -> PteSlot {
        self.cells.get(n).map_or(PteSlot::from_bits(0), |cell| cell.slot)
    }

    fn change(&mut self, n: usize, slot: PteSlot, _: impl FnOnce() -> Reading) -> Change {
        match self.cells.get(n) {
            Some(cell) if cell.pte.flags() & PteFlags::ACCESSED_DIRTY != PteFlags::NONE => {
                Change::Set(MmuUpdate::new(slot, Pte::EMPTY))
            }
            _ => Change::Keep,
        }
    }
}

/// Takes the accessed bit from entries.
///
/// A preserving update cannot: it keeps both bits. A normal one would lose a dirty bit set since the
/// entry was read, unless none can be: where the bit is set already, or the entry not writable. Any
/// other entry is first made so, by a preserving update that takes the right to store.
pub(super) struct Age<'a, P> {
    pub(super) platform: &'a P,
    pub(super) first: PteSlot,
    /// Entries that were used.
    pub(super) young: &'a mut Young,
    /// Those of them that are read-only now and have to become writable again.
    pub(super) frozen: &'a mut Young,
}

impl<P: Platform> Source for Age<'_, P> {
    fn slot(&self, n: usize) -> PteSlot {
        entry(self.first, n)
    }

    fn change(&mut self, n: usize, slot: PteSlot, reading: impl FnOnce() -> Reading) -> Change {
        let Some(known) = settled(|| self.platform.read_pte(slot), reading) else { return Change::AfterFlush };
        let noted = known.noted_so_far();
        if !known.is_present() || !noted.contains(PteFlags::ACCESSED) {
            return Change::Keep;
        }
        self.young.add(n);
        if known.is_writable() && !noted.contains(PteFlags::DIRTY) {
            self.frozen.add(n);
            return Change::Set(replacing(slot, known, known.write_protected()));
        }
        Change::Set(MmuUpdate::new(slot, old(known.pte())))
    }
}

/// The entry as if it had not been used.
const fn old(pte: Pte) -> Pte {
    pte.with_flags(pte.flags().without(PteFlags::ACCESSED))
}

/// Gives the right to store back to entries that [`Age`] took it from, without the accessed bit.
pub(super) struct Thaw<'a, P> {
    pub(super) platform: &'a P,
    pub(super) first: PteSlot,
    pub(super) frozen: &'a Young,
}

impl<P: Platform> Source for Thaw<'_, P> {
    fn slot(&self, n: usize) -> PteSlot {
        entry(self.first, n)
    }

    fn change(&mut self, n: usize, slot: PteSlot, _: impl FnOnce() -> Reading) -> Change {
        if !self.frozen.contains(n) {
            return Change::Keep;
        }
        let pte = self.platform.read_pte(slot);
        // Still writable: taking the right was refused, and the entry is as it was.
        if !pte.is_present() || pte.flags().contains(PteFlags::RW) {
            return Change::Keep;
        }
        Change::Set(MmuUpdate::new(slot, old(pte.with_flags(pte.flags() | PteFlags::RW))))
    }
}
