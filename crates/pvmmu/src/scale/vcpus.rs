//! Many vCPUs at once, each a thread with a queue and a table of its own.
//!
//! What is measured is time on this machine: a figure is good beside the others of its column.

use std::cell::RefCell;
use std::thread;
use std::time::Instant;

use anyhow::{Result, ensure};
use hypercall::{
    ENTRIES_PER_TABLE, Hypervisor, Level, Mfn, Null, Pfn, Pte, PteFlags, PteSlot, TaskContext, VcpuId, VcpuMask,
};
use mock_xen::{GuestBuilder, MockXen};
use pv_mmu::{Mmu, Operations as _, Platform, Report, TaskState, VcpuQueue};
use serde::Serialize;

/// So many vCPUs, and updates a second of all of them together.
#[derive(Debug, Serialize)]
pub(super) struct Busy {
    pub(super) vcpus: usize,
    pub(super) mock: f64,
    pub(super) null: f64,
}

/// How many vCPUs.
pub(super) const NUMBERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// Regions of a whole table that are shared out among the vCPUs.
const REGIONS_ON_MOCK: usize = 1_024;
const REGIONS_ON_NULL: usize = 131_072;

/// Measures all numbers.
///
/// # Errors
/// The mock refuses an update, or an entry does not hold what was written.
pub(super) fn measure() -> Result<Vec<Busy>> {
    NUMBERS.into_iter().map(|vcpus| Ok(Busy { vcpus, mock: on_mock(vcpus)?, null: on_null(vcpus) })).collect()
}

/// One thread's vCPU.
pub(super) struct Own<'v, H>(RefCell<(&'v mut VcpuQueue, H)>);

impl<'v, H: Hypervisor> Own<'v, H> {
    pub(super) const fn new(queue: &'v mut VcpuQueue, hypervisor: H) -> Self {
        Self(RefCell::new((queue, hypervisor)))
    }

    /// Writes a whole table, `regions` times.
    pub(super) fn fill(&self, table: Mfn, pte: Pte, regions: usize) {
        let (mut task, context) = (TaskState::new(), TaskContext::in_user_space());
        for _ in 0..regions {
            let mut region = Mmu::new(self).enter(&mut task, &context);
            (0..ENTRIES_PER_TABLE).for_each(|index| region.set_pte(PteSlot::of(table, index), pte));
            region.leave().unwrap_or_else(|refused| panic!("refused: {refused}"));
        }
    }
}

impl<H: Hypervisor> Platform for Own<'_, H> {
    type Hypervisor = H;
    type Queue = VcpuQueue;

    #[inline]
    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut H) -> R) -> R {
        let mut vcpu = self.0.borrow_mut();
        let (queue, hypervisor) = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, _: PteSlot) -> Pte {
        Pte::EMPTY
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::EMPTY.with(VcpuId::new(0))
    }

    fn flush_others(&self, _: Mfn) {}

    fn report(&self, report: &Report) {
        panic!("nobody was told of {report}");
    }
}

/// Updates a second when each of the queues is filled by a thread of its own.
fn rate(queues: &mut [VcpuQueue], regions: usize, fill: impl Fn(usize, &mut VcpuQueue, usize) + Sync) -> f64 {
    let each = regions / queues.len();
    let updates = each * queues.len() * ENTRIES_PER_TABLE;
    let begun = Instant::now();
    thread::scope(|scope| {
        for (number, queue) in queues.iter_mut().enumerate() {
            let fill = &fill;
            scope.spawn(move || fill(number, queue, each));
        }
    });
    updates as f64 / begun.elapsed().as_secs_f64()
}

fn queues(number: usize) -> Vec<VcpuQueue> {
    (0..number).map(|_| VcpuQueue::new()).collect()
}

fn on_null(vcpus: usize) -> f64 {
    let fill = |number: usize, queue: &mut VcpuQueue, regions: usize| {
        Own::new(queue, Null::new()).fill(Mfn::new(0x100 + number as u64), Pte::from_bits(0x63), regions);
    };
    rate(&mut queues(vcpus), REGIONS_ON_NULL, fill)
}

fn on_mock(vcpus: usize) -> Result<f64> {
    let Guest { xen, tables, pte } = Guest::new(vcpus)?;
    let fill = |number: usize, queue: &mut VcpuQueue, regions: usize| {
        Own::new(queue, xen.vcpu(VcpuId::new(number as u32))).fill(tables[number], pte, regions);
    };
    let rate = rate(&mut queues(vcpus), REGIONS_ON_MOCK, fill);
    for table in &tables {
        let held = xen.read_entry(PteSlot::of(*table, ENTRIES_PER_TABLE - 1));
        ensure!(held.is_some_and(|held| held.frame() == pte.frame()), "{table} holds {held:?} in the end, not {pte}");
    }
    Ok(rate)
}

/// A guest with a table for each vCPU.
struct Guest {
    xen: MockXen,
    tables: Vec<Mfn>,
    pte: Pte,
}

impl Guest {
    fn new(vcpus: usize) -> Result<Self> {
        let mut builder = GuestBuilder::new(vcpus as u32);
        builder.ram(Pfn::new(0), Mfn::new(0x100));
        let tables: Vec<_> = (0..vcpus).map(|_| builder.new_frame()).collect();
        let pte = Pte::new(builder.new_frame(), PteFlags::PRESENT);
        for table in &tables {
            builder.table(*table, Level::L1).pin(*table);
        }
        Ok(Self { xen: builder.build()?, tables, pte })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vcpu_gets_its_share_done() {
        for vcpus in [1, 3, 64] {
            assert!(on_mock(vcpus).unwrap() > 0.0);
        }
    }
}
