//! What an emptied entry held has to be gathered before the entry is written again.
use hypercall::{Pte, PteSlot};
use pv_mmu::{HeldBuffer, Operations, Platform, ReadModifyWrite, Region};

fn overwrite<P: Platform>(region: &mut Region<'_, P>, slot: PteSlot, buffer: &mut HeldBuffer) {
    let mut harvest = region.harvest(buffer);
    let _ = harvest.get_and_clear(slot);
    region.set_pte(slot, Pte::EMPTY);
    harvest.finish();
}

fn main() {}
