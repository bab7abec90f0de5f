//! Operations outside any region.

use hypercall::{MmuextOp, Operation, Pte, PteSlot, TaskContext, UpdateCommand, VirtAddr};

use crate::{
    Failure, Failures, Mmu, Platform, RangeError, TaskState,
    caller::Caller,
    mmu::{Mode, Told},
    queue::{Height, Request},
    stats::FlushReason,
};

const NOW: Mode = Mode::Immediate(FlushReason::Immediate);

/// A task outside any region, or past one that the dynamic interface has open: every operation is
/// effective when it returns, as one hypercall.
///
/// It borrows the task, so it cannot be had while one of the task's regions is alive.
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
        self.now(Request::update(slot.with_command(UpdateCommand::Normal), pte, Height::Leaf, Caller::here()))
    }

    /// Sets an L1 entry and keeps what accessed and dirty bits the hardware has set in it.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn commit_pte(&mut self, slot: PteSlot, pte: Pte) -> Result<FlushOwed<'_, P>, Failure> {
        self.now(Request::update(slot.with_command(UpdateCommand::PreserveAd), pte, Height::Leaf, Caller::here()))
    }

    /// Sets an entry of an L2, L3 or L4 table.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn set_upper(&mut self, slot: PteSlot, pte: Pte) -> Result<FlushOwed<'_, P>, Failure> {
        self.now(Request::update(slot.with_command(UpdateCommand::Normal), pte, Height::Upper, Caller::here()))
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
        self.mmu
            .submit_range(slot, count, pte_of, NOW, Told::Task(self.task), Caller::here())
            .map_err(SetRangeError::Range)?;
        self.task.failures.take().map_err(SetRangeError::Failed)?;
        Ok(FlushOwed { mmu: self.mmu, _context: self.context })
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

    /// Empties an L1 entry and answers with what it held last, accessed and dirty bits of the
    /// hardware included.
    pub fn get_and_clear(&mut self, slot: PteSlot) -> Pte {
        self.mmu.exchange(slot, Pte::EMPTY, Told::Platform)
    }

    fn now(&mut self, request: Request) -> Result<FlushOwed<'_, P>, Failure> {
        self.mmu.submit(request, NOW, Told::Platform)?;
        Ok(FlushOwed { mmu: self.mmu, _context: self.context })
    }
}

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
