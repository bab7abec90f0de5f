//! `pv-mmu` as this kernel uses it: one platform for all commands, before the real Xen, with an
//! adapter that refuses an operation where a command asks for that, and one that counts.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hypercall::{
    ENTRIES_PER_TABLE, Errno, FaultAt, InterruptContext, Level, Mfn, MmuextOp, Operation, Pte, PteFlags, Record,
    Recorder, SwitchContext, TaskContext, xen::Xen,
};
use pv_mmu::{Mmu, Report, TaskState};
use spin::Once;
use xen_guest::memory::{Page, tables, take_page};
use xen_guest::{GuestPlatform, tasks};

use crate::error::Error;

type Counted = Recorder<FaultAt<Xen>, fn(Record)>;
pub(crate) type Platform = GuestPlatform<Counted>;

/// Flags of the entries that commands set, in the form in which Xen keeps them: it adds the user flag
/// and marks the entry as a kernel's.
pub(crate) const FLAGS: PteFlags = PteFlags::PRESENT.union(PteFlags::USER).union(PteFlags::GUEST_KERNEL);
/// No operation has this number.
const NEVER: u64 = u64::MAX;

/// The library right before the real Xen.
pub(crate) type Bare = GuestPlatform<Xen>;

static PLATFORM: Once<Platform> = Once::new();
static BARE: Once<Bare> = Once::new();
static HYPERCALLS: AtomicU64 = AtomicU64::new(0);
static OPERATIONS: AtomicU64 = AtomicU64::new(0);
static TLB_FLUSHES: AtomicU64 = AtomicU64::new(0);
static REPORTS: AtomicU64 = AtomicU64::new(0);
/// Hears of what is counted.
static WATCH: Once<fn(&Record)> = Once::new();
/// Switches away from tasks that had something queued.
static SWITCHES_WITH_QUEUE: AtomicU64 = AtomicU64::new(0);
/// Operations that a switch has not handed over.
static LEFT_BEHIND: AtomicU64 = AtomicU64::new(0);
/// Whether a switch hands over, as it has to.
static HANDS_OVER: AtomicBool = AtomicBool::new(true);

/// The real Xen, counted, with nothing refused.
pub(crate) fn counted() -> Counted {
    refusing(NEVER)
}

fn refusing(refuse: u64) -> Counted {
    // SAFETY: this is a kernel without a red zone, and the platform updates tables of pool pages only.
    let xen = unsafe { Xen::assume() };
    Recorder::new(FaultAt::new(xen, refuse, Errno::BUSY), count)
}

fn count(record: Record) {
    if let Some(watch) = WATCH.get() {
        watch(&record);
    }
    match record {
        Record::Hypercall { .. } => HYPERCALLS.fetch_add(1, SeqCst),
        Record::Operation { operation, .. } => {
            let is_flush = matches!(operation, Operation::Mmuext { op, .. } if op.is_tlb_flush());
            TLB_FLUSHES.fetch_add(u64::from(is_flush), SeqCst);
            OPERATIONS.fetch_add(1, SeqCst)
        }
        Record::Refused(_) => 0,
    };
}

fn report(report: &Report) {
    REPORTS.fetch_add(1, SeqCst);
    xen_guest::log!("{report}");
}

/// The kernel's platform, which hands over at every switch.
pub(crate) fn platform() -> &'static Platform {
    PLATFORM.call_once(|| {
        tasks::on_switch(on_switch);
        // SAFETY: the commands update tables made of pool pages only.
        unsafe { GuestPlatform::new(counted(), counted(), report) }
    })
}

/// Nothing between the library and the real Xen, for what is measured: counting hypercalls costs more than they do.
pub(crate) fn bare() -> &'static Bare {
    // SAFETY: this is a kernel without a red zone; the commands update tables made of pool pages, and entries that lead
    // to them.
    BARE.call_once(|| unsafe { GuestPlatform::new(Xen::assume(), Xen::assume(), report) })
}

fn on_switch(context: &SwitchContext) {
    let Some(library) = PLATFORM.get().map(Mmu::new) else { return };
    SWITCHES_WITH_QUEUE.fetch_add(u64::from(library.stats().pending > 0), SeqCst);
    if HANDS_OVER.load(SeqCst) {
        library.switch(context).finish();
    }
    LEFT_BEHIND.fetch_add(library.stats().pending, SeqCst);
}

/// On both vCPUs: switches so far away from tasks that had something queued, and what they have left in a queue.
pub(crate) fn switches_with_queue() -> (u64, u64) {
    (SWITCHES_WITH_QUEUE.load(SeqCst), LEFT_BEHIND.load(SeqCst))
}

/// Lets `watch` hear of every hypercall and operation of [`platform`], with upcalls masked. The first one stays.
pub(crate) fn watch(watch: fn(&Record)) {
    WATCH.call_once(|| watch);
}

/// From now on a switch hands nothing over: a fault that has to be found.
pub(crate) fn forget_the_switch() {
    HANDS_OVER.store(false, SeqCst);
}

/// For [`GuestPlatform::listen`].
pub(crate) fn on_flush_request(context: &InterruptContext) {
    platform().answer(context);
}

/// From now on, operation `number` on this vCPU is refused with `-EBUSY`; `None`: none is.
pub(crate) fn refuse(number: Option<u64>) {
    platform().with_hypervisor(|hypervisor| *hypervisor = refusing(number.unwrap_or(NEVER)));
}

/// What has been counted.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    pub(crate) hypercalls: u64,
    pub(crate) operations: u64,
    /// TLB flushes among them.
    pub(crate) tlb_flushes: u64,
    /// What the platform was told because no caller was there.
    pub(crate) reports: u64,
}

/// The counts of both vCPUs so far.
pub(crate) fn counts() -> Counts {
    let [hypercalls, operations, tlb_flushes, reports] =
        [&HYPERCALLS, &OPERATIONS, &TLB_FLUSHES, &REPORTS].map(|count| count.load(SeqCst));
    Counts { hypercalls, operations, tlb_flushes, reports }
}

impl Counts {
    /// What has been counted since `before`.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            hypercalls: self.hypercalls - before.hypercalls,
            operations: self.operations - before.operations,
            tlb_flushes: self.tlb_flushes - before.tlb_flushes,
            reports: self.reports - before.reports,
        }
    }
}

/// An empty L1 table, pinned.
pub(crate) fn pinned_table(context: &TaskContext) -> Result<Page, Error> {
    let mut page = take_page().ok_or(Error::NoPage)?;
    page.protect()?;
    let mut task = TaskState::new();
    let op = MmuextOp::Pin { level: Level::L1, table: page.frame() };
    Mmu::new(platform()).outside(&mut task, context).mmuext(op)?;
    Ok(page)
}

/// Entries of `table` that do not hold what `expected` says.
pub(crate) fn differing(table: Mfn, expected: impl Fn(usize) -> Pte) -> Result<usize, Error> {
    let mut differing = 0;
    for index in 0..ENTRIES_PER_TABLE {
        let held = tables::read(hypercall::PteSlot::of(table, index))?;
        differing += usize::from(held != expected(index));
    }
    Ok(differing)
}
