//! No queue: each operation a hypercall of its own, as soon as it is asked for.

use hypercall::{Hypervisor as _, MmuUpdate, Operation, Pte, PteFlags, Subject, UpdateCommand, issue_operation};

use super::peer::Peer;
use crate::{Error, Ground, ground::At};

/// Keeps nothing.
pub(crate) struct Single;

fn replace<G: Ground>(ground: &G, at: At, by: impl FnOnce(Pte) -> Pte) -> Result<Pte, Error> {
    let held = ground.load(at)?;
    let slot = ground.slot(at).with_command(UpdateCommand::PreserveAd);
    Single.update_now(ground, MmuUpdate::new(slot, by(held)))?;
    Ok(held)
}

impl<G: Ground> Peer<G> for Single {
    fn new() -> Self {
        Self
    }

    fn update(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error> {
        self.update_now(ground, update)
    }

    fn update_now(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error> {
        Ok(ground.hypervisor(|hypervisor| hypervisor.mmu_update(&[update], Subject::SELF)).result?)
    }

    fn empty(&mut self, ground: &G, at: At) -> Result<Pte, Error> {
        let held = replace(ground, at, |_| Pte::EMPTY)?;
        let notes = ground.load(at)?.flags();
        Ok(held.with_flags(held.flags() | notes))
    }

    fn write_protect(&mut self, ground: &G, at: At) -> Result<(), Error> {
        replace(ground, at, |held| held.with_flags(held.flags().without(PteFlags::RW))).map(drop)
    }

    fn other(&mut self, ground: &G, operation: &Operation) -> Result<(), Error> {
        Ok(ground.hypervisor(|hypervisor| issue_operation(hypervisor, operation))?)
    }

    fn flush(&mut self, _: &G) -> Result<(), Error> {
        Ok(())
    }

    fn switch_begins(&mut self, _: &G) -> Result<(), Error> {
        Ok(())
    }
}
