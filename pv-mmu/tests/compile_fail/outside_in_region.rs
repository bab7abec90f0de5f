//! While a region is alive its task writes nothing past it.
use hypercall::{Pte, PteSlot, TaskContext};
use pv_mmu::{Mmu, Platform, TaskState};

fn past<P: Platform>(mmu: Mmu<'_, P>, task: &mut TaskState, context: &TaskContext, slot: PteSlot) {
    let region = mmu.enter(task, context);
    mmu.outside(task, context).set_pte(slot, Pte::EMPTY).map(|owed| owed.not_cached()).ok();
    drop(region);
}

fn main() {}
