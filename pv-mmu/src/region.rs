//! Lazy MMU regions, as guards.

use hypercall::{MmuUpdate, MmuextOp, Operation, Pte, PteSlot, TaskContext};

use crate::{
    Asks, Callback, Failure, Failures, Mmu, Platform, RangeError, TaskState,
    caller::Caller,
    mmu::{Mode, Told},
    operations::{Operations, private::Submit},
    queue::Request,
    rewrite::{
        Reach, SetEntries,
        private::{Reaches, Rewrites},
    },
    stats::FlushReason,
};

/// Whether a region's operations wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// They may not.
    Never,
    /// They may, and none does: the outermost region begins with an empty queue, because whatever came before on this vCPU
    /// has left it so. So there is nothing that its leave has to hand over.
    NotYet,
    /// Some may.
    Perhaps,
}

/// A lazy MMU region: from [`Mmu::enter`] to [`Region::leave`], or to the drop.
///
/// Operations asked for in it may wait until it is left, in the order asked. They are handed over
/// earlier when the queue is full, when the task is switched out, and when something that must not
/// overtake them is asked for. Within a pause of the dynamic interface ([`crate::Dynamic::pause`]) they
/// are immediate, as everything is there. The region borrows its task, so a second one does not compile:
///
/// ```compile_fail,E0499
/// # use hypercall::TaskContext; use pv_mmu::{Mmu, Platform, TaskState};
/// fn nested<P: Platform>(mmu: Mmu<'_, P>, task: &mut TaskState, context: &TaskContext) {
///     let outer = mmu.enter(task, context);
///     let inner = mmu.enter(task, context);
///     drop((outer, inner));
/// }
/// ```
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::{MmuextOp, TaskContext};
/// use pv_mmu::{Mmu, Operations, TaskState};
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut region = Mmu::new(&kernel).enter(&mut task, &context);
/// region.set_ptes(guest.slot(0), 4, |n| guest.pte(n))?;
/// region.set_pte(guest.slot(4), guest.refused_pte());
/// region.mmuext(MmuextOp::TlbFlushAll);
///
/// // Nothing has been asked of the hypervisor; the region reads what it has asked for (R11).
/// assert!(guest.xen().read_entry(guest.slot(3)).is_some_and(|pte| pte.is_none()));
/// assert_eq!(region.read_pte(guest.slot(3)), guest.pte(3));
///
/// // Now it has, in one hypercall, and what was refused is named.
/// let failures = region.leave().unwrap_err();
/// assert_eq!((failures.count(), failures.iter().next().unwrap().errno()), (1, Some(hypercall::Errno::BUSY)));
/// assert!(guest.xen().read_entry(guest.slot(3)).is_some_and(|pte| pte.is_present()));
/// # Ok::<(), pv_mmu::RangeError>(())
/// ```
#[must_use = "a region ends when it is dropped; leave it to learn of failures"]
#[derive(Debug)]
pub struct Region<'r, P: Platform> {
    mmu: Mmu<'r, P>,
    task: &'r mut TaskState,
    context: &'r TaskContext,
    /// It has the task to itself, so nobody but the region changes what this follows from.
    waiting: Waiting,
}

impl<'r, P: Platform> Region<'r, P> {
    #[inline]
    pub(crate) fn enter(mmu: Mmu<'r, P>, task: &'r mut TaskState, context: &'r TaskContext) -> Self {
        mmu.end_leak(task);
        task.begin_guard();
        let waiting = match task.depth() {
            _ if !task.is_lazy() => Waiting::Never,
            1 => Waiting::NotYet,
            _ => Waiting::Perhaps,
        };
        Self { mmu, task, context, waiting }
    }

    /// Sets `count` consecutive L1 entries from `slot` on; `pte_of` gives the entry for each number
    /// from 0. The entries stay within one table.
    ///
    /// `pte_of` runs with upcalls masked and must not use the library.
    ///
    /// # Errors
    /// [`RangeError`]; nothing has been queued then.
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

    /// The entry as this region's operations have left it, pending ones included (R11).
    #[must_use]
    pub fn read_pte(&self, slot: PteSlot) -> Pte {
        self.mmu.read(slot)
    }

    /// An operation whose completion matters: `callback` runs once, after it has been handed over,
    /// and is told what became of it.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn operation_then(&mut self, operation: &Operation, callback: Callback) {
        self.submit(Request::new(*operation, Caller::here()).then(callback));
    }

    /// Runs `callback` once, after the next flush of what is queued now, even if nothing is.
    pub fn after_flush(&mut self, callback: Callback) {
        self.begin_to_wait();
        self.mmu.register(callback, Told::Task(self.task));
    }

    /// Hands over what is queued; the region goes on (Linux's `arch_flush_lazy_mmu_mode`).
    pub fn flush(&mut self) {
        self.mmu.flush(FlushReason::Explicit, &mut Told::Task(self.task));
    }

    /// Makes operations immediate until the answer is dropped (R5).
    pub fn pause(&mut self) -> Paused<'_, P> {
        self.mmu.flush(FlushReason::Pause, &mut Told::Task(self.task));
        Paused { mmu: self.mmu, _context: self.context }
    }

    /// Ends the region. When this returns, each of its operations is effective or has been named
    /// as failed: here, or to the platform where the flush was not this task's (R2).
    ///
    /// # Errors
    /// The operations that are not effective.
    #[inline]
    pub fn leave(mut self) -> Result<(), Failures> {
        self.end();
        let left = self.task.failures.take();
        // It has ended: there is nothing left for the drop to do.
        core::mem::forget(self);
        left
    }

    #[inline]
    fn end(&mut self) {
        if self.waiting == Waiting::Perhaps {
            self.hand_over();
        }
        self.task.end_guard();
    }

    #[inline(never)]
    fn hand_over(&mut self) {
        let reason = if self.task.depth() == 1 { FlushReason::Leave } else { FlushReason::NestedLeave };
        self.mmu.flush(reason, &mut Told::Task(self.task));
    }

    /// Something is about to be asked for.
    #[inline]
    fn begin_to_wait(&mut self) {
        if self.waiting == Waiting::NotYet {
            self.waiting = Waiting::Perhaps;
        }
    }

    #[inline]
    const fn mode(&self) -> Mode {
        if let Waiting::Never = self.waiting { Mode::Immediate(FlushReason::Immediate) } else { Mode::Lazy }
    }
}

impl<P: Platform> Region<'_, P> {
    #[cold]
    #[inline(never)]
    fn look_and_submit(&mut self, update: MmuUpdate, caller: Caller) {
        let is_first = self.waiting == Waiting::NotYet;
        self.begin_to_wait();
        // The first one goes into an empty queue.
        if is_first && self.mmu.append(update, caller) {
            return;
        }
        match self.mode() {
            Mode::Lazy => self.mmu.queue_leaf(update, &mut Told::Task(self.task), caller),
            Mode::Immediate(_) => self.submit(Request::leaf(update, caller)),
        }
    }
}

impl<P: Platform> Submit for Region<'_, P> {
    type Answer = ();

    #[inline]
    fn submit(&mut self, request: Request) {
        self.begin_to_wait();
        let mode = self.mode();
        if let Err(failure) = self.mmu.submit(request, mode, Told::Task(self.task)) {
            self.mmu.tell(&mut Told::Task(self.task), failure);
        }
    }

    #[inline]
    fn submit_leaf(&mut self, update: MmuUpdate, caller: Caller) {
        if !(self.waiting == Waiting::Perhaps && self.mmu.append(update, caller)) {
            self.look_and_submit(update, caller);
        }
    }
}

impl<P: Platform> Reaches for Region<'_, P> {
    type Platform = P;

    fn reach(&mut self) -> Reach<'_, P> {
        self.begin_to_wait();
        Reach { mmu: self.mmu, mode: self.mode(), told: Told::Task(self.task) }
    }
}

impl<P: Platform> Rewrites for Region<'_, P> {}
impl<P: Platform> Asks for Region<'_, P> {}

impl<P: Platform> Drop for Region<'_, P> {
    /// Leaves, unless [`Region::leave`] has; failures go to the platform.
    fn drop(&mut self) {
        if self.task.has_guard() {
            self.end();
            self.mmu.report_kept(self.task);
        }
    }
}

/// A pause of a region: operations are immediate until it is dropped. Pauses nest with
/// [`Paused::pause`]; the region they belong to can neither be used nor left meanwhile.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::TaskContext;
/// use pv_mmu::{Mmu, Operations, TaskState};
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut region = Mmu::new(&kernel).enter(&mut task, &context);
/// region.set_pte(guest.slot(0), guest.pte(0));
/// {
///     let mut paused = region.pause();
///     paused.set_pte(guest.slot(1), guest.pte(1))?;
///     assert!([0, 1].iter().all(|n| guest.xen().read_entry(guest.slot(*n)).unwrap().is_present()));
/// }
/// region.set_pte(guest.slot(2), guest.pte(2)); // may wait again
/// region.leave()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "the pause ends when it is dropped"]
#[derive(Debug)]
pub struct Paused<'r, P: Platform> {
    mmu: Mmu<'r, P>,
    _context: &'r TaskContext,
}

impl<P: Platform> Paused<'_, P> {
    /// A pause within the pause; it changes nothing by itself.
    pub fn pause(&mut self) -> Paused<'_, P> {
        Paused { mmu: self.mmu, _context: self._context }
    }

    /// The entry (R11).
    #[must_use]
    pub fn read_pte(&self, slot: PteSlot) -> Pte {
        self.mmu.read(slot)
    }

    /// Flushes one page of this vCPU's TLB.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn flush_page(&mut self, address: hypercall::VirtAddr) -> Result<(), Failure> {
        self.mmuext(MmuextOp::InvlpgLocal { address })
    }
}

impl<P: Platform> Submit for Paused<'_, P> {
    type Answer = Result<(), Failure>;

    fn submit(&mut self, request: Request) -> Self::Answer {
        self.mmu.submit(request, Mode::Immediate(FlushReason::Immediate), Told::Platform)
    }
}

impl<P: Platform> Reaches for Paused<'_, P> {
    type Platform = P;

    fn reach(&mut self) -> Reach<'_, P> {
        Reach { mmu: self.mmu, mode: Mode::Immediate(FlushReason::Immediate), told: Told::Platform }
    }
}

impl<P: Platform> Rewrites for Paused<'_, P> {}
impl<P: Platform> Asks for Paused<'_, P> {}
