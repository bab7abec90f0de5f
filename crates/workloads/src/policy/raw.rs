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
    Error, Gathered, Ground, Job, Wish,
    measure::{mmuext, remap},
};

/// The array.
pub(crate) struct Raw {
    updates: [MmuUpdate; ENTRIES_PER_TABLE],
    /// What the entries hold before: the array does not tell.
    held: [Pte; ENTRIES_PER_TABLE],
}

fn update<G: Ground>(job: &Job, ground: &G, index: usize) -> MmuUpdate {
    let (command, maps) = match job.wish {
        Wish::Zap => (UpdateCommand::PreserveAd, false),
        Wish::WriteProtect => (UpdateCommand::PreserveAd, true),
        Wish::Retire => (UpdateCommand::Normal, false),
        Wish::Build | Wish::Rewrite => (UpdateCommand::Normal, true),
    };
    let wanted = job.wanted().get(index).copied().filter(|_| maps);
    MmuUpdate::new(PteSlot::of(ground.table(), index).with_command(command), wanted.unwrap_or_default())
}

fn issue<G: Ground>(ground: &G, operations: [Operation; 2]) -> Result<(), Error> {
    let mut each = operations.iter();
    Ok(ground.hypervisor(|hypervisor| each.try_for_each(|operation| issue_operation(hypervisor, operation)))?)
}

impl<G: Ground> Way<G> for Raw {
    fn prepare(job: &Job, ground: &G) -> Result<Self, Error> {
        if job.wish == Wish::Build {
            let pin = MmuextOp::Pin { level: Level::L1, table: ground.table() };
            issue(ground, [remap(ground, PteFlags::NONE), mmuext(pin)])?;
        }
        let mut held = [Pte::EMPTY; ENTRIES_PER_TABLE];
        (0..job.updates()).zip(&mut held).try_for_each(|(index, held)| ground.load(index).map(|pte| *held = pte))?;
        Ok(Self { updates: core::array::from_fn(|index| update(job, ground, index)), held })
    }

    fn work(&mut self, job: &Job, ground: &G, _: &mut Gathered) -> Result<(), Error> {
        let updates = self.updates.get(..job.updates()).unwrap_or(&self.updates);
        Ok(ground.hypervisor(|hypervisor| hypervisor.mmu_update(updates, Subject::SELF)).result?)
    }

    fn finish(self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        if let Wish::Zap | Wish::Retire = job.wish {
            self.held.iter().take(job.updates()).for_each(|pte| gathered.add(*pte));
        }
        if job.wish == Wish::Retire {
            let unpin = MmuextOp::Unpin { table: ground.table() };
            issue(ground, [mmuext(unpin), remap(ground, PteFlags::RW)])?;
        }
        Ok(())
    }
}
