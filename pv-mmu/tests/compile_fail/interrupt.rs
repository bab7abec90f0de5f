//! R6: an interrupt handler enters no region.
use hypercall::InterruptContext;
use pv_mmu::{Mmu, Platform, TaskState};

fn handler<P: Platform>(mmu: Mmu<'_, P>, task: &mut TaskState, context: &InterruptContext) {
    let region = mmu.enter(task, context);
    drop(region);
}

fn main() {}
