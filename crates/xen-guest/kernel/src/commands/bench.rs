//! Policies against workloads, on the hypervisor this runs on.
//!
//! The answer is text. First `xen` and the version; then a row a line: workload, policy, updates, hypercalls,
//! cost, and the longest stretch with upcalls masked, both in ticks of the time-stamp counter. The payload picks a
//! workload by its name; an empty one, all.

use core::cell::{RefCell, RefMut};
use core::fmt::Write as _;

use hypercall::{Hypervisor, Mfn, Pte, PteFlags, TaskContext, VirtAddr, xen::Xen};
use pv_mmu::Platform;
use workloads::{Error as NoCost, Ground, Grounds, Policy, Timed, Workload};
use xen_guest::memory::{Page, take_page};
use xen_guest::timer::tsc;

use super::version;
use crate::{
    error::Error,
    mmu::{self, FLAGS},
    reply::Reply,
};

const FRAMES: usize = 16;

/// The page that is to be a table, and frames to map.
struct Pages {
    table: RefCell<Page>,
    frames: [Mfn; FRAMES],
}

impl Pages {
    fn take() -> Result<Self, Error> {
        let table = RefCell::new(take_page().ok_or(Error::NoPage)?);
        let mut frames = [Mfn::new(0); FRAMES];
        for frame in &mut frames {
            *frame = take_page().ok_or(Error::NoPage)?.frame();
        }
        Ok(Self { table, frames })
    }
}

/// This kernel, with its platform and the hypervisor of peers.
struct Kernel<'k, P, H> {
    context: &'k TaskContext,
    pages: &'k Pages,
    platform: &'k P,
    hypervisor: RefCell<H>,
}

impl<P: Platform, H: Hypervisor> Kernel<'_, P, H> {
    fn page(&self) -> RefMut<'_, Page> {
        self.pages.table.borrow_mut()
    }
}

impl<P: Platform, H: Hypervisor> Ground for Kernel<'_, P, H> {
    type Hypervisor = H;
    type Platform = P;
    type Memory = Page;

    const ADDED: PteFlags = FLAGS;

    fn platform(&self) -> &P {
        self.platform
    }

    fn task(&self) -> &TaskContext {
        self.context
    }

    fn hypervisor<R>(&self, step: impl FnOnce(&mut H) -> R) -> R {
        step(&mut self.hypervisor.borrow_mut())
    }

    fn ticks(&self) -> u64 {
        tsc()
    }

    fn table(&self) -> Mfn {
        self.page().frame()
    }

    fn address(&self) -> VirtAddr {
        self.page().address()
    }

    fn memory(&self) -> Page {
        // SAFETY: a policy uses the page while this kernel does not, and what it has done is looked at afterwards.
        unsafe { self.page().twin() }
    }

    fn frame(&self, number: usize) -> Mfn {
        self.pages.frames[number % FRAMES]
    }

    fn load(&self, index: usize) -> Result<Pte, NoCost> {
        self.page().read(index).map(Pte::from_bits).map_err(|_| NoCost::Access { index })
    }

    fn store(&self, index: usize, pte: Pte) -> Result<(), NoCost> {
        self.page().write(index, pte.bits()).map_err(|_| NoCost::Access { index })
    }

    fn exchange(&self, index: usize, pte: Pte) -> Result<Pte, NoCost> {
        self.page().exchange(index, pte.bits()).map(Pte::from_bits).map_err(|_| NoCost::Access { index })
    }

    fn clear_writable(&self, index: usize) -> Result<(), NoCost> {
        self.page().clear_writable(index).map_err(|_| NoCost::Access { index })
    }
}

/// Measures what the payload asks for.
pub(crate) fn bench(context: &TaskContext, payload: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let wanted = |workload: &Workload| payload.is_empty() || payload == workload.name.as_bytes();
    if !Workload::ALL.iter().any(wanted) {
        return Err(Error::Payload);
    }
    version(reply)?;
    let pages = Pages::take()?;
    // SAFETY: this is a kernel without a red zone, and what is measured changes a page of the pool.
    let xen = || RefCell::new(unsafe { Xen::assume() });
    let timed = Timed::new(mmu::bare(), tsc);
    let grounds = Grounds {
        bare: &Kernel { context, pages: &pages, platform: mmu::bare(), hypervisor: xen() },
        counted: &Kernel {
            context,
            pages: &pages,
            platform: mmu::platform(),
            hypervisor: RefCell::new(mmu::counted()),
        },
        hypercalls: &|| mmu::counts().hypercalls,
        timed: &Kernel { context, pages: &pages, platform: &timed, hypervisor: xen() },
    };
    for workload in Workload::ALL.into_iter().filter(wanted) {
        for policy in Policy::ALL {
            let cost = grounds.measure(policy, workload).map_err(|error| Error::NoCost(workload, policy, error))?;
            let (Workload { name, updates, .. }, policy) = (workload, policy.name());
            // A reply takes everything.
            let _ =
                writeln!(reply, "{name} {policy} {updates} {} {} {}", cost.hypercalls, cost.ticks, cost.longest_masked);
        }
    }
    Ok(())
}
