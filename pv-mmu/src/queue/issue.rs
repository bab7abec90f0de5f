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

use hypercall::{Entry, EntryKind, Hypervisor, Operation, Outcome, issue_operation};

use super::{Position, VcpuQueue};
use crate::{Failure, FailurePolicy, Status, stats::FlushReason};

/// Where something went wrong.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// In the only call.
    Call(Outcome),
    /// In a multicall, whose entries tell.
    Multicall,
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> VcpuQueue<UPDATES, CALLS, WORDS> {
    /// One operation past the queue.
    pub(super) fn direct<H: Hypervisor>(&mut self, operation: &Operation, hypervisor: &mut H) -> Status {
        let status = match issue_operation(hypervisor, operation) {
            Ok(()) => Status::Applied,
            Err(errno) => Status::Refused(errno),
        };
        if self.counting {
            self.stats.direct += 1;
            self.tally(status, 1);
        }
        status
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
                    self.forget();
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
    fn hand_over<H: Hypervisor>(&mut self, hypervisor: &mut H) -> Option<Trouble> {
        if self.batch.len() > 1 {
            self.multicall_refused = hypervisor.multicall(&mut self.batch.prepare(0)).err();
            let clean = |outcome: Option<Outcome>| outcome.is_some_and(|outcome| outcome.result.is_ok());
            let all_clean = (0..self.batch.len()).all(|call| clean(self.batch.outcome(call)));
            return (!all_clean).then_some(Trouble::Multicall);
        }
        let outcome = hypervisor.call(&mut self.batch.prepare_call(0, 0)?);
        outcome.result.is_err().then_some(Trouble::Call(outcome))
    }

    /// Follows up every call that was refused or did not run.
    fn settle<H: Hypervisor>(&mut self, trouble: Trouble, policy: FailurePolicy, hypervisor: &mut H) {
        self.statuses.reset();
        self.collecting = Some(Position { call: 0, item: 0 });
        let mut stopped = false;
        for call in 0..self.batch.len() {
            let Some(entry) = self.batch.entry(call) else { break };
            let outcome = match trouble {
                Trouble::Call(outcome) => Some(outcome),
                Trouble::Multicall => self.batch.outcome(call),
            };
            match outcome {
                Some(Outcome { result: Ok(()), .. }) => {}
                Some(Outcome { done, result: Err(errno) }) => {
                    let item = (done as u16).min(entry.len - 1);
                    self.statuses.set(entry, call, item, Status::Refused(errno));
                    stopped |= policy == FailurePolicy::Stop;
                    self.follow_up(call, entry, item + 1, stopped, hypervisor);
                }
                None => stopped |= self.attempt(call, entry, 0, stopped, policy, hypervisor),
            }
        }
    }

    /// Deals with the operations of a call behind a refused one.
    fn follow_up<H: Hypervisor>(&mut self, call: usize, entry: Entry, from: u16, stopped: bool, hypervisor: &mut H) {
        if from >= entry.len {
            return;
        }
        let stopped = stopped || !self.may_follow(call, entry, from);
        self.attempt(call, entry, from, stopped, FailurePolicy::Continue, hypervisor);
        if !stopped {
            self.flush_tlbs_again(call + 1, hypervisor);
        }
    }

    /// Issues a call from operation `from` on, past every refusal. `stopped`: marks them as not
    /// attempted instead. `true` if `policy` stops because of a refusal.
    fn attempt<H: Hypervisor>(
        &mut self,
        call: usize,
        entry: Entry,
        mut from: u16,
        mut stopped: bool,
        policy: FailurePolicy,
        hypervisor: &mut H,
    ) -> bool {
        while !stopped {
            let Some(mut rest) = self.batch.prepare_call(call, from) else { return false };
            let Outcome { done, result: Err(errno) } = hypervisor.call(&mut rest) else { return false };
            let item = (from + done as u16).min(entry.len - 1);
            self.statuses.set(entry, call, item, Status::Refused(errno));
            from = item + 1;
            stopped = policy == FailurePolicy::Stop;
        }
        for item in from..entry.len {
            self.statuses.set(entry, call, item, Status::NotAttempted);
        }
        true
    }

    /// Whether operations `from..` of `call` may become effective after all later calls.
    fn may_follow(&self, call: usize, entry: Entry, from: u16) -> bool {
        let later = call + 1..self.batch.len();
        if later.is_empty() {
            return true;
        }
        let EntryKind::Updates(_) = entry.kind else { return false };
        let first = entry.start as usize + from as usize;
        let end = entry.start as usize + entry.len as usize;
        !self.is_upper(call)
            && later.into_iter().all(|call| self.commutes_with_l1(call))
            && (first..end).all(|at| self.is_newest(at))
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

    fn flush_tlbs_again<H: Hypervisor>(&mut self, from: usize, hypervisor: &mut H) {
        for call in from..self.batch.len() {
            let Some(entry) = self.batch.entry(call) else { break };
            if !matches!(entry.kind, EntryKind::Mmuext(_)) {
                continue;
            }
            if let Some(mut again) = self.batch.prepare_call(call, 0) {
                hypervisor.call(&mut again);
            }
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
            if status != Status::Applied {
                let operation = self.batch.operation(call, position.item)?;
                return Some(Failure::new(operation, status, self.callers.get(entry, call, position.item)));
            }
        }
        None
    }

    fn forget(&mut self) {
        self.batch.clear();
        self.run_start = 0;
        self.collecting = None;
    }

    fn complete_callbacks(&mut self) {
        if self.callbacks.is_empty() {
            return;
        }
        let (batch, statuses, failed) = (&self.batch, &self.statuses, self.collecting.is_some());
        self.callbacks.complete(|position| {
            let call = position.call as usize;
            match batch.entry(call) {
                Some(entry) if failed => statuses.get(entry, call, position.item),
                _ => Status::Applied,
            }
        });
    }

    fn tally(&mut self, status: Status, operations: u64) {
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
