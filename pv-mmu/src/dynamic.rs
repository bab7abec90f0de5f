//! The same contract with run-time checks, for callers that cannot carry guards.

use hypercall::{InterruptContext, MmuUpdate, Pte, PteSlot, TaskContext};

use crate::{
    Asks, EnterError, Failure, LeaveError, Mmu, PauseError, Platform, RangeError, ResumeError, TaskState,
    caller::Caller,
    mmu::{Mode, Told},
    operations::private::Submit,
    planted::Fault,
    queue::Request,
    rewrite::{
        Reach, SetEntries,
        private::{Reaches, Rewrites},
    },
    stats::FlushReason,
};

/// The context a call is made in.
#[derive(Clone, Copy, Debug)]
pub enum Context<'c> {
    /// A task's own code.
    Task(&'c TaskContext),
    /// A handler that interrupted the task.
    Interrupt(&'c InterruptContext),
}

/// A task's regions without guards: every rule that [`Region`](crate::Region) keeps at compile time
/// is checked at run time, and a refused call changes nothing.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::TaskContext;
/// use pv_mmu::{Context, EnterError, LeaveError, Mmu, Operations, TaskState};
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut dynamic = Mmu::new(&kernel).dynamic(&mut task, Context::Task(&context));
/// dynamic.enter().unwrap();
/// assert_eq!(dynamic.enter(), Err(EnterError::Nested), "and nothing has changed");
/// dynamic.set_pte(guest.slot(0), guest.pte(0))?;
/// dynamic.leave().unwrap();
/// assert_eq!(dynamic.leave(), Err(LeaveError::NotEntered));
/// # Ok::<(), pv_mmu::Failure>(())
/// ```
#[derive(Debug)]
pub struct Dynamic<'r, P: Platform> {
    mmu: Mmu<'r, P>,
    task: &'r mut TaskState,
    context: Context<'r>,
}

impl<'r, P: Platform> Dynamic<'r, P> {
    pub(crate) const fn new(mmu: Mmu<'r, P>, task: &'r mut TaskState, context: Context<'r>) -> Self {
        Self { mmu, task, context }
    }

    /// Enters a region (R4).
    ///
    /// # Errors
    /// [`EnterError`]; nothing has changed.
    pub fn enter(&mut self) -> Result<(), EnterError> {
        if self.is_interrupt() {
            return Err(EnterError::Interrupt);
        }
        if self.mmu.planted().has(Fault::StrictNests) {
            return self.task.enter_nested();
        }
        self.task.enter()
    }

    /// Leaves a region: flushes at any depth, and ends laziness at the outermost (R2, R4).
    ///
    /// # Errors
    /// [`LeaveError`]; only [`LeaveError::Failed`] means that the region was left.
    pub fn leave(&mut self) -> Result<(), LeaveError> {
        if self.is_interrupt() {
            return Err(LeaveError::Interrupt);
        }
        let Some(is_outermost) = self.task.begin_leave()? else { return Ok(()) };
        let reason = if is_outermost { FlushReason::Leave } else { FlushReason::NestedLeave };
        self.mmu.flush(reason, &mut Told::Task(self.task));
        self.task.end_leave();
        self.task.failures.take().map_err(LeaveError::Failed)
    }

    /// Pauses laziness at any depth: flushes, and makes operations immediate (R5). Legal outside
    /// a region too.
    ///
    /// # Errors
    /// [`PauseError`]; only [`PauseError::Failed`] means that it is paused.
    pub fn pause(&mut self) -> Result<(), PauseError> {
        if self.is_interrupt() {
            return Err(PauseError::Interrupt);
        }
        let was_lazy = self.task.is_lazy();
        self.task.pause()?;
        if was_lazy {
            self.mmu.flush(FlushReason::Pause, &mut Told::Task(self.task));
        }
        self.task.failures.take().map_err(PauseError::Failed)
    }

    /// Ends a pause; the depth is what it was (R5).
    ///
    /// # Errors
    /// [`ResumeError`]; after [`ResumeError::OpenRegions`] the pause is ended.
    pub fn resume(&mut self) -> Result<(), ResumeError> {
        if self.is_interrupt() {
            return Err(ResumeError::Interrupt);
        }
        let resumed = self.task.resume();
        if let Err(ResumeError::OpenRegions(regions)) = resumed {
            self.mmu.platform().report(&crate::Report::UnbalancedPause { regions });
        }
        resumed
    }

    /// Hands over what is queued on this vCPU; laziness goes on. Legal in any context.
    pub fn flush(&mut self) {
        match self.context {
            Context::Task(_) => self.mmu.flush(FlushReason::Explicit, &mut Told::Task(self.task)),
            Context::Interrupt(_) => self.mmu.flush(FlushReason::Interrupt, &mut Told::Platform),
        }
    }

    /// Sets `count` consecutive L1 entries from `slot` on: part of the queue when lazy, one array
    /// in one hypercall otherwise. `pte_of` runs with upcalls masked and must not use the library.
    /// Entries that could not be set are returned by the leave when lazy, else reported to the
    /// platform.
    ///
    /// # Errors
    /// [`RangeError`]; nothing has been done then.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn set_ptes(
        &mut self,
        slot: PteSlot,
        count: usize,
        pte_of: impl FnMut(usize) -> Pte,
    ) -> Result<(), RangeError> {
        RangeError::check(slot, count)?;
        let Reach { mmu, mode, mut told } = self.reach();
        mmu.submit_range(&mut SetEntries { first: slot, pte_of }, count, mode, &mut told, Caller::here());
        Ok(())
    }

    /// The task ends: a region still open is flushed and reported (R2). Does nothing in a handler.
    pub fn exit(&mut self) {
        if let Context::Task(context) = self.context {
            self.mmu.exit_task(self.task, context);
        }
    }

    /// The entry as the caller's operations have left it (R11).
    #[must_use]
    pub fn read_pte(&self, slot: PteSlot) -> Pte {
        self.mmu.read(slot)
    }

    /// Whether an operation asked for now may wait.
    #[must_use]
    pub const fn is_lazy(&self) -> bool {
        self.task.is_lazy() && !self.is_interrupt()
    }

    /// Whether the caller is a handler.
    #[must_use]
    pub const fn is_interrupt(&self) -> bool {
        matches!(self.context, Context::Interrupt(_))
    }

    fn mode(&self) -> Mode {
        match self.context {
            Context::Interrupt(_) => Mode::Immediate(FlushReason::Interrupt),
            Context::Task(_) if self.task.is_lazy() => Mode::Lazy,
            Context::Task(_) => Mode::Immediate(FlushReason::Immediate),
        }
    }

    fn told(&mut self, mode: Mode) -> Told<'_> {
        match mode {
            Mode::Lazy => Told::Task(self.task),
            Mode::Immediate(_) => Told::Platform,
        }
    }
}

impl<P: Platform> Submit for Dynamic<'_, P> {
    type Answer = Result<(), Failure>;

    fn submit(&mut self, request: Request) -> Self::Answer {
        let Reach { mmu, mode, told } = self.reach();
        mmu.submit(request, mode, told)
    }

    #[inline]
    fn submit_leaf(&mut self, update: MmuUpdate, caller: Caller) -> Self::Answer {
        if !self.is_lazy() {
            return self.submit(Request::leaf(update, caller));
        }
        // In one step: what was asked for is never between the task and a queue (R9).
        self.mmu.queue_leaf(update, &mut Told::Task(self.task), caller);
        Ok(())
    }
}

impl<P: Platform> Reaches for Dynamic<'_, P> {
    type Platform = P;

    fn reach(&mut self) -> Reach<'_, P> {
        let (mmu, mode) = (self.mmu, self.mode());
        Reach { mmu, mode, told: self.told(mode) }
    }
}

impl<P: Platform> Rewrites for Dynamic<'_, P> {}
impl<P: Platform> Asks for Dynamic<'_, P> {}
