//! This library's way, as a caller written for it goes.

use hypercall::{ENTRIES_PER_TABLE, Level, MmuextOp, Pte, PteFlags, PteSlot};
use pv_mmu::{
    Held, HeldBuffer, Mmu, Operations as _, Platform, ReadModifyWrite as _, Region, TaskState,
    table::{Draft, Live, TableMemory},
};

use super::Way;
use crate::{
    Error, Gathered, Ground, Job, Wish,
    measure::{issue, pin, remap, stack, unpin},
};

/// Tables that are made in one hypercall: the queue has room for so many remappings, and one array of pins.
const PINNED_AT_ONCE: usize = 31;

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
    issue(ground, &unpin(ground, 0))?;
    issue(ground, &remap(ground, 0, PteFlags::RW))?;
    let mut outside = Mmu::new(ground.platform()).outside(task, ground.task());
    Ok(Draft::new(ground.memory(0), Level::L1).validate(&mut outside)?)
}

impl<M: TableMemory> Table<M> {
    fn work<P: Platform>(self, job: &Job, region: &mut Region<'_, P>, gathered: &mut Gathered) -> Result<(), Error> {
        match self {
            Self::Draft(mut draft) => {
                job.wanted().iter().enumerate().for_each(|(index, pte)| draft.store(index, *pte));
                draft.validate(region).map(drop)?;
            }
            Self::Live(live) if job.workload.wish == Wish::Retire => {
                let draft = live.retire(region)?;
                job.indices().for_each(|index| gathered.add(draft.load(index)));
            }
            Self::Live(live) => {
                let wanted = job.wanted();
                live.rewrite(region, wanted.len(), |index, _| wanted.get(index).copied()).map(drop)?;
            }
        }
        Ok(())
    }
}

impl<G: Ground> Way<G> for PvMmu<G::Memory> {
    fn prepare(job: &Job, ground: &G) -> Result<Self, Error> {
        let mut task = TaskState::new();
        let table = match job.workload.wish {
            Wish::Build => Some(Table::Draft(Draft::new(ground.memory(0), Level::L1))),
            Wish::Fork => Some(Table::Draft(Draft::new(ground.memory(1), Level::L1))),
            Wish::Retire | Wish::Rewrite if G::DOES => Some(Table::Live(adopt(&mut task, ground)?)),
            _ => None,
        };
        Ok(Self { task, table, buffer: HeldBuffer::new() })
    }

    /// Each caller is a function of its own, as it is in a kernel: none pays for another's room on the stack.
    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let Self { task, table, buffer } = self;
        match job.workload.wish {
            Wish::Nothing => nothing(ground, task),
            Wish::Outside => outside(job, ground, task),
            Wish::Fill => fill(job, ground, task),
            Wish::FillRange => set_range(job, ground, task),
            Wish::Switch => switch(job, ground, task),
            Wish::Zap | Wish::ZapFlush => zap(job, ground, task, buffer, gathered),
            Wish::WriteProtect => write_protect(job, ground, task),
            Wish::Protect => protect(job, ground, task),
            Wish::Move => move_all(job, ground, task, buffer, gathered),
            Wish::Cow => copy_on_write(job, ground, task, gathered),
            Wish::Pin => pin_all(job, ground, task),
            Wish::Fork | Wish::Build | Wish::Retire | Wish::Rewrite => {
                table.take().map_or(Ok(()), |table| live_and_die(job, ground, task, table, gathered))
            }
        }
    }
}

/// Does `work` in a region.
#[inline(always)]
fn in_region<G: Ground>(
    ground: &G,
    task: &mut TaskState,
    work: impl FnOnce(&mut Region<'_, G::Platform>) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut region = Mmu::new(ground.platform()).enter(task, ground.task());
    work(&mut region)?;
    Ok(region.leave()?)
}

#[inline(never)]
fn nothing<G: Ground>(ground: &G, task: &mut TaskState) -> Result<(), Error> {
    in_region(ground, task, |_| Ok(()))
}

#[inline(never)]
fn live_and_die<G: Ground>(
    job: &Job,
    ground: &G,
    task: &mut TaskState,
    table: Table<G::Memory>,
    gathered: &mut Gathered,
) -> Result<(), Error> {
    in_region(ground, task, |region| {
        if job.workload.wish == Wish::Fork {
            region.wrprotect_range(first(ground, 0), job.workload.entries)?;
        }
        table.work(job, region, gathered)
    })
}

fn first<G: Ground>(ground: &G, table: usize) -> PteSlot {
    PteSlot::of(ground.table(table), 0)
}

fn wanted(job: &Job) -> impl Fn(usize) -> Pte + '_ {
    let wanted = job.wanted();
    move |n| wanted.get(n).copied().unwrap_or_default()
}

fn set_all<G: Ground>(job: &Job, ground: &G, region: &mut Region<'_, G::Platform>) {
    for table in 0..job.workload.tables {
        let frame = ground.table(table);
        job.indices().zip(job.wanted()).for_each(|(index, pte)| region.set_pte(PteSlot::of(frame, index), *pte));
    }
}

#[inline(never)]
fn fill<G: Ground>(job: &Job, ground: &G, task: &mut TaskState) -> Result<(), Error> {
    in_region(ground, task, |region| {
        set_all(job, ground, region);
        Ok(())
    })
}

#[inline(never)]
fn set_range<G: Ground>(job: &Job, ground: &G, task: &mut TaskState) -> Result<(), Error> {
    in_region(ground, task, |region| Ok(region.set_ptes(first(ground, 0), job.workload.entries, wanted(job))?))
}

#[inline(never)]
fn outside<G: Ground>(job: &Job, ground: &G, task: &mut TaskState) -> Result<(), Error> {
    let mut outside = Mmu::new(ground.platform()).outside(task, ground.task());
    match job.wanted() {
        [pte] => outside.set_pte(first(ground, 0), *pte)?.not_cached(),
        many => outside.set_ptes(first(ground, 0), many.len(), wanted(job))?.not_cached(),
    }
    Ok(())
}

#[inline(never)]
fn switch<G: Ground>(job: &Job, ground: &G, task: &mut TaskState) -> Result<(), Error> {
    in_region(ground, task, |region| {
        set_all(job, ground, region);
        let (root, (ss, sp)) = (ground.root(), stack(ground));
        let mut switch = Mmu::new(ground.platform()).switch(ground.switching());
        switch.base_pointers(root, hypercall::Mfn::new(0));
        switch.stack(ss, sp);
        switch.finish();
        Ok(())
    })
}

/// Empties the entries of the first table and tells what they held.
#[inline(always)]
fn clear<'b, G: Ground>(
    job: &Job,
    ground: &G,
    region: &mut Region<'_, G::Platform>,
    buffer: &'b mut HeldBuffer<ENTRIES_PER_TABLE>,
    gathered: &mut Gathered,
) -> Result<&'b [Held], Error> {
    let mut harvest = region.harvest(buffer);
    harvest.get_and_clear_range(first(ground, 0), job.workload.entries)?;
    if job.workload.wish == Wish::ZapFlush {
        harvest.flush_tlbs();
    }
    let held = harvest.finish();
    held.iter().for_each(|held| gathered.add(held.pte()));
    Ok(held)
}

#[inline(never)]
fn zap<G: Ground>(
    job: &Job,
    ground: &G,
    task: &mut TaskState,
    buffer: &mut HeldBuffer<ENTRIES_PER_TABLE>,
    gathered: &mut Gathered,
) -> Result<(), Error> {
    in_region(ground, task, |region| clear(job, ground, region, buffer, gathered).map(drop))
}

#[inline(never)]
fn write_protect<G: Ground>(job: &Job, ground: &G, task: &mut TaskState) -> Result<(), Error> {
    in_region(ground, task, |region| Ok(region.wrprotect_range(first(ground, 0), job.workload.entries)?))
}

#[inline(never)]
fn protect<G: Ground>(job: &Job, ground: &G, task: &mut TaskState) -> Result<(), Error> {
    in_region(ground, task, |region| {
        for table in 0..job.workload.tables {
            let pte_of = wanted(job);
            let protected = |n, known: pv_mmu::Known| Some(pte_of(n).with_flags(known.flags().without(PteFlags::RW)));
            region.modify_range(first(ground, table), job.workload.entries, protected)?;
        }
        region.mmuext(MmuextOp::TlbFlushAll);
        Ok(())
    })
}

#[inline(never)]
fn move_all<G: Ground>(
    job: &Job,
    ground: &G,
    task: &mut TaskState,
    buffer: &mut HeldBuffer<ENTRIES_PER_TABLE>,
    gathered: &mut Gathered,
) -> Result<(), Error> {
    in_region(ground, task, |region| {
        let held = clear(job, ground, region, buffer, gathered)?;
        region.set_ptes(first(ground, 1), held.len(), |n| held.get(n).map_or(Pte::EMPTY, |held| held.pte()))?;
        region.mmuext(MmuextOp::TlbFlushAll);
        Ok(())
    })
}

/// Nothing is gained by a region: what the entry held has to be known before it is set again.
#[inline(never)]
fn copy_on_write<G: Ground>(job: &Job, ground: &G, task: &mut TaskState, gathered: &mut Gathered) -> Result<(), Error> {
    let slot = first(ground, 0);
    let mut outside = Mmu::new(ground.platform()).outside(task, ground.task());
    let (held, owed) = outside.get_and_clear(slot)?;
    gathered.add(held.pte());
    owed.flush_page_everywhere(ground.address(0))?;
    outside.set_pte(slot, wanted(job)(0))?.not_cached();
    Ok(())
}

/// As many as fit go out together.
#[inline(never)]
fn pin_all<G: Ground>(job: &Job, ground: &G, task: &mut TaskState) -> Result<(), Error> {
    in_region(ground, task, |region| {
        for start in (0..job.workload.tables).step_by(PINNED_AT_ONCE) {
            let group = start..job.workload.tables.min(start + PINNED_AT_ONCE);
            group.clone().for_each(|table| region.operation(&remap(ground, table, PteFlags::NONE)));
            group.for_each(|table| region.operation(&pin(ground, table)));
        }
        Ok(())
    })
}
