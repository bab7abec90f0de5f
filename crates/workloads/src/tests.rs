//! Every policy on the mock, and policies that do not do what they should.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::vec::Vec;

use hypercall::{
    DomId, Hypervisor, Level, Mfn, MmuUpdate, MmuextOp, Operation, Pfn, Pte, PteFlags, PteSlot, Record, Recorder,
    Subject, TaskContext, VcpuId, VcpuMask, VirtAddr, issue_operation,
};
use mock_xen::{GuestBuilder, MockVcpu, MockXen};
use pv_mmu::{
    Platform, Report, VcpuQueue,
    table::{Alias, TableMemory},
};

use crate::{
    Cost, Error, Gathered, Ground, Grounds, Job, Policy, Timed, Way, Wish, Workload,
    measure::{once_by, remap},
};

const VCPU: VcpuId = VcpuId::new(0);

/// A guest with one table and frames to map.
struct Guest {
    xen: MockXen,
    table: Mfn,
    frames: Vec<Mfn>,
}

impl Guest {
    fn new() -> Self {
        let mut builder = GuestBuilder::new(1);
        builder.ram(Pfn::new(0), Mfn::new(0x100));
        let table = builder.new_frame();
        let frames = (0..16).map(|_| builder.new_frame()).collect();
        Self { xen: builder.build().unwrap(), table, frames }
    }

    fn word(&self, index: usize) -> VirtAddr {
        VirtAddr::unchecked(self.xen.direct_map(self.table).unwrap().value() + 8 * index as u64)
    }
}

type Listener = std::boxed::Box<dyn FnMut(Record)>;
type Xen<'g> = Recorder<MockVcpu<'g>, Listener>;

/// A kernel's queue on it.
struct Library<'g> {
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
        self.guest.xen.read_entry(slot).unwrap()
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::EMPTY.with(VCPU)
    }

    fn flush_others(&self, _: Mfn) {}

    fn report(&self, report: &Report) {
        panic!("{report}");
    }
}

/// A kernel that counts its hypercalls, whose clock are they.
struct Kernel<'g, P> {
    guest: &'g Guest,
    platform: P,
    hypervisor: RefCell<Xen<'g>>,
    context: TaskContext,
    hypercalls: Rc<Cell<u64>>,
}

fn counted<'g>(guest: &'g Guest, hypercalls: &Rc<Cell<u64>>) -> Xen<'g> {
    let hypercalls = hypercalls.clone();
    let listener = move |record| {
        if let Record::Hypercall { .. } = record {
            hypercalls.set(hypercalls.get() + 1);
        }
    };
    Recorder::new(guest.xen.vcpu(VCPU), std::boxed::Box::new(listener))
}

fn library<'g>(guest: &'g Guest, hypercalls: &Rc<Cell<u64>>) -> Library<'g> {
    Library { guest, vcpu: RefCell::new((VcpuQueue::new(), counted(guest, hypercalls))) }
}

fn kernel<'g, P>(guest: &'g Guest, platform: P, hypercalls: &Rc<Cell<u64>>) -> Kernel<'g, P> {
    let hypervisor = RefCell::new(counted(guest, hypercalls));
    Kernel { guest, platform, hypervisor, context: TaskContext::in_user_space(), hypercalls: hypercalls.clone() }
}

/// The table's page as the library takes it.
struct Page<'g>(&'g Guest);

impl std::fmt::Debug for Page<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "page in {}", self.0.table)
    }
}

impl TableMemory for Page<'_> {
    fn frame(&self) -> Mfn {
        self.0.table
    }

    fn alias(&self) -> Alias {
        let writable = Pte::new(self.0.table, PteFlags::PRESENT | PteFlags::RW);
        Alias { address: self.0.word(0), writable }
    }

    fn load(&self, index: usize) -> Pte {
        Pte::from_bits(self.0.xen.load(VCPU, self.0.word(index)).unwrap())
    }

    fn store(&mut self, index: usize, pte: Pte) {
        self.0.xen.store(VCPU, self.0.word(index), pte.bits()).unwrap();
    }
}

impl<'g, P: Platform> Ground for Kernel<'g, P> {
    type Hypervisor = Xen<'g>;
    type Platform = P;
    type Memory = Page<'g>;

    const ADDED: PteFlags = PteFlags::USER.union(PteFlags::GUEST_KERNEL);

    fn platform(&self) -> &P {
        &self.platform
    }

    fn task(&self) -> &TaskContext {
        &self.context
    }

    fn hypervisor<R>(&self, step: impl FnOnce(&mut Xen<'g>) -> R) -> R {
        step(&mut self.hypervisor.borrow_mut())
    }

    fn ticks(&self) -> u64 {
        self.hypercalls.get()
    }

    fn table(&self) -> Mfn {
        self.guest.table
    }

    fn address(&self) -> VirtAddr {
        self.guest.word(0)
    }

    fn memory(&self) -> Page<'g> {
        Page(self.guest)
    }

    fn frame(&self, number: usize) -> Mfn {
        self.guest.frames[number % Self::FRAMES]
    }

    fn load(&self, index: usize) -> Result<Pte, Error> {
        self.guest.xen.load(VCPU, self.guest.word(index)).map(Pte::from_bits).map_err(|_| Error::Access { index })
    }

    fn store(&self, index: usize, pte: Pte) -> Result<(), Error> {
        let stored = self.guest.xen.store(VCPU, self.guest.word(index), pte.bits());
        stored.map_err(|_| Error::Access { index })
    }

    fn exchange(&self, index: usize, pte: Pte) -> Result<Pte, Error> {
        let held = self.guest.xen.exchange(VCPU, self.guest.word(index), pte.bits());
        held.map(Pte::from_bits).map_err(|_| Error::Access { index })
    }

    fn clear_writable(&self, index: usize) -> Result<(), Error> {
        let held = self.load(index)?;
        self.exchange(index, held.with_flags(held.flags().without(PteFlags::RW))).map(drop)
    }
}

fn cost(policy: Policy, workload: Workload) -> Result<Cost, Error> {
    let (guest, hypercalls) = (Guest::new(), Rc::default());
    let behind = library(&guest, &hypercalls);
    let timed = Timed::new(&behind, || 0);
    let bare = kernel(&guest, library(&guest, &hypercalls), &hypercalls);
    let timed = kernel(&guest, timed, &hypercalls);
    Grounds { bare: &bare, counted: &bare, hypercalls: &|| hypercalls.get(), timed: &timed }.measure(policy, workload)
}

#[test]
fn every_policy_does_all_of_every_workload() {
    for workload in Workload::ALL {
        for policy in Policy::ALL {
            let cost = cost(policy, workload).unwrap_or_else(|error| panic!("{workload:?} by {policy:?}: {error}"));
            assert_eq!(cost.hypercalls, cost.ticks, "{workload:?} by {policy:?}: calls are what the clock shows here");
        }
    }
}

#[test]
fn hypercalls_are_counted_and_not_assumed() {
    let calls = |policy| Workload::ALL.map(|workload| cost(policy, workload).unwrap().hypercalls);
    // One array; the trapped atomics are none; a table made and filled by arrays of 31; and so on.
    assert_eq!(calls(Policy::Raw), [1, 1, 1, 1, 1]);
    assert_eq!(calls(Policy::Linux), [0, 0, 18, 1, 17]);
    assert_eq!(calls(Policy::Single), [512, 512, 514, 514, 512]);
    assert_eq!(calls(Policy::PvMmu), [1, 1, 1, 1, 2]);
}

/// Ways that do not do what they should, by what they do.
trait Bad {
    fn work<G: Ground>(job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error>;
}

struct Planted<B>(std::marker::PhantomData<B>);

impl<B: Bad, G: Ground> Way<G> for Planted<B> {
    fn prepare(_: &Job, _: &G) -> Result<Self, Error> {
        Ok(Self(std::marker::PhantomData))
    }

    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        B::work(job, ground, gathered)
    }
}

fn planted<B: Bad>(workload: Workload) -> Result<u64, Error> {
    let (guest, hypercalls) = (Guest::new(), Rc::default());
    let kernel = kernel(&guest, library(&guest, &hypercalls), &hypercalls);
    once_by::<Planted<B>, _>(workload, &kernel, || 0, |_| 0)
}

struct Nothing;

impl Bad for Nothing {
    fn work<G: Ground>(_: &Job, _: &G, _: &mut Gathered) -> Result<(), Error> {
        Ok(())
    }
}

#[test]
fn a_policy_that_does_nothing_has_no_cost() {
    for workload in Workload::ALL {
        assert!(planted::<Nothing>(workload).is_err(), "{workload:?}");
    }
}

/// Does all but the last entry.
struct AllButOne;

impl Bad for AllButOne {
    fn work<G: Ground>(job: &Job, ground: &G, _: &mut Gathered) -> Result<(), Error> {
        let update = |(index, pte): (usize, &Pte)| MmuUpdate::new(PteSlot::of(ground.table(), index), *pte);
        let updates: Vec<_> = job.wanted().iter().enumerate().map(update).collect();
        Ok(ground.hypervisor(|hypervisor| hypervisor.mmu_update(&updates[1..], Subject::SELF)).result?)
    }
}

#[test]
fn an_entry_that_was_left_out_is_named() {
    let rewrite = Workload::ALL.into_iter().find(|workload| workload.wish == Wish::Rewrite).unwrap();
    let error = planted::<AllButOne>(rewrite).unwrap_err();
    assert!(matches!(error, Error::Differs { index: 0, .. }), "{error}");
}

/// Empties entries and forgets what they held.
struct Forgets;

impl Bad for Forgets {
    fn work<G: Ground>(job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        (0..job.updates()).try_for_each(|index| ground.exchange(index, Pte::EMPTY).map(|_| gathered.add(Pte::EMPTY)))
    }
}

#[test]
fn what_entries_held_cannot_be_made_up() {
    let error = planted::<Forgets>(Workload::ALL[0]).unwrap_err();
    assert_eq!(error, Error::Gathered { count: 512 });
}

/// Fills a page, and never makes it a table.
struct StaysAPage;

impl Bad for StaysAPage {
    fn work<G: Ground>(job: &Job, ground: &G, _: &mut Gathered) -> Result<(), Error> {
        job.wanted().iter().enumerate().try_for_each(|(index, pte)| ground.store(index, *pte))
    }
}

/// Gives a table up, and leaves the page read-only.
struct StaysReadOnly;

impl Bad for StaysReadOnly {
    fn work<G: Ground>(job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        let unpin = Operation::Mmuext { op: MmuextOp::Unpin { table: ground.table() }, domain: DomId::SELF };
        (0..job.updates()).try_for_each(|index| ground.load(index).map(|pte| gathered.add(pte)))?;
        Ok(ground.hypervisor(|hypervisor| issue_operation(hypervisor, &unpin))?)
    }
}

#[test]
fn a_table_is_one_and_a_page_is_one() {
    let by = |wish| Workload::ALL.into_iter().find(|workload| workload.wish == wish).unwrap();
    assert!(matches!(planted::<StaysAPage>(by(Wish::Build)), Err(Error::Refused(_))));
    assert_eq!(planted::<StaysReadOnly>(by(Wish::Retire)), Err(Error::Access { index: 0 }));
}

#[test]
fn a_refusal_is_an_error_and_no_cost() {
    let (guest, hypercalls) = (Guest::new(), Rc::default());
    let kernel = kernel(&guest, library(&guest, &hypercalls), &hypercalls);
    let pin = Operation::Mmuext { op: MmuextOp::Pin { level: Level::L1, table: guest.table }, domain: DomId::SELF };
    for operation in [remap(&kernel, PteFlags::NONE), pin] {
        issue_operation(&mut guest.xen.vcpu(VCPU), &operation).unwrap();
    }
    // The page that a workload starts from is a table already.
    let error = once_by::<Planted<Nothing>, _>(Workload::ALL[0], &kernel, || 0, |_| 0).unwrap_err();
    assert!(matches!(error, Error::Refused(_) | Error::Access { .. }), "{error}");
}
