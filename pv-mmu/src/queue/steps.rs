//! The steps of a queue, each of which nothing divides.

use hypercall::{Hypervisor, MmuUpdate, PteSlot, Subject};

use super::{Callback, Range, Reading, Request, Source, VcpuQueue};
use crate::{
    Failure, FailurePolicy, Status,
    caller::Caller,
    planted::Fault,
    stats::{FlushReason, Stats},
};

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Done, and nothing to collect.
    Done(T),
    /// Done; notices wait.
    Collect(T),
    /// Not done: notices of an earlier batch have to be collected before.
    CollectFirst,
}

/// Something to act on once the vCPU is released.
#[derive(Clone, Copy, Debug)]
pub enum Notice {
    /// An operation is not effective.
    Failed(Failure),
    /// The hypervisor refused a multicall; its calls went out one by one.
    MulticallRefused(hypercall::Errno),
    /// A callback is to run.
    Run(Callback, Status),
}

/// The steps of a queue, for the rest of the crate. Not for callers: the trait cannot be named
/// outside.
pub trait QueueSteps {
    /// Adds an update of an L1 entry of the caller's own, where it is plain that it goes at the end and fits; `false`
    /// where that has to be looked into ([`QueueSteps::add_leaf`]), and nothing has changed.
    fn append(&mut self, update: MmuUpdate, caller: Caller) -> bool;

    /// Adds an update of an L1 entry of the caller's own, as [`QueueSteps::add`] does.
    fn add_leaf<H: Hypervisor>(
        &mut self,
        update: MmuUpdate,
        caller: Caller,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> Step<()>;

    /// Adds an operation, and its callback, to the batch; flushes before when there is no room.
    fn add<H: Hypervisor>(&mut self, request: &Request, policy: FailurePolicy, hypervisor: &mut H) -> Step<()>;

    /// Adds the updates of `range` that are left, as far as there is room, and moves the range on.
    /// What did not fit needs another step; so upcalls are open between two chunks (R15).
    fn add_range<H: Hypervisor, S: Source>(
        &mut self,
        range: &mut Range<'_, S>,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> Step<()>;

    /// Adds an operation and hands everything over. Answers with the operation's own status, which
    /// is not among the notices then.
    fn now<H: Hypervisor>(
        &mut self,
        request: &Request,
        reason: FlushReason,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> Step<Status>;

    /// Issues an update of an L1 entry of the caller's own by itself, and answers with its status; `None` where something is
    /// queued that has to go before it, and nothing has been done.
    fn leaf_alone<H: Hypervisor>(&mut self, update: MmuUpdate, hypervisor: &mut H) -> Option<Status>;

    /// Hands everything over.
    fn flush<H: Hypervisor>(&mut self, reason: FlushReason, policy: FailurePolicy, hypervisor: &mut H) -> Step<()>;

    /// The next notice.
    fn next_notice(&mut self) -> Option<Notice>;

    /// Registers a callback for the next flush; `false` when there is no room.
    fn register(&mut self, callback: Callback) -> bool;

    /// Where a read of `slot` finds its answer (R11).
    fn reading(&mut self, slot: PteSlot) -> Reading;

    /// The counts.
    fn stats(&self) -> Stats;

    /// Switches counting on or off.
    fn count(&mut self, on: bool);

    /// Hands everything over and keeps it, as [`Fault::DividedStep`] says.
    fn hand_over_and_keep<H: Hypervisor>(&mut self, hypervisor: &mut H);

    /// Forgets what was kept.
    fn forget_kept(&mut self);
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> QueueSteps for VcpuQueue<UPDATES, CALLS, WORDS> {
    #[inline(always)]
    fn append(&mut self, update: MmuUpdate, caller: Caller) -> bool {
        let address = update.slot.address();
        if address <= self.highest || self.planted.has(Fault::JoinsAcross) || !self.batch.extend(update) {
            return false;
        }
        self.highest = address;
        self.callers.of_update(self.batch.updates().len().wrapping_sub(1), caller);
        true
    }

    fn add_leaf<H: Hypervisor>(
        &mut self,
        update: MmuUpdate,
        caller: Caller,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> Step<()> {
        let is_filling = self.collecting.is_none();
        if !is_filling || !self.add_with(policy, hypervisor, |queue| queue.place_leaf(update, caller)) {
            return Step::CollectFirst;
        }
        self.asked();
        self.step(())
    }

    fn add<H: Hypervisor>(&mut self, request: &Request, policy: FailurePolicy, hypervisor: &mut H) -> Step<()> {
        if self.collecting.is_some() {
            return Step::CollectFirst;
        }
        if request.callback.is_some() && self.callbacks.is_full() {
            self.issue(FlushReason::Capacity, policy, hypervisor);
            return Step::CollectFirst;
        }
        if !self.add_with(policy, hypervisor, |queue| queue.place(request)) {
            return Step::CollectFirst;
        }
        self.asked();
        if let Some(callback) = request.callback {
            self.callbacks.add(callback, self.last_position());
        }
        self.step(())
    }

    fn add_range<H: Hypervisor, S: Source>(
        &mut self,
        range: &mut Range<'_, S>,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> Step<()> {
        if self.collecting.is_some() {
            return Step::CollectFirst;
        }
        if let Some(reason) = self.fill(range) {
            self.issue(reason, policy, hypervisor);
            if reason == FlushReason::Capacity && self.planted.has(Fault::RangeUndivided) {
                return self.add_range(range, policy, hypervisor);
            }
        }
        self.step(())
    }

    fn now<H: Hypervisor>(
        &mut self,
        request: &Request,
        reason: FlushReason,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> Step<Status> {
        if self.collecting.is_some() {
            return Step::CollectFirst;
        }
        self.asked();
        if self.is_idle() {
            return Step::Done(self.direct(&request.operation, hypervisor));
        }
        if self.push(request).is_err() {
            self.issue(FlushReason::Capacity, policy, hypervisor);
            let status = self.direct(&request.operation, hypervisor);
            return self.step(status);
        }
        let position = self.last_position();
        self.issue(reason, policy, hypervisor);
        let mut status = position.map_or(Status::Applied, |position| self.take_status(position));
        // Another's refusal is no reason not to attempt this one (R6).
        if status == Status::NotAttempted {
            self.stats.not_attempted -= u64::from(self.counting);
            status = self.direct(&request.operation, hypervisor);
        }
        self.step(status)
    }

    #[inline]
    fn leaf_alone<H: Hypervisor>(&mut self, update: MmuUpdate, hypervisor: &mut H) -> Option<Status> {
        if self.collecting.is_some() || !self.is_idle() {
            return None;
        }
        let result = hypervisor.mmu_update(core::slice::from_ref(&update), Subject::SELF).result;
        let status = result.map_or_else(Status::Refused, |()| Status::Applied);
        self.asked();
        self.count_direct(status);
        Some(status)
    }

    fn flush<H: Hypervisor>(&mut self, reason: FlushReason, policy: FailurePolicy, hypervisor: &mut H) -> Step<()> {
        if self.collecting.is_some() {
            return Step::CollectFirst;
        }
        self.issue(reason, policy, hypervisor);
        self.step(())
    }

    fn hand_over_and_keep<H: Hypervisor>(&mut self, hypervisor: &mut H) {
        if !self.batch.is_empty() {
            let _kept = self.hand_over(hypervisor);
        }
    }

    fn forget_kept(&mut self) {
        let operations = self.operations();
        self.tally(Status::Applied, operations);
        self.forget();
    }

    fn next_notice(&mut self) -> Option<Notice> {
        if let Some(errno) = self.multicall_refused.take() {
            return Some(Notice::MulticallRefused(errno));
        }
        if let Some(failure) = self.next_failure() {
            return Some(Notice::Failed(failure));
        }
        let due = self.callbacks.take_due().filter(|_| !self.planted.has(Fault::CallbacksForgotten));
        due.map(|(callback, status)| Notice::Run(callback, status))
    }

    fn register(&mut self, callback: Callback) -> bool {
        self.callbacks.add(callback, None)
    }

    fn reading(&mut self, slot: PteSlot) -> Reading {
        if self.collecting.is_some() {
            return Reading::Memory;
        }
        if self.writes_unnamed {
            return Reading::Flush;
        }
        self.index_all();
        self.pending_value(slot).map_or(Reading::Memory, Reading::Pending)
    }

    fn stats(&self) -> Stats {
        self.counts()
    }

    fn count(&mut self, on: bool) {
        if self.planted.has(Fault::CountingEmpties) && !on {
            self.batch.clear();
        }
        self.count_appended();
        let pending = self.pending();
        match (self.counting, on) {
            (false, true) => self.stats.queued += pending,
            (true, false) => self.stats.queued = self.stats.queued.saturating_sub(pending),
            _ => {}
        }
        self.counting = on;
    }
}
