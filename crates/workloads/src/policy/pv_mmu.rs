//! This library's way, as a caller written for it goes.

use hypercall::{ENTRIES_PER_TABLE, Level, MmuextOp, PteFlags, PteSlot, issue_operation};
use pv_mmu::{
    HeldBuffer, Mmu, Outside, Platform, ReadModifyWrite as _, TaskState,
    table::{Draft, Live, TableMemory},
};

use super::Way;
use crate::{
    Error, Gathered, Ground, Job, Wish,
    measure::{mmuext, remap},
};

/// The task, its table, and room for what that held: a vCPU's own.
pub(crate) struct PvMmu<M> {
    task: TaskState,
    table: Option<Table<M>>,
    buffer: HeldBuffer<ENTRIES_PER_TABLE>,
}

/// The table, where its life is what is measured.
enum Table<M> {
    Draft(Draft<M>),
    Live(Live<M>),
}

/// A table that the library has not made live is given up, for the library to do it.
fn adopt<G: Ground>(task: &mut TaskState, ground: &G) -> Result<Live<G::Memory>, Error> {
    let unpin = mmuext(MmuextOp::Unpin { table: ground.table() });
    ground.hypervisor(|hypervisor| issue_operation(hypervisor, &unpin))?;
    ground.hypervisor(|hypervisor| issue_operation(hypervisor, &remap(ground, PteFlags::RW)))?;
    let mut outside = Mmu::new(ground.platform()).outside(task, ground.task());
    Ok(Draft::new(ground.memory(), Level::L1).validate(&mut outside)?)
}

impl<M: TableMemory> Table<M> {
    fn work<P: Platform>(self, job: &Job, outside: &mut Outside<'_, P>, gathered: &mut Gathered) -> Result<(), Error> {
        match self {
            Self::Draft(mut draft) => {
                job.wanted().iter().enumerate().for_each(|(index, pte)| draft.store(index, *pte));
                draft.validate(outside).map(drop)?;
            }
            Self::Live(live) if job.wish == Wish::Retire => {
                let draft = live.retire(outside)?;
                (0..job.updates()).for_each(|index| gathered.add(draft.load(index)));
            }
            Self::Live(live) => {
                live.rewrite(outside, job.updates(), |index, _| job.wanted().get(index).copied()).map(drop)?;
            }
        }
        Ok(())
    }
}

impl<G: Ground> Way<G> for PvMmu<G::Memory> {
    fn prepare(job: &Job, ground: &G) -> Result<Self, Error> {
        let mut task = TaskState::new();
        let table = match job.wish {
            Wish::Zap | Wish::WriteProtect => None,
            Wish::Build => Some(Table::Draft(Draft::new(ground.memory(), Level::L1))),
            Wish::Retire | Wish::Rewrite => Some(Table::Live(adopt(&mut task, ground)?)),
        };
        Ok(Self { task, table, buffer: HeldBuffer::new() })
    }

    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let library = Mmu::new(ground.platform());
        if let Some(table) = self.table.take() {
            let mut outside = library.outside(&mut self.task, ground.task());
            return table.work(job, &mut outside, gathered);
        }
        let first = PteSlot::of(ground.table(), 0);
        let mut region = library.enter(&mut self.task, ground.task());
        if job.wish == Wish::WriteProtect {
            region.wrprotect_range(first, job.updates())?;
        } else {
            let mut harvest = region.harvest(&mut self.buffer);
            harvest.get_and_clear_range(first, job.updates())?;
            harvest.finish().iter().for_each(|held| gathered.add(held.pte()));
        }
        Ok(region.leave()?)
    }
}
