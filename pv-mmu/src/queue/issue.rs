//! Handing a batch over, and finding out what became of it.
//!
//! One call goes out directly, several as a multicall. Xen stops an array at its first refused
//! operation and goes on with the next call, so a refusal in the middle leaves operations behind
//! that have not been looked at. They are attempted in calls of their own, still within the same
//! step, where that keeps the order (R3):
//!
//! - always, when no later call has run;
//! - L1 updates also behind later calls that only updated *other* L1 entries, flushed TLBs or loaded
//!   registers, with which they commute; the TLB flushes are then issued again, because a flush
//!   asked for after a write is effective after that write (R12).
//!
//! Otherwise they are reported as not attempted (R14). Each operation is handed over at most once
//! successfully (R13).

use hypercall::{Entry, EntryKind, Hypervisor, Operation, Outcome, Subject, issue_operation};

use super::{CLOSED, Height, Position, VcpuQueue};
use crate::{Failure, FailurePolicy, Status, planted::Fault, stats::FlushReason};

/// Where something went wrong.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// In the only call.
    Call(Outcome),
    /// In a multicall, whose entries tell.
    Multicall,
}

/// Where operations that have not been looked at would come if they were issued now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before every other that is left: nothing behind them has run.
    InOrder,
    /// Behind operations that commute with them, and TLB flushes that have to be issued again.
    Late,
    /// Behind operations they must not come after.
    Lost,
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> VcpuQueue<UPDATES, CALLS, WORDS> {
    /// One operation past the queue.
    pub(super) fn direct<H: Hypervisor>(&mut self, operation: &Operation, hypervisor: &mut H) -> Status {
        let status = match issue_operation(hypervisor, operation) {
            Ok(()) => Status::Applied,
            Err(errno) => Status::Refused(errno),
        };
        self.count_direct(status);
        status
    }

    #[inline]
    pub(super) fn count_direct(&mut self, status: Status) {
        if self.counting {
            self.stats.direct += 1;
            self.tally(status, 1);
        }
    }

    /// Whether nothing waits for a flush.
    #[inline]
    pub(super) const fn is_idle(&self) -> bool {
        self.batch.is_empty() && self.callbacks.is_empty()
    }

    /// Hands the batch over. Afterwards the queue is empty, or holds failures to be collected.
    pub(super) fn issue<H: Hypervisor>(&mut self, reason: FlushReason, policy: FailurePolicy, hypervisor: &mut H) {
        if !self.batch.is_empty() {
            let operations = self.operations();
            if self.counting {
                self.stats.flushed(reason, operations);
            }
            match self.hand_over(hypervisor) {
                None => {
                    self.tally(Status::Applied, operations);
                    self.forget_unless_planted(reason, hypervisor);
                }
                Some(trouble) => {
                    self.settle(trouble, policy, hypervisor);
                    self.tally_each();
                }
            }
        }
        self.complete_callbacks();
    }

    /// Issues every call once. Answers if any was refused or did not run.
    pub(super) fn hand_over<H: Hypervisor>(&mut self, hypervisor: &mut H) -> Option<Trouble> {
        if self.batch.len() > 1 {
            self.multicall_refused = hypervisor.multicall(&mut self.batch.prepare()).err();
            let clean = |outcome: Option<Outcome>| outcome.is_some_and(|outcome| outcome.result.is_ok());
            let all_clean = (0..self.batch.len()).all(|call| clean(self.batch.outcome(call)));
            return (!all_clean).then_some(Trouble::Multicall);
        }
        let outcome = match self.batch.array() {
            Some((updates, subject)) => hypervisor.mmu_update(updates, subject),
            None => hypervisor.call(&mut self.batch.prepare_call(0, 0)?),
        };
        outcome.result.is_err().then_some(Trouble::Call(outcome))
    }

    /// Notes what became of every operation, then follows up those that have not been looked at.
    fn settle<H: Hypervisor>(&mut self, trouble: Trouble, policy: FailurePolicy, hypervisor: &mut H) {
        self.highest = CLOSED;
        self.statuses.reset();
        self.index_all();
        self.collecting = Some(Position { call: 0, item: 0 });
        let mut refused = false;
        for call in 0..self.batch.len() {
            let outcome = match trouble {
                Trouble::Call(outcome) => Some(outcome),
                Trouble::Multicall => self.batch.outcome(call),
            };
            refused |= outcome.is_some_and(|outcome| outcome.result.is_err());
            self.note_outcome(call, outcome);
        }
        let mut stopped = refused && policy == FailurePolicy::Stop;
        let mut first_late = None;
        for call in 0..self.batch.len() {
            let Some((entry, from)) = self.first_not_attempted(call) else { continue };
            let place = self.place_of(call, entry, from);
            if stopped || place == Place::Lost {
                continue;
            }
            stopped |= self.attempt(call, entry, from, policy, hypervisor);
            if place == Place::Late {
                first_late = first_late.or(Some(call));
            }
        }
        if let Some(late) = first_late {
            self.flush_tlbs_again(late + 1, hypervisor);
        }
    }

    /// Notes what the hypervisor said of a call; what it has not looked at counts as not attempted.
    fn note_outcome(&mut self, call: usize, outcome: Option<Outcome>) {
        let Some(entry) = self.batch.entry(call) else { return };
        let (done, cause) = match outcome {
            Some(Outcome { result: Ok(()), .. }) => return,
            Some(Outcome { done, result: Err(errno) }) => (done as u16, Status::Refused(errno)),
            None => (0, Status::NotAttempted),
        };
        let refused = done.min(entry.len - 1);
        self.statuses.set(entry, call, refused, cause);
        for item in refused + 1..entry.len {
            self.statuses.set(entry, call, item, Status::NotAttempted);
        }
    }

    /// The first operation of a call that has not been looked at.
    fn first_not_attempted(&self, call: usize) -> Option<(Entry, u16)> {
        let entry = self.batch.entry(call)?;
        let is_left = |item: &u16| self.statuses.get(entry, call, *item) == Status::NotAttempted;
        Some((entry, (0..entry.len).find(is_left)?))
    }

    /// Issues a call from operation `from` on, past every refusal unless `policy` stops at one; `true`
    /// if it does.
    fn attempt<H: Hypervisor>(
        &mut self,
        call: usize,
        entry: Entry,
        mut from: u16,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> bool {
        while let Some(mut rest) = self.batch.prepare_call(call, from) {
            let outcome = hypervisor.call(&mut rest);
            let done = if outcome.result.is_ok() { entry.len - from } else { outcome.done as u16 };
            for item in from..(from + done).min(entry.len) {
                self.statuses.set(entry, call, item, Status::Applied);
            }
            let Err(errno) = outcome.result else { return false };
            let item = (from + done).min(entry.len - 1);
            self.statuses.set(entry, call, item, Status::Refused(errno));
            from = item + 1;
            if policy == FailurePolicy::Stop {
                return true;
            }
        }
        false
    }

    /// How operations `from..` of `call` stand to the later calls that have run.
    fn place_of(&self, call: usize, entry: Entry, from: u16) -> Place {
        let has_run = |later: &usize| self.first_not_attempted(*later).is_none_or(|(_, item)| item > 0);
        let mut later = (call + 1..self.batch.len()).filter(has_run).peekable();
        if later.peek().is_none() {
            return Place::InOrder;
        }
        let first = entry.start as usize + from as usize;
        let end = entry.start as usize + entry.len as usize;
        let commutes = matches!(entry.kind, EntryKind::Updates(_))
            && !self.is_upper(call)
            && later.all(|call| self.commutes_with_l1(call))
            && (first..end).all(|at| self.is_newest(at));
        if commutes { Place::Late } else { Place::Lost }
    }

    fn is_upper(&self, call: usize) -> bool {
        self.upper.get(call).copied().unwrap_or(true)
    }

    /// Whether `call` commutes with updates of other L1 entries, TLB flushes being issued again.
    fn commutes_with_l1(&self, call: usize) -> bool {
        let Some(entry) = self.batch.entry(call) else { return false };
        match entry.kind {
            EntryKind::Updates(_) => !self.is_upper(call),
            EntryKind::Mmuext(_) => self.is_tlb_flush_only(call, entry),
            EntryKind::Registers => matches!(
                self.batch.operation(call, 0),
                Some(
                    Operation::StackSwitch { .. } | Operation::FpuTaskswitch { .. } | Operation::SetSegmentBase { .. }
                )
            ),
        }
    }

    fn is_tlb_flush_only(&self, call: usize, entry: Entry) -> bool {
        (0..entry.len).all(|item| self.batch.mmuext(call, item).is_some_and(|op| op.is_tlb_flush()))
    }

    fn is_newest(&self, position: usize) -> bool {
        let updates = self.batch.updates();
        updates.get(position).is_some_and(|update| self.index.newest(updates, update.slot) == Some(position))
    }

    /// Issues the TLB flushes from call `from` on once more, behind writes that have come late.
    fn flush_tlbs_again<H: Hypervisor>(&mut self, from: usize, hypervisor: &mut H) {
        for call in from..self.batch.len() {
            let Some(entry) = self.batch.entry(call) else { break };
            if !self.is_tlb_flush_only(call, entry) {
                continue;
            }
            self.attempt(call, entry, 0, FailurePolicy::Continue, hypervisor);
        }
    }

    /// The status of the operation at `position`; a failure is taken out of what is to be collected.
    pub(super) fn take_status(&mut self, position: Position) -> Status {
        let call = position.call as usize;
        let Some(entry) = self.batch.entry(call) else { return Status::Applied };
        if self.collecting.is_none() {
            return Status::Applied;
        }
        let status = self.statuses.get(entry, call, position.item);
        self.statuses.set(entry, call, position.item, Status::Applied);
        status
    }

    /// Takes the next failure; forgets the batch when there is none left.
    pub(super) fn next_failure(&mut self) -> Option<Failure> {
        while let Some(position) = self.collecting {
            let call = position.call as usize;
            let Some(entry) = self.batch.entry(call) else {
                self.forget();
                return None;
            };
            if position.item >= entry.len {
                self.collecting = Some(Position { call: position.call + 1, item: 0 });
                continue;
            }
            self.collecting = Some(Position { item: position.item + 1, ..position });
            let status = self.statuses.get(entry, call, position.item);
            if status != Status::Applied && !self.planted.has(Fault::RefusalForgotten) {
                let operation = self.batch.operation(call, position.item)?;
                return Some(Failure::new(operation, status, self.callers.get(entry, position.item)));
            }
        }
        None
    }

    fn forget_unless_planted<H: Hypervisor>(&mut self, reason: FlushReason, hypervisor: &mut H) {
        if self.planted.has(Fault::CapacityRepeats) && reason == FlushReason::Capacity
            || self.planted.has(Fault::BatchTwice) && self.batch.len() > 1
        {
            let _again = self.hand_over(hypervisor);
        }
        let second = self.batch.updates().get(1).copied();
        self.forget();
        if self.planted.has(Fault::SwitchLeavesOne)
            && reason == FlushReason::Switch
            && let Some(update) = second
        {
            self.asked();
            let _left = self.append_update(update, Subject::SELF, Height::Leaf);
        }
    }

    pub(super) fn forget(&mut self) {
        self.count_appended();
        self.counted = 0;
        self.batch.clear();
        self.indexed = 0;
        self.run_start = 0;
        self.highest = 0;
        if let Some(first) = self.upper.first_mut() {
            *first = false;
        }
        self.writes_unnamed = false;
        self.collecting = None;
    }

    fn complete_callbacks(&mut self) {
        if self.callbacks.is_empty() {
            return;
        }
        let whole = if self.collecting.is_some() { self.first_failure() } else { None };
        let (batch, statuses) = (&self.batch, &self.statuses);
        self.callbacks.complete(|position| {
            let Some(failure) = whole else { return Status::Applied };
            let Some(Position { call, item }) = position else { return failure };
            let entry = batch.entry(call.into());
            entry.map_or(Status::Applied, |entry| statuses.get(entry, call.into(), item))
        });
    }

    /// What became of the first operation that is not effective.
    fn first_failure(&self) -> Option<Status> {
        let of_call = |call| {
            let entry = self.batch.entry(call)?;
            let mut statuses = (0..entry.len).map(|item| self.statuses.get(entry, call, item));
            statuses.find(|status| *status != Status::Applied)
        };
        (0..self.batch.len()).find_map(of_call)
    }

    pub(super) fn tally(&mut self, status: Status, operations: u64) {
        let count = match status {
            Status::Applied => &mut self.stats.applied,
            Status::Refused(_) => &mut self.stats.refused,
            Status::NotAttempted => &mut self.stats.not_attempted,
        };
        *count += if self.counting { operations } else { 0 };
    }

    fn tally_each(&mut self) {
        for call in 0..self.batch.len() {
            let Some(entry) = self.batch.entry(call) else { break };
            for item in 0..entry.len {
                self.tally(self.statuses.get(entry, call, item), 1);
            }
        }
    }
}
