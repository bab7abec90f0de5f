//! What processors do to entries by themselves, and what becomes of it.
//!
//! A note is an accessed or dirty bit that a processor has set. The guest learns of it when it reads the
//! entry, or is told what an entry held that was emptied; until then it must not be overwritten (R11). A
//! translation may be used until it is flushed; the page it leads to must not be given to anybody else before (R12).

use hypercall::{Mfn, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};

use super::{Finding, Rule, state::State};

impl State {
    pub(super) fn noted(&mut self, slot: PteSlot, flags: PteFlags) {
        let notes = self.notes.entry(slot.address()).or_default();
        *notes = *notes | (flags & PteFlags::ACCESSED_DIRTY);
    }

    pub(super) fn seen(&mut self, slot: PteSlot, pte: Pte) {
        if let Some(notes) = self.notes.get_mut(&slot.address()) {
            *notes = notes.without(pte.flags());
        }
    }

    pub(super) fn seen_table(&mut self, table: Mfn) {
        self.notes.retain(|address, _| PteSlot::from_bits(*address).table() != table);
    }

    pub(super) fn replaced(&mut self, vcpu: VcpuId, slot: PteSlot, old: Pte, new: Pte) {
        let now = self.tick();
        let Some(notes) = self.notes.get_mut(&slot.address()) else { return };
        let lost = (*notes & old.flags()).without(new.flags());
        *notes = *notes & new.flags();
        if lost != PteFlags::NONE {
            let finding = Finding::NotesLost { entry: slot.address(), notes: lost.bits() };
            self.report_arrival(Rule::R11, None, Some(vcpu), now, finding);
        }
    }

    pub(super) fn released(&mut self, frame: Mfn) {
        self.tick();
        self.released.insert(frame);
    }

    pub(super) fn taken(&mut self, frame: Mfn) {
        self.tick();
        self.released.remove(&frame);
    }

    pub(super) fn used_stale(&mut self, vcpu: VcpuId, address: VirtAddr, frame: Mfn, is_store: bool) {
        let now = self.tick();
        if self.released.contains(&frame) {
            let finding = Finding::StaleUse { address, frame, is_store };
            self.report_arrival(Rule::R12, None, Some(vcpu), now, finding);
        }
    }
}
