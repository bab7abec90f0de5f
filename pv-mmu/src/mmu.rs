//! The way in, and the loop every call goes through: a step against the queue with upcalls masked,
//! then, with the vCPU released, whatever the step left to tell.
//!
//! Between the step and the telling the caller may be preempted and moved. The switch hook of the
//! vCPU it left then tells in its stead; so nothing is told twice and nothing stays untold (R2, R14).

use core::fmt;

use hypercall::{
    ENTRIES_PER_TABLE, InterruptContext, MmuUpdate, MmuextOp, Operation, Pte, PteSlot, SwitchContext, TaskContext,
};

use crate::{
    Callback, Context, ContextSwitch, Dynamic, Failure, Interrupt, Outside, Platform, Region, Report, Stats, Status,
    TaskState,
    caller::Caller,
    planted::{Fault, Planted},
    queue::{Notice, QueueSteps, Range, Reading, Request, Source, Step},
    stats::FlushReason,
};

/// Why a range is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RangeError {
    /// It has no entries.
    Empty,
    /// It reaches beyond its table.
    BeyondTable {
        /// Where it starts.
        slot: PteSlot,
        /// How many entries it has.
        count: usize,
    },
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the range has no entries"),
            Self::BeyondTable { slot, count } => {
                write!(f, "{count} entries from {slot} reach beyond the table; split the range")
            }
        }
    }
}

impl core::error::Error for RangeError {}

impl RangeError {
    /// Whether `count` entries from `slot` on are a range.
    pub(crate) const fn check(slot: PteSlot, count: usize) -> Result<(), Self> {
        if count == 0 {
            return Err(Self::Empty);
        }
        if count > ENTRIES_PER_TABLE || slot.offset(count - 1).is_none() {
            return Err(Self::BeyondTable { slot, count });
        }
        Ok(())
    }
}

/// Who is told of a failure.
pub(crate) enum Told<'t> {
    /// The task, at its leave.
    Task(&'t mut TaskState),
    /// The platform, at once.
    Platform,
}

impl Told<'_> {
    /// The same for a shorter time.
    pub(crate) const fn reborrow(&mut self) -> Told<'_> {
        match self {
            Self::Task(task) => Told::Task(task),
            Self::Platform => Told::Platform,
        }
    }
}

/// Whether an operation may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mode {
    Lazy,
    Immediate(FlushReason),
}

/// The library, bound to a kernel.
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
/// // One value, copied to wherever the kernel asks; the state is the task's, the queue the vCPU's.
/// let (mmu, context, mut task) = (Mmu::new(&kernel), TaskContext::in_user_space(), TaskState::new());
///
/// let mut region = mmu.enter(&mut task, &context);
/// (0..8).for_each(|n| region.set_pte(guest.slot(n), guest.pte(n)));
/// region.leave()?;
///
/// // Outside a region a write is effective when it returns, and asks what becomes of the TLB.
/// mmu.outside(&mut task, &context).set_pte(guest.slot(8), guest.pte(8))?.not_cached();
///
/// let stats = mmu.stats();
/// assert_eq!((stats.queued, stats.applied, stats.flushes), (9, 9, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Mmu<'p, P: Platform> {
    platform: &'p P,
}

impl<P: Platform> Clone for Mmu<'_, P> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Platform> Copy for Mmu<'_, P> {}

impl<'p, P: Platform> Mmu<'p, P> {
    /// The library on `platform`.
    #[must_use]
    pub const fn new(platform: &'p P) -> Self {
        Self { platform }
    }

    /// Enters a region: until it is left, `task`'s operations may wait (R1).
    ///
    /// A region of this task that was leaked is flushed and reported first (R2).
    #[inline]
    pub fn enter<'r>(self, task: &'r mut TaskState, context: &'r TaskContext) -> Region<'r, P>
    where
        'p: 'r,
    {
        Region::enter(self, task, context)
    }

    /// Operations of `task` outside any region: each is effective when it returns.
    #[inline]
    pub fn outside<'r>(self, task: &'r mut TaskState, context: &'r TaskContext) -> Outside<'r, P>
    where
        'p: 'r,
    {
        Outside::new(self, task, context)
    }

    /// Operations of an interrupt handler: each is effective when it returns, whatever the
    /// interrupted task has queued (R6).
    pub fn interrupt<'r>(self, context: &'r InterruptContext) -> Interrupt<'r, P>
    where
        'p: 'r,
    {
        Interrupt::new(self, context)
    }

    /// The switch hook: whatever the outgoing task has queued and what the switch itself needs
    /// leave as one ordered batch before the incoming task runs (R7).
    pub fn switch<'r>(self, context: &'r SwitchContext) -> ContextSwitch<'r, P>
    where
        'p: 'r,
    {
        ContextSwitch::new(self, context)
    }

    /// The same operations with the context checked at run time, for callers that cannot carry
    /// guards: C code, trace replay.
    pub fn dynamic<'r>(self, task: &'r mut TaskState, context: Context<'r>) -> Dynamic<'r, P>
    where
        'p: 'r,
    {
        if let Context::Task(_) = context {
            self.end_leak(task);
        }
        Dynamic::new(self, task, context)
    }

    /// The task ends: a region still open is flushed and reported (R2).
    pub fn exit_task(self, task: &mut TaskState, _context: &TaskContext) {
        let depth = task.abandon();
        if depth > 0 {
            self.clear_leak(task, depth);
        }
    }

    /// The counts of the vCPU the caller is on (R17).
    #[must_use]
    pub fn stats(self) -> Stats {
        self.platform.with_vcpu(|queue, _| queue.stats())
    }

    /// Switches counting on the caller's vCPU on or off; changes nothing else (R18).
    pub fn count(self, on: bool) {
        self.platform.with_vcpu(|queue, _| queue.count(on));
    }

    /// Which rule is broken on purpose.
    #[cfg(feature = "planted")]
    pub(crate) fn planted(self) -> Planted {
        Planted { fault: self.platform.planted() }
    }

    /// None is broken on purpose.
    #[cfg(not(feature = "planted"))]
    #[inline]
    pub(crate) const fn planted(self) -> Planted {
        Planted::NONE
    }

    pub(crate) const fn platform(self) -> &'p P {
        self.platform
    }

    /// Queues or issues one operation.
    ///
    /// # Errors
    /// In immediate mode, that this operation is not effective.
    pub(crate) fn submit(self, mut request: Request, mode: Mode, mut told: Told<'_>) -> Result<(), Failure> {
        if let Operation::Mmuext { op, .. } = &mut request.operation
            && !self.admit(op, mode)
        {
            if let Some(callback) = request.callback {
                self.register(callback, told);
            }
            return Ok(());
        }
        let mode = self.planted_mode(mode);
        let status = match mode {
            Mode::Lazy => {
                self.step(&mut told, |queue, hypervisor| queue.add(&request, P::ON_FAILURE, hypervisor));
                Status::Applied
            }
            Mode::Immediate(reason) => {
                self.step(&mut told, |queue, hypervisor| queue.now(&request, reason, P::ON_FAILURE, hypervisor))
            }
        };
        match status {
            Status::Applied => Ok(()),
            cause => Err(Failure::new(request.operation, cause, request.caller.location())),
        }
    }

    /// Queues an update of an L1 entry of the caller's own tables where it is plain that it goes at the end.
    #[inline]
    pub(crate) fn append(self, update: MmuUpdate, caller: Caller) -> bool {
        self.platform.with_vcpu(|queue, _| queue.append(update, caller))
    }

    /// Queues an update of an L1 entry of the caller's own tables.
    pub(crate) fn queue_leaf(self, update: MmuUpdate, told: &mut Told<'_>, caller: Caller) {
        self.step(told, |queue, hypervisor| queue.add_leaf(update, caller, P::ON_FAILURE, hypervisor));
    }

    /// Issues an update of an L1 entry of the caller's own tables.
    ///
    /// # Errors
    /// That it is not effective.
    #[inline]
    pub(crate) fn leaf_now(self, update: MmuUpdate, caller: Caller) -> Result<(), Failure> {
        let alone = self.platform.with_vcpu(|queue, hypervisor| queue.leaf_alone(update, hypervisor));
        if alone == Some(Status::Applied) { Ok(()) } else { self.leaf_not_alone(update, alone, caller) }
    }

    #[cold]
    fn leaf_not_alone(self, update: MmuUpdate, alone: Option<Status>, caller: Caller) -> Result<(), Failure> {
        let request = Request::leaf(update, caller);
        match alone {
            Some(cause) => Err(Failure::new(request.operation, cause, caller.location())),
            None => self.submit(request, Mode::Immediate(FlushReason::Immediate), Told::Platform),
        }
    }

    /// Queues or issues the updates of `count` entries of `source`.
    pub(crate) fn submit_range<S: Source>(
        self,
        source: &mut S,
        count: usize,
        mode: Mode,
        told: &mut Told<'_>,
        caller: Caller,
    ) {
        let (immediate, reason) = match mode {
            Mode::Lazy => (false, FlushReason::Capacity),
            Mode::Immediate(reason) => (true, reason),
        };
        let mut range = Range { source, next: 0, end: count, immediate, reason, caller };
        while range.next < range.end {
            self.step(told, |queue, hypervisor| queue.add_range(&mut range, P::ON_FAILURE, hypervisor));
        }
    }

    /// The mode, unless a fault makes it another.
    fn planted_mode(self, mode: Mode) -> Mode {
        let planted = self.planted();
        if planted.has(Fault::OutsideLooks) && !matches!(mode, Mode::Lazy) {
            self.platform.with_vcpu(|_, _| ());
        }
        match mode {
            Mode::Immediate(FlushReason::Immediate) if planted.has(Fault::OutsideWaits) => Mode::Lazy,
            Mode::Immediate(FlushReason::Interrupt) if planted.has(Fault::HandlerWaits) => Mode::Lazy,
            mode => mode,
        }
    }

    /// Whether a fault keeps what is queued from being handed over for `reason`.
    fn planted_keeps(self, reason: FlushReason) -> bool {
        let planted = self.planted();
        match reason {
            FlushReason::Leave => planted.has(Fault::LeaveKeeps),
            FlushReason::Pause => planted.has(Fault::PauseKeeps),
            FlushReason::Switch => planted.has(Fault::SwitchKeeps),
            _ => false,
        }
    }

    /// Hands over what is queued on the caller's vCPU.
    pub(crate) fn flush(self, reason: FlushReason, told: &mut Told<'_>) {
        if self.planted_keeps(reason) {
            return;
        }
        if self.planted().has(Fault::DividedStep) {
            self.platform.with_vcpu(|queue, hypervisor| queue.hand_over_and_keep(hypervisor));
            self.platform.with_vcpu(|queue, _| queue.forget_kept());
            return;
        }
        self.step(told, |queue, hypervisor| queue.flush(reason, P::ON_FAILURE, hypervisor));
    }

    /// The entry as the caller's own operations have left it (R11).
    pub(crate) fn read(self, slot: PteSlot) -> Pte {
        let reading = self.platform.with_vcpu(|queue, _| queue.reading(slot));
        if reading == Reading::Flush {
            self.flush(FlushReason::ReadHazard, &mut Told::Platform);
        }
        let memory = self.platform.read_pte(slot);
        match reading {
            _ if self.planted().has(Fault::ReadsMemory) => memory,
            Reading::Pending(overlay) => overlay.over(memory),
            Reading::Memory | Reading::Flush => memory,
        }
    }

    /// Registers a callback for the next flush; flushes first when there is no room.
    pub(crate) fn register(self, callback: Callback, mut told: Told<'_>) {
        while !self.platform.with_vcpu(|queue, _| queue.register(callback)) {
            self.step(&mut told, |queue, hypervisor| queue.flush(FlushReason::Capacity, P::ON_FAILURE, hypervisor));
        }
    }

    /// Ends a region whose guard was leaked: whoever has the task has seen the guard's borrow end.
    #[inline]
    pub(crate) fn end_leak(self, task: &mut TaskState) {
        if task.has_guard() {
            let depth = task.depth();
            task.end_guard();
            self.clear_leak(task, depth);
        }
    }

    #[cold]
    #[inline(never)]
    fn clear_leak(self, task: &mut TaskState, depth: u8) {
        self.flush(FlushReason::Leak, &mut Told::Platform);
        self.report_kept(task);
        self.platform.report(&Report::LeakedRegion { depth });
    }

    /// Tells the platform of the failures a task has kept, when no leave is there to return them.
    pub(crate) fn report_kept(self, task: &mut TaskState) {
        if let Err(failures) = task.failures.take() {
            failures.iter().for_each(|failure| self.platform.report(&Report::Failed(*failure)));
        }
    }

    /// Leaves of `op` what there is to do; `false` where that is nothing, as of a flush of nobody. A table is unpinned only
    /// once no other vCPU still has to leave it (R12).
    ///
    /// vCPUs that are offline are left out of an immediate flush. One that waits keeps them: they may
    /// come online, and cache what it is to flush, before it is handed over; Xen passes over those that
    /// have not.
    fn admit(self, op: &mut MmuextOp, mode: Mode) -> bool {
        match op {
            MmuextOp::TlbFlushMulti { vcpus } | MmuextOp::InvlpgMulti { vcpus, .. } => {
                if let Mode::Immediate(_) = mode {
                    *vcpus = vcpus.intersection(&self.platform.online());
                }
                !vcpus.is_empty()
            }
            MmuextOp::Unpin { table } => {
                if !self.planted().has(Fault::OthersStay) {
                    self.platform.flush_others(*table);
                }
                true
            }
            _ => true,
        }
    }

    /// Runs `step` until it is done, and tells what there is to tell each time the vCPU is released.
    #[inline]
    fn step<T>(self, told: &mut Told<'_>, mut step: impl FnMut(&mut P::Queue, &mut P::Hypervisor) -> Step<T>) -> T {
        loop {
            match self.platform.with_vcpu(&mut step) {
                Step::Done(answer) => return answer,
                Step::Collect(answer) => {
                    self.collect(told);
                    return answer;
                }
                Step::CollectFirst => self.collect(told),
            }
        }
    }

    #[cold]
    fn collect(self, told: &mut Told<'_>) {
        while let Some(notice) = self.platform.with_vcpu(|queue, _| queue.next_notice()) {
            match notice {
                Notice::Failed(failure) => self.tell(told, failure),
                Notice::MulticallRefused(errno) => self.platform.report(&Report::MulticallRefused(errno)),
                Notice::Run(callback, status) => callback.run(status),
            }
        }
    }

    pub(crate) fn tell(self, told: &mut Told<'_>, failure: Failure) {
        let untold = match told {
            Told::Task(task) => task.keep(failure),
            Told::Platform => Err(failure),
        };
        if let Err(failure) = untold {
            self.platform.report(&Report::Failed(failure));
        }
    }
}
