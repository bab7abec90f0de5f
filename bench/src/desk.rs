//! Tables that are nothing but memory.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use hypercall::{
    ENTRIES_PER_TABLE, Mfn, MmuUpdate, Null, Pte, PteFlags, PteSlot, SwitchContext, TaskContext, VcpuMask, VirtAddr,
};
use pv_mmu::{
    Platform, Report, VcpuQueue,
    table::{Alias, TableMemory},
};
use workloads::{At, Error, Ground, Workload};

type Entries = Rc<[Cell<u64>; ENTRIES_PER_TABLE]>;

/// One vCPU on [`Null`], and the tables in its memory.
#[derive(Debug)]
pub struct Behind {
    vcpu: RefCell<(VcpuQueue, Null)>,
    tables: Vec<Entries>,
}

/// The frame of the first table.
const FIRST: u64 = 0x100;

impl Behind {
    fn word(&self, at: At) -> Option<&Cell<u64>> {
        self.tables.get(at.table)?.get(at.index)
    }
}

impl Platform for Behind {
    type Hypervisor = Null;
    type Queue = VcpuQueue;

    #[inline]
    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Null) -> R) -> R {
        let mut vcpu = self.vcpu.borrow_mut();
        let (queue, hypervisor) = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        let at = At { table: (slot.table().number() - FIRST) as usize, index: slot.index() };
        self.word(at).map(|word| Pte::from_bits(word.get())).unwrap_or_default()
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::from_words([1, 0])
    }

    fn flush_others(&self, _: Mfn) {}

    fn report(&self, report: &Report) {
        unreachable!("a hypervisor that accepts everything leaves nothing to report, yet: {report}");
    }
}

/// A kernel with tables, on a hypervisor that does nothing. Its clock tells ns.
#[derive(Debug)]
pub struct Desk {
    platform: Behind,
    peers: RefCell<Null>,
    scratch: RefCell<Vec<MmuUpdate>>,
    task: TaskContext,
    switching: SwitchContext,
    begun: Instant,
}

impl Default for Desk {
    fn default() -> Self {
        Self::new(Workload::TABLES)
    }
}

impl Desk {
    /// One with so many tables: a workload that needs more is refused.
    #[must_use]
    pub fn new(tables: usize) -> Self {
        let pages = (0..tables).map(|_| Rc::new([const { Cell::new(0) }; ENTRIES_PER_TABLE])).collect();
        let empty = MmuUpdate::new(PteSlot::from_bits(0), Pte::EMPTY);
        Self {
            platform: Behind { vcpu: RefCell::default(), tables: pages },
            peers: RefCell::default(),
            scratch: RefCell::new(vec![empty; tables * ENTRIES_PER_TABLE]),
            task: TaskContext::in_user_space(),
            switching: SwitchContext::in_user_space(),
            begun: Instant::now(),
        }
    }

    /// Hypercalls and operations received so far, the library's and the peers'.
    pub fn received(&self) -> (u64, u64) {
        let (vcpu, peers) = (self.platform.vcpu.borrow(), self.peers.borrow());
        (vcpu.1.hypercalls() + peers.hypercalls(), vcpu.1.operations() + peers.operations())
    }

    fn word(&self, at: At) -> Result<&Cell<u64>, Error> {
        self.platform.word(at).ok_or(Error::Access { at })
    }
}

/// A table's page as the library takes it.
#[derive(Debug)]
pub struct Sheet {
    table: Mfn,
    entries: Entries,
}

impl TableMemory for Sheet {
    fn frame(&self) -> Mfn {
        self.table
    }

    fn alias(&self) -> Alias {
        let writable = Pte::new(self.table, PteFlags::PRESENT | PteFlags::RW);
        Alias { address: address(self.table), writable }
    }

    fn load(&self, index: usize) -> Pte {
        self.entries.get(index).map(|word| Pte::from_bits(word.get())).unwrap_or_default()
    }

    fn store(&mut self, index: usize, pte: Pte) {
        if let Some(word) = self.entries.get(index) {
            word.set(pte.bits());
        }
    }
}

/// Where a direct map would have it.
const fn address(frame: Mfn) -> VirtAddr {
    VirtAddr::unchecked(0xffff_8880_0000_0000 + (frame.number() << 12))
}

impl Ground for Desk {
    type Hypervisor = Null;
    type Platform = Behind;
    type Memory = Sheet;

    const TABLES: usize = Workload::TABLES;
    const ADDED: PteFlags = PteFlags::USER.union(PteFlags::GUEST_KERNEL);
    const DOES: bool = false;

    fn platform(&self) -> &Behind {
        &self.platform
    }

    fn task(&self) -> &TaskContext {
        &self.task
    }

    fn switching(&self) -> &SwitchContext {
        &self.switching
    }

    fn hypervisor<R>(&self, step: impl FnOnce(&mut Null) -> R) -> R {
        step(&mut self.peers.borrow_mut())
    }

    fn scratch<R>(&self, step: impl FnOnce(&mut [MmuUpdate]) -> R) -> R {
        step(&mut self.scratch.borrow_mut())
    }

    fn ticks(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    fn root(&self) -> Mfn {
        Mfn::new(1)
    }

    fn table(&self, number: usize) -> Mfn {
        Mfn::new(FIRST + number as u64)
    }

    fn address(&self, number: usize) -> VirtAddr {
        address(self.table(number))
    }

    fn memory(&self, number: usize) -> Sheet {
        Sheet { table: self.table(number), entries: Rc::clone(&self.platform.tables[number]) }
    }

    fn frame(&self, number: usize) -> Mfn {
        Mfn::new(0x1000 + (number % Self::FRAMES) as u64)
    }

    fn load(&self, at: At) -> Result<Pte, Error> {
        self.word(at).map(|word| Pte::from_bits(word.get()))
    }

    fn store(&self, at: At, pte: Pte) -> Result<(), Error> {
        self.word(at).map(|word| word.set(pte.bits()))
    }

    fn exchange(&self, at: At, pte: Pte) -> Result<Pte, Error> {
        self.word(at).map(|word| Pte::from_bits(word.replace(pte.bits())))
    }

    fn clear_writable(&self, at: At) -> Result<(), Error> {
        let held = self.load(at)?;
        self.store(at, held.with_flags(held.flags().without(PteFlags::RW)))
    }
}

#[cfg(test)]
mod tests {
    use workloads::Policy;

    use super::*;
    use crate::{Apart, cases};

    fn received(workload: Workload, policy: Policy) -> (u64, u64) {
        let desk = Desk::new(1);
        Apart { workload, ground: &desk }.once(policy).unwrap();
        desk.received()
    }

    #[test]
    fn everything_asked_for_arrives() {
        let fill = Workload::named("fill-512").unwrap();
        // Beside the work, the page is made a table before, and a page again after.
        let (calls, operations) = received(Workload { entries: 1, ..fill }, Policy::Raw);
        for (policy, wanted) in [(Policy::PvMmu, 1), (Policy::Linux, 17), (Policy::Single, 512), (Policy::Raw, 1)] {
            let found = received(fill, policy);
            assert_eq!((found.0 - calls + 1, found.1 - operations + 1), (wanted, 512), "{policy:?}");
        }
    }

    #[test]
    fn every_case_can_be_measured() {
        let desk = Desk::default();
        for (workload, policy) in cases() {
            let took = Apart { workload, ground: &desk }.once(policy);
            assert!(took.is_ok(), "{} by {policy:?}: {took:?}", workload.name);
        }
    }
}
