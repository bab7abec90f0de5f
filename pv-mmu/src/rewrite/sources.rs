//! What each operation makes of an entry.
//!
//! Every one of them reads the entry and asks for an update that keeps what the hardware notes in it
//! meanwhile. An entry that is not present gets no notes, and a normal update is exact there; a
//! preserving one would take bits 5 and 6 of a swap entry for notes.

use hypercall::{MmuUpdate, Pte, PteFlags, PteSlot, UpdateCommand};

use super::values::{Held, Known, Young};
use crate::{
    Platform,
    queue::{Change, Reading, Source},
};

/// Entry `n` of the range that begins at `first`, which stays within its table.
const fn entry(first: PteSlot, n: usize) -> PteSlot {
    PteSlot::of(first.table(), first.index() + n)
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
}

/// Modifies entries by what is known of them.
pub(super) struct Modify<'p, P, F> {
    pub(super) platform: &'p P,
    pub(super) first: PteSlot,
    pub(super) pte_of: F,
}

impl<P: Platform, F: FnMut(usize, Known) -> Option<Pte>> Source for Modify<'_, P, F> {
    fn slot(&self, n: usize) -> PteSlot {
        entry(self.first, n)
    }

    fn change(&mut self, n: usize, slot: PteSlot, reading: impl FnOnce() -> Reading) -> Change {
        let pte = match reading() {
            Reading::Flush => return Change::AfterFlush,
            Reading::Memory => self.platform.read_pte(slot),
            Reading::Pending(overlay) => overlay.over(self.platform.read_pte(slot)),
        };
        let known = Known::new(pte);
        (self.pte_of)(n, known).map_or(Change::Keep, |pte| Change::Set(replacing(slot, known, pte)))
    }
}

/// The entry in memory, where nothing is pending for it. What an operation tells of an entry for good
/// must not rest on an update that may yet be refused.
fn settled<P: Platform>(platform: &P, slot: PteSlot, reading: impl FnOnce() -> Reading) -> Option<Known> {
    (reading() == Reading::Memory).then(|| Known::new(platform.read_pte(slot)))
}

/// Empties entries and notes what they hold.
pub(super) struct Clear<'c, P> {
    pub(super) platform: &'c P,
    pub(super) first: PteSlot,
    /// Where it is noted.
    pub(super) cells: &'c mut [Held],
    /// How many cells are in use.
    pub(super) len: &'c mut usize,
}

impl<P: Platform> Source for Clear<'_, P> {
    fn slot(&self, n: usize) -> PteSlot {
        entry(self.first, n)
    }

    fn change(&mut self, _: usize, slot: PteSlot, reading: impl FnOnce() -> Reading) -> Change {
        let Some(known) = settled(self.platform, slot, reading) else { return Change::AfterFlush };
        if known.pte().is_none() {
            return Change::Keep;
        }
        if let Some(cell) = self.cells.get_mut(*self.len) {
            *cell = Held { slot, pte: known.pte() };
            *self.len += 1;
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
        let Some(known) = settled(self.platform, slot, reading) else { return Change::AfterFlush };
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
