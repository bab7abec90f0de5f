//! This library's way, as a caller written for it goes.

use hypercall::{ENTRIES_PER_TABLE, Level, MmuextOp, PteFlags, PteSlot};
use pv_mmu::{HeldBuffer, Mmu, Operations as _, ReadModifyWrite as _, Region, TaskState};

use super::Way;
use crate::{Error, Ground, Wish, Workload, measure::remap, workload::Gathered};

/// The task, and room for what a table held: a vCPU's own.
pub(crate) struct PvMmu {
    task: TaskState,
    buffer: HeldBuffer<ENTRIES_PER_TABLE>,
}

/// A page becomes a table.
fn begin_table<G: Ground>(ground: &G, region: &mut Region<'_, G::Platform>) {
    region.operation(&remap(ground, PteFlags::NONE));
    region.mmuext(MmuextOp::Pin { level: Level::L1, table: ground.table() });
}

/// A table becomes a page.
fn end_table<G: Ground>(ground: &G, region: &mut Region<'_, G::Platform>) {
    region.mmuext(MmuextOp::Unpin { table: ground.table() });
    region.operation(&remap(ground, PteFlags::RW));
}

fn store_all<G: Ground>(workload: Workload, ground: &G) -> Result<(), Error> {
    (0..workload.updates).try_for_each(|index| ground.store(index, workload.wanted(ground, index)))
}

impl Way for PvMmu {
    fn prepare<G: Ground>(_: Workload, _: &G) -> Result<Self, Error> {
        Ok(Self { task: TaskState::new(), buffer: HeldBuffer::new() })
    }

    fn work<G: Ground>(&mut self, workload: Workload, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let first = PteSlot::of(ground.table(), 0);
        if workload.wish == Wish::Build {
            store_all(workload, ground)?;
        }
        let mut region = Mmu::new(ground.platform()).enter(&mut self.task, ground.task());
        match workload.wish {
            Wish::Zap => {
                let mut harvest = region.harvest(&mut self.buffer);
                harvest.get_and_clear_range(first, workload.updates)?;
                harvest.finish().iter().for_each(|held| gathered.add(held.pte()));
            }
            Wish::WriteProtect => region.wrprotect_range(first, workload.updates)?,
            Wish::Build => begin_table(ground, &mut region),
            Wish::Retire => end_table(ground, &mut region),
            Wish::Rewrite => {
                end_table(ground, &mut region);
                region.flush();
                store_all(workload, ground)?;
                begin_table(ground, &mut region);
            }
        }
        region.leave()?;
        if workload.wish == Wish::Retire {
            return (0..workload.updates).try_for_each(|index| ground.load(index).map(|pte| gathered.add(pte)));
        }
        Ok(())
    }
}
