//! A write outside a region insists on an answer to the TLB question.
#![deny(unused_must_use)]
use hypercall::{Pte, PteSlot, TaskContext};
use pv_mmu::{Failure, Mmu, Platform, TaskState};

fn forgets<P: Platform>(
    mmu: Mmu<'_, P>,
    task: &mut TaskState,
    context: &TaskContext,
    slot: PteSlot,
) -> Result<(), Failure> {
    let mut outside = mmu.outside(task, context);
    outside.set_pte(slot, Pte::EMPTY)?;
    Ok(())
}

fn main() {}
