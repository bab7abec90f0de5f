//! Grounds on the mock hypervisor, for tests and for those who have no real one at hand.
//!
//! The clock of these grounds is what was asked for: hypercalls made, or the host's time in ns.

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::time::Instant;
use std::vec;
use std::vec::Vec;

use hypercall::{
    Mfn, MmuUpdate, Operation, Pfn, Pte, PteFlags, PteSlot, Record, Recorder, SwitchContext, TaskContext, VcpuId,
    VcpuMask, VirtAddr,
};
use mock_xen::{GuestBuilder, MockVcpu, MockXen};
use pv_mmu::{
    Platform, Report, VcpuQueue,
    table::{Alias, TableMemory},
};

use crate::{At, Cost, Counted, Error, Ground, Grounds, Policy, Timed, Workload};

const VCPU: VcpuId = VcpuId::new(0);

/// What the clock tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Hypercalls.
    Hypercalls,
    /// The host's time in ns.
    Nanoseconds,
}

/// A guest with tables and frames to map.
pub(crate) struct Guest {
    pub(crate) xen: MockXen,
    tables: Vec<Mfn>,
    frames: Vec<Mfn>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        let mut builder = GuestBuilder::new(1);
        builder.ram(Pfn::new(0), Mfn::new(0x100));
        let tables = (0..Workload::TABLES).map(|_| builder.new_frame()).collect();
        let frames = (0..16).map(|_| builder.new_frame()).collect();
        let Ok(xen) = builder.build() else { unreachable!("a guest of frames without content can be built") };
        Self { xen, tables, frames }
    }

    fn word(&self, table: Mfn, index: usize) -> Option<VirtAddr> {
        Some(VirtAddr::unchecked(self.xen.direct_map(table)?.value() + 8 * index as u64))
    }

    fn load(&self, table: Mfn, index: usize) -> Option<Pte> {
        self.xen.load(VCPU, self.word(table, index)?).ok().map(Pte::from_bits)
    }

    fn store(&self, table: Mfn, index: usize, pte: Pte) -> Option<()> {
        self.xen.store(VCPU, self.word(table, index)?, pte.bits()).ok()
    }
}

type Listener = Box<dyn FnMut(Record)>;
pub(crate) type Xen<'g> = Recorder<MockVcpu<'g>, Listener>;
pub(crate) type Count = Rc<Cell<Counted>>;

/// A kernel's queue on it.
pub(crate) struct Library<'g> {
    guest: &'g Guest,
    vcpu: RefCell<(VcpuQueue, Xen<'g>)>,
}

impl<'g> Platform for Library<'g> {
    type Hypervisor = Xen<'g>;
    type Queue = VcpuQueue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Xen<'g>) -> R) -> R {
        let mut vcpu = self.vcpu.borrow_mut();
        let (queue, hypervisor) = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.guest.xen.read_entry(slot).unwrap_or_default()
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::EMPTY.with(VCPU)
    }

    fn flush_others(&self, _: Mfn) {}

    fn report(&self, report: &Report) {
        panic!("a workload has a failure that nobody was told of: {report}");
    }
}

/// A kernel that counts its hypercalls.
pub(crate) struct Kernel<'g, P> {
    guest: &'g Guest,
    platform: P,
    hypervisor: RefCell<Xen<'g>>,
    scratch: RefCell<Vec<MmuUpdate>>,
    task: TaskContext,
    switching: SwitchContext,
    count: Count,
    begun: Instant,
    unit: Unit,
}

fn counted<'g>(guest: &'g Guest, count: &Count) -> Xen<'g> {
    let count = count.clone();
    let listener = move |record| {
        let Counted { hypercalls, tlb_flushes } = count.get();
        count.set(match record {
            Record::Hypercall { .. } => Counted { hypercalls: hypercalls + 1, tlb_flushes },
            Record::Operation { operation: Operation::Mmuext { op, .. }, .. } if op.is_tlb_flush() => {
                Counted { hypercalls, tlb_flushes: tlb_flushes + 1 }
            }
            _ => return,
        });
    };
    Recorder::new(guest.xen.vcpu(VCPU), Box::new(listener))
}

pub(crate) fn library<'g>(guest: &'g Guest, count: &Count) -> Library<'g> {
    Library { guest, vcpu: RefCell::new((VcpuQueue::new(), counted(guest, count))) }
}

pub(crate) fn kernel<'g, P>(guest: &'g Guest, platform: P, count: &Count, unit: Unit) -> Kernel<'g, P> {
    let room = Workload::TABLES * hypercall::ENTRIES_PER_TABLE;
    Kernel {
        guest,
        platform,
        hypervisor: RefCell::new(counted(guest, count)),
        scratch: RefCell::new(vec![MmuUpdate::new(PteSlot::from_bits(0), Pte::EMPTY); room]),
        task: TaskContext::in_user_space(),
        switching: SwitchContext::in_user_space(),
        count: count.clone(),
        begun: Instant::now(),
        unit,
    }
}

/// A table's page as the library takes it.
pub(crate) struct Page<'g> {
    guest: &'g Guest,
    table: Mfn,
}

impl fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page in {}", self.table)
    }
}

impl TableMemory for Page<'_> {
    fn frame(&self) -> Mfn {
        self.table
    }

    fn alias(&self) -> Alias {
        let writable = Pte::new(self.table, PteFlags::PRESENT | PteFlags::RW);
        Alias { address: self.guest.word(self.table, 0).unwrap_or_default(), writable }
    }

    fn load(&self, index: usize) -> Pte {
        self.guest.load(self.table, index).unwrap_or_default()
    }

    fn store(&mut self, index: usize, pte: Pte) {
        let stored = self.guest.store(self.table, index, pte);
        assert!(stored.is_some(), "the library stores to a page that is a table: {self:?}");
    }
}

impl<'g, P: Platform> Ground for Kernel<'g, P> {
    type Hypervisor = Xen<'g>;
    type Platform = P;
    type Memory = Page<'g>;

    const TABLES: usize = Workload::TABLES;
    const ADDED: PteFlags = PteFlags::USER.union(PteFlags::GUEST_KERNEL);

    fn platform(&self) -> &P {
        &self.platform
    }

    fn task(&self) -> &TaskContext {
        &self.task
    }

    fn switching(&self) -> &SwitchContext {
        &self.switching
    }

    fn hypervisor<R>(&self, step: impl FnOnce(&mut Xen<'g>) -> R) -> R {
        step(&mut self.hypervisor.borrow_mut())
    }

    fn scratch<R>(&self, step: impl FnOnce(&mut [MmuUpdate]) -> R) -> R {
        step(&mut self.scratch.borrow_mut())
    }

    fn ticks(&self) -> u64 {
        match self.unit {
            Unit::Hypercalls => self.count.get().hypercalls,
            Unit::Nanoseconds => self.begun.elapsed().as_nanos() as u64,
        }
    }

    fn root(&self) -> Mfn {
        self.guest.xen.processor(VCPU).base
    }

    fn table(&self, number: usize) -> Mfn {
        self.guest.tables[number]
    }

    fn address(&self, number: usize) -> VirtAddr {
        self.guest.word(self.table(number), 0).unwrap_or_default()
    }

    fn memory(&self, number: usize) -> Page<'g> {
        Page { guest: self.guest, table: self.table(number) }
    }

    fn frame(&self, number: usize) -> Mfn {
        self.guest.frames[number % Self::FRAMES]
    }

    fn load(&self, at: At) -> Result<Pte, Error> {
        self.guest.load(self.table(at.table), at.index).ok_or(Error::Access { at })
    }

    fn store(&self, at: At, pte: Pte) -> Result<(), Error> {
        self.guest.store(self.table(at.table), at.index, pte).ok_or(Error::Access { at })
    }

    fn exchange(&self, at: At, pte: Pte) -> Result<Pte, Error> {
        let word = self.guest.word(self.table(at.table), at.index).ok_or(Error::Access { at })?;
        let held = self.guest.xen.exchange(VCPU, word, pte.bits());
        held.map(Pte::from_bits).map_err(|_| Error::Access { at })
    }

    fn clear_writable(&self, at: At) -> Result<(), Error> {
        let held = self.load(at)?;
        self.exchange(at, held.with_flags(held.flags().without(PteFlags::RW))).map(drop)
    }
}

/// Measures `policy`'s cost of `workload` on a guest of its own.
///
/// # Errors
/// [`Error`]: the policy did not do all of the work.
pub fn measure(policy: Policy, workload: Workload, unit: Unit) -> Result<Cost, Error> {
    let (guest, count) = (Guest::new(), Count::default());
    let behind = library(&guest, &count);
    let timed = Timed::new(&behind, now);
    let bare = kernel(&guest, library(&guest, &count), &count, unit);
    let timed = kernel(&guest, timed, &count, unit);
    Grounds { bare: &bare, counted: &bare, count: &|| count.get(), timed: &timed }.measure(policy, workload)
}

/// The host's clock in ns.
fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |passed| passed.as_nanos() as u64)
}
