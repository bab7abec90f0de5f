//! A queue of updates, and nothing else in it: whatever is not an update hands the queue over first and goes out by
//! itself.
//!
//! NetBSD's `xpq_queue` (2048 updates on each vCPU, `x86_xpmap.c`), FreeBSD's (128, its i386 `pmap`) and libxc's
//! (1024 for each handle, `xc_add_mmu_update`). None of them knows regions: what a region is here is what they queue
//! until somebody hands it over. What a kernel does by an atomic elsewhere is a read and
//! an update of one.

use hypercall::{Hypervisor as _, MmuUpdate, Operation, Pte, PteFlags, PteSlot, Subject, issue_operation};
use pv_mmu::Platform as _;

use super::peer::Peer;
use crate::{Error, Ground, ground::At};

/// NetBSD's.
pub(crate) type NetBsd = Queue<2048, true>;
/// FreeBSD's.
pub(crate) type FreeBsd = Queue<128, true>;
/// libxc's, which is a process's own.
pub(crate) type Libxc = Queue<1024, false>;

/// Up to `N` updates; `MASKS`: interrupts are off while one is put in (`splvm`, `critical_enter`).
pub(crate) struct Queue<const N: usize, const MASKS: bool> {
    updates: [MmuUpdate; N],
    used: usize,
}

impl<const N: usize, const MASKS: bool> Queue<N, MASKS> {
    #[inline]
    fn push<G: Ground>(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error> {
        if MASKS {
            ground.platform().with_vcpu(|_, _| self.put(update));
        } else {
            self.put(update);
        }
        if self.used == N { self.hand_over(ground) } else { Ok(()) }
    }

    #[inline]
    fn put(&mut self, update: MmuUpdate) {
        if let Some(place) = self.updates.get_mut(self.used) {
            *place = update;
            self.used += 1;
        }
    }

    fn hand_over<G: Ground>(&mut self, ground: &G) -> Result<(), Error> {
        let updates = self.updates.get(..self.used).unwrap_or(&self.updates);
        self.used = 0;
        if updates.is_empty() {
            return Ok(());
        }
        Ok(ground.platform().with_vcpu(|_, hypervisor| hypervisor.mmu_update(updates, Subject::SELF)).result?)
    }

    fn replace<G: Ground>(&mut self, ground: &G, at: At, by: impl FnOnce(Pte) -> Pte) -> Result<Pte, Error> {
        let held = ground.load(at)?;
        self.update_now(ground, MmuUpdate::new(ground.slot(at), by(held)))?;
        Ok(held)
    }
}

impl<G: Ground, const N: usize, const MASKS: bool> Peer<G> for Queue<N, MASKS> {
    fn new() -> Self {
        Self { updates: [MmuUpdate::new(PteSlot::from_bits(0), Pte::EMPTY); N], used: 0 }
    }

    #[inline]
    fn update(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error> {
        self.push(ground, update)
    }

    fn update_now(&mut self, ground: &G, update: MmuUpdate) -> Result<(), Error> {
        self.push(ground, update)?;
        self.hand_over(ground)
    }

    fn empty(&mut self, ground: &G, at: At) -> Result<Pte, Error> {
        self.replace(ground, at, |_| Pte::EMPTY)
    }

    fn write_protect(&mut self, ground: &G, at: At) -> Result<(), Error> {
        self.replace(ground, at, |held| held.with_flags(held.flags().without(PteFlags::RW))).map(drop)
    }

    fn other(&mut self, ground: &G, operation: &Operation) -> Result<(), Error> {
        self.hand_over(ground)?;
        Ok(ground.platform().with_vcpu(|_, hypervisor| issue_operation(hypervisor, operation))?)
    }

    fn flush(&mut self, ground: &G) -> Result<(), Error> {
        self.hand_over(ground)
    }

    fn switch_begins(&mut self, ground: &G) -> Result<(), Error> {
        self.hand_over(ground)
    }
}
