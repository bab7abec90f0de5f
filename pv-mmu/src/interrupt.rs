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
