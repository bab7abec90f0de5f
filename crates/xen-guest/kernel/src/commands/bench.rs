//! Policies against workloads, on the hypervisor this runs on, or on none.
//!
//! The payload: words. `null`: nothing that is asked for is done, and what is measured is what asking takes. Names of
//! workloads, or of policies: only those.
//!
//! The answer is text. First `xen` and the version; then a row a line: workload, policy, updates, hypercalls,
//! cost, and the longest stretch with upcalls masked, both in ticks of the time-stamp counter.

use core::cell::RefCell;
use core::fmt::Write as _;

use hypercall::{
    Hypervisor, Mfn, MmuUpdate, Null, Pte, PteFlags, PteSlot, SwitchContext, TaskContext, VirtAddr, xen::Xen,
};
use pv_mmu::Platform;
use spin::Mutex;
use workloads::{At, Counted, Error as NoCost, Ground, Grounds, Policy, Timed, Workload};
use xen_guest::GuestPlatform;
use xen_guest::memory::{Page, tables, take_page};
use xen_guest::timer::tsc;

use super::version;
use crate::{
    error::Error,
    mmu::{self, FLAGS},
    reply::Reply,
};

const FRAMES: usize = 16;
const ROOM: usize = Workload::TABLES * hypercall::ENTRIES_PER_TABLE;

/// Room for as many updates as there are entries.
static SCRATCH: Mutex<[MmuUpdate; ROOM]> = Mutex::new([MmuUpdate::new(PteSlot::from_bits(0), Pte::EMPTY); ROOM]);

/// The pages that are to be tables, and frames to map.
struct Pages {
    tables: [Option<Page>; Workload::TABLES],
    frames: [Mfn; FRAMES],
}

impl Pages {
    fn take() -> Result<Self, Error> {
        let mut tables = [const { None }; Workload::TABLES];
        for table in &mut tables {
            *table = Some(take_page().ok_or(Error::NoPage)?);
        }
        let mut frames = [Mfn::new(0); FRAMES];
        for frame in &mut frames {
            *frame = take_page().ok_or(Error::NoPage)?.frame();
        }
        Ok(Self { tables, frames })
    }

    /// A second handle of table `number`'s page.
    fn table(&self, number: usize) -> Page {
        let table = self.tables[number].as_ref();
        let table = table.unwrap_or_else(|| unreachable!("all of them were taken"));
        // SAFETY: a policy uses the page while this kernel does not, and what it has done is looked at afterwards.
        unsafe { table.twin() }
    }
}

/// This kernel, with its platform and the hypervisor of peers, which does what it is asked for if it `DOES`.
struct Kernel<'k, P, H, const DOES: bool> {
    context: &'k TaskContext,
    switching: SwitchContext,
    pages: &'k Pages,
    platform: &'k P,
    hypervisor: RefCell<H>,
}

impl<'k, P, H, const DOES: bool> Kernel<'k, P, H, DOES> {
    fn new(context: &'k TaskContext, pages: &'k Pages, platform: &'k P, hypervisor: H) -> Self {
        // SAFETY: a policy uses it where the switch code would, in the one task there is.
        let switching = unsafe { SwitchContext::assume() };
        Self { context, switching, pages, platform, hypervisor: RefCell::new(hypervisor) }
    }
}

impl<P: Platform, H: Hypervisor, const DOES: bool> Ground for Kernel<'_, P, H, DOES> {
    type Hypervisor = H;
    type Platform = P;
    type Memory = Page;

    const TABLES: usize = Workload::TABLES;
    const ADDED: PteFlags = FLAGS;
    const DOES: bool = DOES;

    fn platform(&self) -> &P {
        self.platform
    }

    fn task(&self) -> &TaskContext {
        self.context
    }

    fn switching(&self) -> &SwitchContext {
        &self.switching
    }

    fn hypervisor<R>(&self, step: impl FnOnce(&mut H) -> R) -> R {
        step(&mut self.hypervisor.borrow_mut())
    }

    fn scratch<R>(&self, step: impl FnOnce(&mut [MmuUpdate]) -> R) -> R {
        step(&mut *SCRATCH.lock())
    }

    fn ticks(&self) -> u64 {
        tsc()
    }

    fn root(&self) -> Mfn {
        tables::root()
    }

    fn table(&self, number: usize) -> Mfn {
        self.pages.table(number).frame()
    }

    fn address(&self, number: usize) -> VirtAddr {
        self.pages.table(number).address()
    }

    fn memory(&self, number: usize) -> Page {
        self.pages.table(number)
    }

    fn frame(&self, number: usize) -> Mfn {
        self.pages.frames[number % FRAMES]
    }

    fn load(&self, at: At) -> Result<Pte, NoCost> {
        self.pages.table(at.table).read(at.index).map(Pte::from_bits).map_err(|_| NoCost::Access { at })
    }

    fn store(&self, at: At, pte: Pte) -> Result<(), NoCost> {
        self.pages.table(at.table).write(at.index, pte.bits()).map_err(|_| NoCost::Access { at })
    }

    fn exchange(&self, at: At, pte: Pte) -> Result<Pte, NoCost> {
        let held = self.pages.table(at.table).exchange(at.index, pte.bits());
        held.map(Pte::from_bits).map_err(|_| NoCost::Access { at })
    }

    fn clear_writable(&self, at: At) -> Result<(), NoCost> {
        self.pages.table(at.table).clear_writable(at.index).map_err(|_| NoCost::Access { at })
    }
}

/// What is to be measured.
struct Plan<'p> {
    text: &'p str,
}

impl<'p> Plan<'p> {
    fn of(payload: &'p [u8]) -> Result<Self, Error> {
        let text = core::str::from_utf8(payload).map_err(|_| Error::Payload)?;
        let known = |word| word == "null" || Workload::named(word).is_some() || policy(word).is_some();
        if text.split_whitespace().all(known) { Ok(Self { text }) } else { Err(Error::Payload) }
    }

    fn words(&self) -> impl Iterator<Item = &'p str> + use<'p> {
        self.text.split_whitespace()
    }

    fn on_null(&self) -> bool {
        self.words().any(|word| word == "null")
    }

    fn workloads(&self) -> impl Iterator<Item = Workload> + '_ {
        let named = || self.words().filter_map(Workload::named);
        let all = Workload::ALL.into_iter().filter(move |_| named().next().is_none());
        all.chain(named()).filter(|workload| !self.on_null() || !workload.looks_at_effects())
    }

    fn policies(&self) -> impl Iterator<Item = Policy> + '_ {
        let named = || self.words().filter_map(policy);
        Policy::ALL.into_iter().filter(move |_| named().next().is_none()).chain(named())
    }
}

fn policy(name: &str) -> Option<Policy> {
    Policy::ALL.into_iter().find(|policy| policy.name() == name)
}

fn tell<'p, B, C, T, P>(plan: &Plan<'_>, grounds: &Grounds<'_, B, C, T>, reply: &mut Reply) -> Result<(), Error>
where
    B: Ground,
    C: Ground,
    T: Ground<Platform = Timed<'p, P>>,
    P: Platform + 'p,
{
    for workload in plan.workloads() {
        for policy in plan.policies() {
            let cost = grounds.measure(policy, workload).map_err(|error| Error::NoCost(workload, policy, error))?;
            let (name, updates, policy) = (workload.name, workload.updates(), policy.name());
            // A reply takes everything.
            let _ =
                writeln!(reply, "{name} {policy} {updates} {} {} {}", cost.hypercalls, cost.ticks, cost.longest_masked);
        }
    }
    Ok(())
}

/// Measures what the payload asks for.
pub(crate) fn bench(context: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let plan = Plan::of(payload)?;
    version(reply)?;
    let pages = Pages::take()?;
    if plan.on_null() { on_null(context, &pages, &plan, reply) } else { on_xen(context, &pages, &plan, reply) }
}

fn on_xen(context: &TaskContext, pages: &Pages, plan: &Plan<'_>, reply: &mut Reply) -> Result<(), Error> {
    // SAFETY: this is a kernel without a red zone, and what is measured changes pages of the pool.
    let xen = || unsafe { Xen::assume() };
    let timed = Timed::new(mmu::bare(), tsc);
    let counted = || {
        let mmu::Counts { hypercalls, tlb_flushes, .. } = mmu::counts();
        Counted { hypercalls, tlb_flushes }
    };
    let grounds = Grounds {
        bare: &Kernel::<_, _, true>::new(context, pages, mmu::bare(), xen()),
        counted: &Kernel::<_, _, true>::new(context, pages, mmu::platform(), mmu::counted()),
        count: &counted,
        timed: &Kernel::<_, _, true>::new(context, pages, &timed, xen()),
    };
    tell(plan, &grounds, reply)
}

/// Nobody is there to refuse anything.
fn nobody(_: &pv_mmu::Report) {}

fn on_null(context: &TaskContext, pages: &Pages, plan: &Plan<'_>, reply: &mut Reply) -> Result<(), Error> {
    static NULL: spin::Once<GuestPlatform<Null>> = spin::Once::new();
    // SAFETY: nothing that is asked for is done.
    let platform = NULL.call_once(|| unsafe { GuestPlatform::new(Null::new(), Null::new(), nobody) });
    let timed = Timed::new(platform, tsc);
    let counted = Kernel::<_, _, false>::new(context, pages, platform, Null::new());
    let hypercalls = || {
        let library = platform.with_hypervisor(|null| null.hypercalls());
        Counted { hypercalls: library + counted.hypervisor.borrow().hypercalls(), tlb_flushes: 0 }
    };
    let grounds = Grounds {
        bare: &counted,
        counted: &counted,
        count: &hypercalls,
        timed: &Kernel::<_, _, false>::new(context, pages, &timed, Null::new()),
    };
    tell(plan, &grounds, reply)
}
