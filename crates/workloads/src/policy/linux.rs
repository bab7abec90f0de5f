//! Linux 6.1's way, from a caller's wish down to the hypercalls.
//!
//! - `ptep_get_and_clear` and `ptep_set_wrprotect` are atomic instructions on entries that are mapped
//!   read-only. Xen traps and emulates each.
//! - `set_pte` in a lazy region is appended to the array of the last multicall entry, of which the arguments'
//!   512 bytes hold 31; a single entry is issued as a call of its own, with interrupts off. What a paravirtual
//!   call and Linux's bookkeeping take on the way is not simulated, to the peer's advantage.
//! - A page becomes a table (`xen_alloc_pte`) by a multicall of its remapping and its pinning before anything
//!   is set in it, and a page again (`xen_release_pte`) by one of its unpinning and its remapping once it is
//!   empty. An address space that ends as a whole is unpinned first; `Retire` is not that but munmap.

use hypercall::{Batch, Hypervisor, Level, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, PteSlot, Subject, VaFlush};
use pv_mmu::Platform as _;

use super::Way;
use crate::{
    Error, Gathered, Ground, Job, Wish,
    measure::{mmuext, remap},
};

/// Updates of one array.
const ARRAY: usize = 31;

/// The array that is filling.
pub(crate) struct Linux {
    updates: [MmuUpdate; ARRAY],
    used: usize,
}

impl Linux {
    #[inline]
    fn set<G: Ground>(&mut self, ground: &G, index: usize, pte: Pte) -> Result<(), Error> {
        if self.used == ARRAY {
            self.flush(ground)?;
        }
        if let Some(place) = self.updates.get_mut(self.used) {
            *place = MmuUpdate::new(PteSlot::of(ground.table(), index), pte);
            self.used += 1;
        }
        Ok(())
    }

    fn flush<G: Ground>(&mut self, ground: &G) -> Result<(), Error> {
        let updates = self.updates.get(..self.used).unwrap_or(&self.updates);
        self.used = 0;
        Ok(ground.platform().with_vcpu(|_, hypervisor| hypervisor.mmu_update(updates, Subject::SELF)).result?)
    }

    fn set_all<G: Ground>(&mut self, job: &Job, ground: &G) -> Result<(), Error> {
        job.wanted().iter().enumerate().try_for_each(|(index, pte)| self.set(ground, index, *pte))?;
        self.flush(ground)
    }
}

/// A multicall of two.
fn both<G: Ground>(ground: &G, operations: [Operation; 2]) -> Result<(), Error> {
    let mut batch = Batch::<0, 2, 16>::new();
    operations.iter().try_for_each(|operation| batch.push(operation))?;
    ground.platform().with_vcpu(|_, hypervisor| hypervisor.multicall(&mut batch.prepare()))?;
    let refused = [0, 1].into_iter().filter_map(|call| batch.outcome(call)).find_map(|outcome| outcome.result.err());
    refused.map_or(Ok(()), |errno| Err(errno.into()))
}

/// Linux flushes no TLB for a page it remaps.
fn without_a_flush(operation: Operation) -> Operation {
    match operation {
        Operation::UpdateVaMapping { va, pte, .. } => Operation::UpdateVaMapping { va, pte, flush: VaFlush::None },
        other => other,
    }
}

impl<G: Ground> Way<G> for Linux {
    fn prepare(_: &Job, _: &G) -> Result<Self, Error> {
        Ok(Self { updates: [MmuUpdate::new(PteSlot::from_bits(0), Pte::EMPTY); ARRAY], used: 0 })
    }

    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let mut entries = 0..job.updates();
        let empty = |index| ground.exchange(index, Pte::EMPTY).map(|pte| gathered.add(pte));
        match job.wish {
            Wish::Zap => entries.try_for_each(empty),
            Wish::WriteProtect => entries.try_for_each(|index| ground.clear_writable(index)),
            Wish::Build => {
                let pin = MmuextOp::Pin { level: Level::L1, table: ground.table() };
                both(ground, [without_a_flush(remap(ground, PteFlags::NONE)), mmuext(pin)])?;
                self.set_all(job, ground)
            }
            Wish::Retire => {
                entries.try_for_each(empty)?;
                let unpin = MmuextOp::Unpin { table: ground.table() };
                both(ground, [mmuext(unpin), without_a_flush(remap(ground, PteFlags::RW))])
            }
            Wish::Rewrite => self.set_all(job, ground),
        }
    }
}
