//! Operations of interrupt handlers.

use hypercall::{InterruptContext, Pte, PteSlot};

use crate::{
    Failure, Mmu, Platform,
    mmu::{Mode, Told},
    operations::private::Submit,
    queue::Request,
    rewrite::private::{Reach, Reaches, Rewrites},
    stats::FlushReason,
};

/// An interrupt handler's way in (R6): what it asks for is effective when the call returns. What
/// the interrupted task has queued goes out before it, in the same hypercall where that is
/// possible; the task stays lazy and loses nothing.
///
/// A handler holds another token than a task, so it cannot enter a region:
///
/// ```compile_fail,E0308
/// # use hypercall::InterruptContext; use pv_mmu::{Mmu, Platform, TaskState};
/// fn handler<P: Platform>(mmu: Mmu<'_, P>, task: &mut TaskState, context: &InterruptContext) {
///     drop(mmu.enter(task, context));
/// }
/// ```
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::{InterruptContext, TaskContext};
/// use pv_mmu::{Mmu, Operations, TaskState};
///
/// let (mmu, context, mut task) = (Mmu::new(&kernel), TaskContext::in_user_space(), TaskState::new());
/// let mut region = mmu.enter(&mut task, &context);
/// region.set_pte(guest.slot(0), guest.pte(0));
///
/// // A handler interrupts here: its own write is made, and the queued one before it.
/// let handler = InterruptContext::in_user_space();
/// mmu.interrupt(&handler).set_pte(guest.slot(1), guest.pte(1))?;
/// assert!([0, 1].iter().all(|n| guest.xen().read_entry(guest.slot(*n)).unwrap().is_present()));
///
/// region.leave()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Interrupt<'r, P: Platform> {
    mmu: Mmu<'r, P>,
    _context: &'r InterruptContext,
}

impl<'r, P: Platform> Interrupt<'r, P> {
    pub(crate) const fn new(mmu: Mmu<'r, P>, context: &'r InterruptContext) -> Self {
        Self { mmu, _context: context }
    }

    /// The entry, with what the interrupted task has pending (R11).
    #[must_use]
    pub fn read_pte(&self, slot: PteSlot) -> Pte {
        self.mmu.read(slot)
    }

    /// Hands over what is queued on this vCPU: what a remote vCPU's request, or taking the vCPU
    /// offline, calls for (R12).
    pub fn flush(&mut self) {
        self.mmu.flush(FlushReason::Interrupt, &mut Told::Platform);
    }
}

impl<P: Platform> Submit for Interrupt<'_, P> {
    type Answer = Result<(), Failure>;

    fn submit(&mut self, request: Request) -> Self::Answer {
        self.mmu.submit(request, Mode::Immediate(FlushReason::Interrupt), Told::Platform)
    }
}

impl<P: Platform> Reaches for Interrupt<'_, P> {
    type Platform = P;

    fn reach(&mut self) -> Reach<'_, P> {
        Reach { mmu: self.mmu, mode: Mode::Immediate(FlushReason::Interrupt), told: Told::Platform }
    }
}

impl<P: Platform> Rewrites for Interrupt<'_, P> {}
