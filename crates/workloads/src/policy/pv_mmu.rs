//! This library's way, as a caller written for it goes.

use hypercall::{ENTRIES_PER_TABLE, Level, MmuextOp, PteFlags, PteSlot, issue_operation};
use pv_mmu::{
    HeldBuffer, Mmu, Outside, ReadModifyWrite as _, TaskState,
    table::{Draft, Live, TableMemory},
};

use super::Way;
use crate::{
    Error, Ground, Wish, Workload,
    measure::{mmuext, remap},
    workload::Gathered,
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
    fn work<G: Ground<Memory = M>>(
        self,
        workload: Workload,
        ground: &G,
        outside: &mut Outside<'_, G::Platform>,
        gathered: &mut Gathered,
    ) -> Result<(), Error> {
        match self {
            Self::Draft(mut draft) => {
                (0..workload.updates).for_each(|index| draft.store(index, workload.wanted(ground, index)));
                draft.validate(outside).map(drop)?;
            }
            Self::Live(live) if workload.wish == Wish::Retire => {
                let draft = live.retire(outside)?;
                (0..workload.updates).for_each(|index| gathered.add(draft.load(index)));
            }
            Self::Live(live) => {
                let updates = workload.updates;
                live.rewrite(outside, updates, |index, _| (index < updates).then(|| workload.wanted(ground, index)))
                    .map(drop)?;
            }
        }
        Ok(())
    }
}

impl<G: Ground> Way<G> for PvMmu<G::Memory> {
    fn prepare(workload: Workload, ground: &G) -> Result<Self, Error> {
        let mut task = TaskState::new();
        let table = match workload.wish {
            Wish::Zap | Wish::WriteProtect => None,
            Wish::Build => Some(Table::Draft(Draft::new(ground.memory(), Level::L1))),
            Wish::Retire | Wish::Rewrite => Some(Table::Live(adopt(&mut task, ground)?)),
        };
        Ok(Self { task, table, buffer: HeldBuffer::new() })
    }

    fn work(&mut self, workload: Workload, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let library = Mmu::new(ground.platform());
        if let Some(table) = self.table.take() {
            let mut outside = library.outside(&mut self.task, ground.task());
            return table.work(workload, ground, &mut outside, gathered);
        }
        let first = PteSlot::of(ground.table(), 0);
        let mut region = library.enter(&mut self.task, ground.task());
        if workload.wish == Wish::WriteProtect {
            region.wrprotect_range(first, workload.updates)?;
        } else {
            let mut harvest = region.harvest(&mut self.buffer);
            harvest.get_and_clear_range(first, workload.updates)?;
            harvest.finish().iter().for_each(|held| gathered.add(held.pte()));
        }
        Ok(region.leave()?)
    }
}
