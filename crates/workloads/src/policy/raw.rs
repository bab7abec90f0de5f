//! The limit of updating: one array that is there already, and one call.
//!
//! Everything but that call is left out of the measure: a table is made of the page before, entries are read
//! and the table is given up behind. So it is a limit for whoever updates entries, and no way to live by;
//! who builds a table instead of updating it can get below.

use hypercall::{
    ENTRIES_PER_TABLE, Hypervisor as _, Level, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, PteSlot, Subject,
    UpdateCommand, issue_operation,
};

use super::Way;
use crate::{
    Error, Ground, Wish, Workload,
    measure::{mmuext, remap},
    workload::Gathered,
};

/// The array.
pub(crate) struct Raw {
    updates: [MmuUpdate; ENTRIES_PER_TABLE],
}

fn update<G: Ground>(workload: Workload, ground: &G, index: usize) -> MmuUpdate {
    let slot = PteSlot::of(ground.table(), index);
    match workload.wish {
        Wish::Zap => MmuUpdate::new(slot.with_command(UpdateCommand::PreserveAd), Pte::EMPTY),
        Wish::WriteProtect => {
            MmuUpdate::new(slot.with_command(UpdateCommand::PreserveAd), workload.wanted(ground, index))
        }
        Wish::Retire => MmuUpdate::new(slot, Pte::EMPTY),
        Wish::Build | Wish::Rewrite => MmuUpdate::new(slot, workload.wanted(ground, index)),
    }
}

fn issue<G: Ground>(ground: &G, operations: [Operation; 2]) -> Result<(), Error> {
    let mut each = operations.iter();
    Ok(ground.hypervisor(|hypervisor| each.try_for_each(|operation| issue_operation(hypervisor, operation)))?)
}

/// What an entry held before: the array does not tell.
fn gather<G: Ground>(workload: Workload, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
    for index in 0..workload.updates {
        let (left, before) = (ground.load(index)?, workload.before(ground, index).unwrap_or_default());
        gathered.add(if left.is_none() { before } else { left });
    }
    Ok(())
}

impl<G: Ground> Way<G> for Raw {
    fn prepare(workload: Workload, ground: &G) -> Result<Self, Error> {
        if workload.wish == Wish::Build {
            let pin = MmuextOp::Pin { level: Level::L1, table: ground.table() };
            issue(ground, [remap(ground, PteFlags::NONE), mmuext(pin)])?;
        }
        Ok(Self { updates: core::array::from_fn(|index| update(workload, ground, index)) })
    }

    fn work(&mut self, workload: Workload, ground: &G, _: &mut Gathered) -> Result<(), Error> {
        let updates = self.updates.get(..workload.updates).unwrap_or(&self.updates);
        Ok(ground.hypervisor(|hypervisor| hypervisor.mmu_update(updates, Subject::SELF)).result?)
    }

    fn finish(self, workload: Workload, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        if workload.gathers() {
            gather(workload, ground, gathered)?;
        }
        if workload.wish == Wish::Retire {
            let unpin = MmuextOp::Unpin { table: ground.table() };
            issue(ground, [mmuext(unpin), remap(ground, PteFlags::RW)])?;
        }
        Ok(())
    }
}
