//! No queue: each operation a hypercall of its own, as soon as it is asked for.

use hypercall::{
    Level, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, PteSlot, Subject, UpdateCommand, issue_operation,
};

use super::Way;
use crate::{
    Error, Gathered, Ground, Job, Wish,
    measure::{mmuext, remap},
};

/// Keeps nothing.
pub(crate) struct Single;

fn issue<G: Ground>(ground: &G, operation: &Operation) -> Result<(), Error> {
    Ok(ground.hypervisor(|hypervisor| issue_operation(hypervisor, operation))?)
}

fn update<G: Ground>(ground: &G, index: usize, command: UpdateCommand, pte: Pte) -> Result<(), Error> {
    let slot = PteSlot::of(ground.table(), index).with_command(command);
    issue(ground, &Operation::Update { update: MmuUpdate::new(slot, pte), subject: Subject::SELF })
}

fn empty<G: Ground>(ground: &G, index: usize, gathered: &mut Gathered) -> Result<(), Error> {
    let held = ground.load(index)?;
    update(ground, index, UpdateCommand::PreserveAd, Pte::EMPTY)?;
    let notes = ground.load(index)?.flags();
    gathered.add(held.with_flags(held.flags() | notes));
    Ok(())
}

impl<G: Ground> Way<G> for Single {
    fn prepare(_: &Job, _: &G) -> Result<Self, Error> {
        Ok(Self)
    }

    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let table = ground.table();
        let mut entries = 0..job.updates();
        let mut wanted = job.wanted().iter().enumerate();
        let set = |(index, pte): (usize, &Pte)| update(ground, index, UpdateCommand::Normal, *pte);
        match job.wish {
            Wish::Zap => entries.try_for_each(|index| empty(ground, index, gathered)),
            Wish::WriteProtect => entries.try_for_each(|index| {
                let held = ground.load(index)?;
                let protected = held.with_flags(held.flags().without(PteFlags::RW));
                update(ground, index, UpdateCommand::PreserveAd, protected)
            }),
            Wish::Build => {
                issue(ground, &remap(ground, PteFlags::NONE))?;
                issue(ground, &mmuext(MmuextOp::Pin { level: Level::L1, table }))?;
                wanted.try_for_each(set)
            }
            Wish::Retire => {
                entries.try_for_each(|index| empty(ground, index, gathered))?;
                issue(ground, &mmuext(MmuextOp::Unpin { table }))?;
                issue(ground, &remap(ground, PteFlags::RW))
            }
            Wish::Rewrite => wanted.try_for_each(set),
        }
    }
}
