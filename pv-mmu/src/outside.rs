//! Operations outside any region.

use hypercall::{MmuUpdate, MmuextOp, Operation, Pte, PteSlot, TaskContext, UpdateCommand, VirtAddr};

use crate::{
    Asks, Failure, Failures, Harvest, HarvestError, Held, HeldBuffer, Known, Mmu, NotCleared, Platform, RangeError,
    TaskState, Young,
    caller::Caller,
    mmu::{Mode, Told},
    queue::Request,
    rewrite::{Reach, SetEntries, private::Reaches, write_protect},
    stats::FlushReason,
};

const NOW: Mode = Mode::Immediate(FlushReason::Immediate);

/// A task outside any region, or past one that the dynamic interface has open: every operation is
/// effective when it returns, as one hypercall.
///
/// It borrows the task, so it cannot be had while one of the task's regions is alive.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::{Pte, TaskContext, VirtAddr};
/// use pv_mmu::{Mmu, TaskState};
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut outside = Mmu::new(&kernel).outside(&mut task, &context);
/// outside.set_pte(guest.slot(0), guest.pte(0))?.not_cached();
/// outside.set_pte(guest.slot(0), Pte::EMPTY)?.flush_page_everywhere(VirtAddr::unchecked(0x7000_0000))?;
/// # Ok::<(), pv_mmu::Failure>(())
/// ```
#[derive(Debug)]
pub struct Outside<'r, P: Platform> {
    mmu: Mmu<'r, P>,
    task: &'r mut TaskState,
    context: &'r TaskContext,
}

/// Why a range is not effective, or not whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetRangeError {
    /// It is no range; nothing has been done.
    Range(RangeError),
    /// These entries of it could not be set.
    Failed(Failures),
}

impl core::fmt::Display for SetRangeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Range(error) => error.fmt(f),
            Self::Failed(failures) => failures.fmt(f),
        }
    }
}

impl core::error::Error for SetRangeError {}

impl<'r, P: Platform> Outside<'r, P> {
    #[inline]
    pub(crate) fn new(mmu: Mmu<'r, P>, task: &'r mut TaskState, context: &'r TaskContext) -> Self {
        mmu.end_leak(task);
        Self { mmu, task, context }
    }

    /// Sets an L1 entry.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    #[inline]
    pub fn set_pte(&mut self, slot: PteSlot, pte: Pte) -> Result<FlushOwed<'_, P>, Failure> {
        self.mmu.leaf_now(MmuUpdate::new(slot.with_command(UpdateCommand::Normal), pte), Caller::here())?;
        Ok(self.owed())
    }

    /// Sets an L1 entry and keeps what accessed and dirty bits the hardware has set in it.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn commit_pte(&mut self, slot: PteSlot, pte: Pte) -> Result<FlushOwed<'_, P>, Failure> {
        self.mmu.leaf_now(MmuUpdate::new(slot.with_command(UpdateCommand::PreserveAd), pte), Caller::here())?;
        Ok(self.owed())
    }

    /// Sets an entry of an L2, L3 or L4 table.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn set_upper(&mut self, slot: PteSlot, pte: Pte) -> Result<FlushOwed<'_, P>, Failure> {
        self.now(Request::upper(MmuUpdate::new(slot.with_command(UpdateCommand::Normal), pte), Caller::here()))
    }

    /// Sets `count` consecutive L1 entries from `slot` on as one array in one hypercall, or as many as the
    /// queue's room for updates makes of it; `pte_of` gives the entry for each number from 0. The entries
    /// stay within one table. There is no region in it, so nothing nests.
    ///
    /// `pte_of` runs with upcalls masked and must not use the library.
    ///
    /// # Errors
    /// [`SetRangeError`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn set_ptes(
        &mut self,
        slot: PteSlot,
        count: usize,
        pte_of: impl FnMut(usize) -> Pte,
    ) -> Result<FlushOwed<'_, P>, SetRangeError> {
        RangeError::check(slot, count).map_err(SetRangeError::Range)?;
        let Reach { mmu, mode, mut told } = self.reach();
        mmu.submit_range(&mut SetEntries { first: slot, pte_of }, count, mode, &mut told, Caller::here());
        self.settle().map_err(SetRangeError::Failed)
    }

    /// Any operation, as it is.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn operation(&mut self, operation: &Operation) -> Result<FlushOwed<'_, P>, Failure> {
        self.now(Request::new(*operation, Caller::here()))
    }

    /// A TLB flush, pin, base pointer or other `mmuext_op` of the caller's own domain.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn mmuext(&mut self, op: MmuextOp) -> Result<(), Failure> {
        self.mmu.submit(Request::mmuext(op, Caller::here()), NOW, Told::Platform)
    }

    /// The entry (R11).
    #[must_use]
    pub fn read_pte(&self, slot: PteSlot) -> Pte {
        self.mmu.read(slot)
    }

    /// Empties an L1 entry and answers with what it held last
    /// ([`ReadModifyWrite::get_and_clear`](crate::ReadModifyWrite::get_and_clear)).
    ///
    /// # Errors
    /// [`NotCleared`]; the failure goes to the platform.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn get_and_clear(&mut self, slot: PteSlot) -> Result<(Held, FlushOwed<'_, P>), NotCleared> {
        let reach = Reach { told: Told::Platform, ..self.reach() };
        let held = reach.get_and_clear(slot, Caller::here())?;
        Ok((held, self.owed()))
    }

    /// Empties `count` consecutive entries of one table and answers with what they held last. Entries that
    /// could not be emptied are not among them; their failures go to the platform.
    ///
    /// # Errors
    /// [`HarvestError`]; nothing has been done then.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn get_and_clear_range<'b, const N: usize>(
        &mut self,
        slot: PteSlot,
        count: usize,
        buffer: &'b mut HeldBuffer<N>,
    ) -> Result<(&'b [Held], FlushOwed<'_, P>), HarvestError> {
        let mut harvest = Harvest::new(Reach { told: Told::Platform, ..self.reach() }, buffer);
        harvest.get_and_clear_range(slot, count)?;
        Ok((harvest.finish(), self.owed()))
    }

    /// Takes from `count` consecutive entries of one table the right to store; accessed and dirty stay.
    ///
    /// # Errors
    /// [`SetRangeError`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn wrprotect_range(&mut self, slot: PteSlot, count: usize) -> Result<FlushOwed<'_, P>, SetRangeError> {
        self.modify_range(slot, count, write_protect)
    }

    /// Changes `count` consecutive entries of one table by what is known of them
    /// ([`ReadModifyWrite::modify_range`](crate::ReadModifyWrite::modify_range)).
    ///
    /// # Errors
    /// [`SetRangeError`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn modify_range(
        &mut self,
        slot: PteSlot,
        count: usize,
        pte_of: impl FnMut(usize, Known) -> Option<Pte>,
    ) -> Result<FlushOwed<'_, P>, SetRangeError> {
        RangeError::check(slot, count).map_err(SetRangeError::Range)?;
        self.reach().modify(slot, count, pte_of, Caller::here());
        self.settle().map_err(SetRangeError::Failed)
    }

    /// Which of `count` consecutive entries of one table were used; from now on they count as not used
    /// ([`ReadModifyWrite::test_and_clear_young`](crate::ReadModifyWrite::test_and_clear_young)).
    ///
    /// # Errors
    /// [`SetRangeError`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn test_and_clear_young_range(
        &mut self,
        slot: PteSlot,
        count: usize,
    ) -> Result<(Young, FlushOwed<'_, P>), SetRangeError> {
        RangeError::check(slot, count).map_err(SetRangeError::Range)?;
        let young = self.reach().age(slot, count, Caller::here());
        let owed = self.settle().map_err(SetRangeError::Failed)?;
        Ok((young, owed))
    }

    /// What of the last call could not be done.
    fn settle(&mut self) -> Result<FlushOwed<'_, P>, Failures> {
        self.task.failures.take()?;
        Ok(self.owed())
    }

    const fn owed(&self) -> FlushOwed<'_, P> {
        FlushOwed { mmu: self.mmu, _context: self.context }
    }

    fn now(&mut self, request: Request) -> Result<FlushOwed<'_, P>, Failure> {
        self.mmu.submit(request, NOW, Told::Platform)?;
        Ok(self.owed())
    }
}

impl<P: Platform> Reaches for Outside<'_, P> {
    type Platform = P;

    fn reach(&mut self) -> Reach<'_, P> {
        Reach { mmu: self.mmu, mode: NOW, told: Told::Task(self.task) }
    }
}

impl<P: Platform> Asks for Outside<'_, P> {}

/// The TLB question: an entry has changed, and some vCPU's TLB may still hold the old one.
///
/// Xen flushes nothing for an L1 update. Answer with one of the methods.
#[must_use = "an entry has changed: flush the TLB, or say that the old entry cannot be cached"]
#[derive(Debug)]
pub struct FlushOwed<'r, P: Platform> {
    mmu: Mmu<'r, P>,
    _context: &'r TaskContext,
}

impl<P: Platform> FlushOwed<'_, P> {
    /// The old entry cannot be in any TLB: it was not present, or nobody has used it.
    pub const fn not_cached(self) {}

    /// Somebody else flushes, later: the caller has seen to it.
    pub const fn deferred(self) {}

    /// Invalidates one page on this vCPU.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn flush_page(self, address: VirtAddr) -> Result<(), Failure> {
        self.flush(MmuextOp::InvlpgLocal { address })
    }

    /// Invalidates one page on every vCPU.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn flush_page_everywhere(self, address: VirtAddr) -> Result<(), Failure> {
        self.flush(MmuextOp::InvlpgAll { address })
    }

    /// Flushes every vCPU's TLB.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn flush_all(self) -> Result<(), Failure> {
        self.flush(MmuextOp::TlbFlushAll)
    }

    #[cfg_attr(feature = "caller-location", track_caller)]
    fn flush(self, op: MmuextOp) -> Result<(), Failure> {
        self.mmu.submit(Request::mmuext(op, Caller::here()), NOW, Told::Platform)
    }
}
