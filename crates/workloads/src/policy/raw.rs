//! The limit of updating: what is to be handed over is there already, as one array, or one multicall of arrays.
//!
//! Everything but that call is left out of the measure: a table is made of the page before, entries are read
//! and the table is given up behind. So it is a limit for whoever updates entries, and no way to live by;
//! who builds a table instead of updating it can get below. Where there are TLBs to flush behind more updates than a table
//! has, the flush is a second call.

use hypercall::{
    Batch, ENTRIES_PER_TABLE, Hypervisor, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, Subject, UpdateCommand,
};

use super::Way;
use crate::{
    Error, Gathered, Ground, Job, Wish, Workload,
    ground::At,
    measure::{issue, mmuext, pin, remap, switch_loads, unpin},
};

/// Calls that are no updates: two for each table of the largest address space.
const CALLS: usize = 68;

/// What is to be handed over.
pub(crate) struct Raw {
    /// Updates in the ground's room.
    updates: usize,
    /// What goes with them or behind them.
    batch: Batch<ENTRIES_PER_TABLE, CALLS, 512>,
    /// What the entries of the first table hold before: an array does not tell.
    held: [Pte; ENTRIES_PER_TABLE],
}

/// What entry `n` of `table` is updated with.
fn update<G: Ground>(job: &Job, ground: &G, table: usize, n: usize) -> MmuUpdate {
    let workload = job.workload;
    let command = match workload.wish {
        Wish::Zap | Wish::ZapFlush | Wish::WriteProtect | Wish::Protect | Wish::Fork => UpdateCommand::PreserveAd,
        Wish::Move if table == 0 => UpdateCommand::PreserveAd,
        _ => UpdateCommand::Normal,
    };
    let value = workload.after(ground, table, n).unwrap_or_default();
    MmuUpdate::new(ground.slot(workload.at(table, n)).with_command(command), value)
}

fn updates<'j, G: Ground>(job: &'j Job, ground: &'j G) -> impl Iterator<Item = MmuUpdate> + 'j {
    let Workload { tables, entries, wish, .. } = job.workload;
    // A forked child's table is filled as a page.
    let tables = if wish == Wish::Fork { 1 } else { tables };
    (0..tables).flat_map(move |table| (0..entries).map(move |n| update(job, ground, table, n)))
}

/// What there is besides updates of entries, in its place before or behind them.
fn others<G: Ground>(job: &Job, ground: &G, batch: &mut Batch<ENTRIES_PER_TABLE, CALLS, 512>) -> Result<(), Error> {
    let mut push = |operation: &Operation| batch.push(operation);
    match job.workload.wish {
        Wish::Pin => {
            (0..job.workload.tables).try_for_each(|table| push(&remap(ground, table, PteFlags::NONE)))?;
            (0..job.workload.tables).try_for_each(|table| push(&pin(ground, table)))?;
        }
        Wish::Fork => {
            push(&remap(ground, 1, PteFlags::NONE))?;
            push(&pin(ground, 1))?;
        }
        Wish::Switch => switch_loads(ground).iter().try_for_each(push)?,
        Wish::ZapFlush | Wish::Protect | Wish::Move => push(&mmuext(MmuextOp::TlbFlushAll))?,
        _ => {}
    }
    Ok(())
}

/// An entry is emptied, its page flushed, and it is set.
fn copy_on_write<G: Ground>(
    job: &Job,
    ground: &G,
    batch: &mut Batch<ENTRIES_PER_TABLE, CALLS, 512>,
) -> Result<(), Error> {
    let set = update(job, ground, 0, 0);
    let clear = MmuUpdate { value: 0, slot: set.slot.with_command(UpdateCommand::PreserveAd) };
    batch.push_update(clear, Subject::SELF)?;
    batch.push(&mmuext(MmuextOp::InvlpgAll { address: ground.address(0) }))?;
    batch.push_update(set, Subject::SELF)?;
    Ok(())
}

impl Raw {
    /// Puts updates into the batch, or into the ground's room where there are too many.
    fn lay_out<G: Ground>(&mut self, job: &Job, ground: &G) -> Result<(), Error> {
        if job.workload.wish == Wish::Cow {
            return copy_on_write(job, ground, &mut self.batch);
        }
        let mut batch = Batch::new();
        others(job, ground, &mut batch)?;
        let count = updates(job, ground).count();
        if batch.is_empty() || count > ENTRIES_PER_TABLE {
            ground
                .scratch(|room| room.iter_mut().zip(updates(job, ground)).for_each(|(place, update)| *place = update));
            (self.updates, self.batch) = (count, batch);
            return Ok(());
        }
        updates(job, ground).try_for_each(|update| self.batch.push_update(update, Subject::SELF).map(drop))?;
        others(job, ground, &mut self.batch)
    }
}

/// Hands a batch over as it is.
fn hand_over<H: Hypervisor, const N: usize, const C: usize, const W: usize>(
    batch: &mut Batch<N, C, W>,
    hypervisor: &mut H,
) -> Result<(), Error> {
    if batch.len() == 1 {
        let outcome = batch.prepare_call(0, 0).map(|mut call| hypervisor.call(&mut call));
        return outcome.map_or(Ok(()), |outcome| Ok(outcome.result?));
    }
    Ok(hypervisor.multicall(&mut batch.prepare())?)
}

impl<G: Ground> Way<G> for Raw {
    fn prepare(job: &Job, ground: &G) -> Result<Self, Error> {
        let mut raw = Self { updates: 0, batch: Batch::new(), held: [Pte::EMPTY; ENTRIES_PER_TABLE] };
        match job.workload.wish {
            Wish::Build => {
                issue(ground, &remap(ground, 0, PteFlags::NONE))?;
                issue(ground, &pin(ground, 0))?;
            }
            Wish::Fork => {
                let mut all = job.indices().zip(job.wanted());
                all.try_for_each(|(index, pte)| ground.store(At { table: 1, index }, *pte))?;
            }
            _ => {}
        }
        if job.workload.gathers() {
            let mut all = job.indices().zip(&mut raw.held);
            all.try_for_each(|(index, held)| ground.load(At { table: 0, index }).map(|pte| *held = pte))?;
        }
        raw.lay_out(job, ground)?;
        Ok(raw)
    }

    fn work(&mut self, _: &Job, ground: &G, _: &mut Gathered) -> Result<(), Error> {
        let Self { updates, batch, .. } = self;
        if *updates > 0 {
            let issue = |room: &[MmuUpdate]| {
                let array = room.get(..*updates).unwrap_or_default();
                ground.hypervisor(|hypervisor| hypervisor.mmu_update(array, Subject::SELF)).result
            };
            ground.scratch(|room| issue(room))?;
        }
        if batch.is_empty() { Ok(()) } else { ground.hypervisor(|hypervisor| hand_over(batch, hypervisor)) }
    }

    fn finish(self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        for call in 0..self.batch.len() {
            self.batch.outcome(call).map_or(Ok(()), |outcome| outcome.result)?;
        }
        if job.workload.gathers() {
            self.held.iter().take(job.workload.entries).for_each(|pte| gathered.add(*pte));
        }
        if job.workload.wish == Wish::Retire {
            issue(ground, &unpin(ground, 0))?;
            issue(ground, &remap(ground, 0, PteFlags::RW))?;
        }
        Ok(())
    }
}
