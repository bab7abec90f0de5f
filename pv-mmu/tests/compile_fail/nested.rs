//! R4: a region never nests.
use hypercall::TaskContext;
use pv_mmu::{Mmu, Platform, TaskState};

fn nested<P: Platform>(mmu: Mmu<'_, P>, task: &mut TaskState, context: &TaskContext) {
    let outer = mmu.enter(task, context);
    let inner = mmu.enter(task, context);
    drop(inner);
    drop(outer);
}

fn main() {}
