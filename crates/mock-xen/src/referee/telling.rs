//! What the guest is told: failures, and completions.

use hypercall::{Errno, Operation, VcpuId};

use super::{
    Asker, CallbackId, Counters, Finding, Moment, Rule, TaskId,
    request::Request,
    state::{Callback, Owed, State},
};

impl Owed {
    /// Whether `operation` names it: as it arrived, or as any of what it stands for was asked.
    fn is_named_by(&self, operation: &Operation) -> bool {
        self.operation == *operation || self.requests.iter().any(|request| request.operation == *operation)
    }
}

impl State {
    /// An operation that never arrived may be reported as failed too: the hypercall that carried it was
    /// refused before anyone looked at it.
    pub(super) fn failed(&mut self, vcpu: VcpuId, operation: &Operation, errno: Errno) {
        let now = self.tick();
        let named = |owed: &&mut Owed| owed.errno == errno && owed.is_named_by(operation);
        if let Some(owed) = self.owed.iter_mut().filter(named).min_by_key(|owed| (owed.is_told, owed.vcpu != vcpu)) {
            owed.is_told = true;
            return;
        }
        match self.give_up(vcpu, operation, now) {
            Some(counters) => counters.failed += 1,
            None => self.late_report(vcpu, operation, Some(errno), now),
        }
    }

    pub(super) fn not_attempted(&mut self, vcpu: VcpuId, operation: &Operation) {
        let now = self.tick();
        match self.give_up(vcpu, operation, now) {
            Some(counters) => counters.not_attempted += 1,
            None => self.late_report(vcpu, operation, None, now),
        }
    }

    /// Gives up `operation` where it is pending, first of all on `vcpu`.
    fn give_up(&mut self, vcpu: VcpuId, operation: &Operation, now: Moment) -> Option<&mut Counters> {
        let others = self.vcpus.keys().copied().filter(|other| *other != vcpu);
        let order: Vec<VcpuId> = core::iter::once(vcpu).chain(others).collect();
        let found = order.into_iter().find(|at| self.vcpu(*at).queue.give_up(operation, now))?;
        Some(&mut self.vcpu(found).queue.counters)
    }

    /// What is reported is not pending: it has been found overdue before, or the report is false.
    fn late_report(&mut self, vcpu: VcpuId, operation: &Operation, errno: Option<Errno>, now: Moment) {
        let is_late = self.queues().any(|queue| queue.take_overdue(operation));
        if !is_late {
            self.report_arrival(Rule::R14, Some(*operation), Some(vcpu), now, Finding::FalseReport(errno));
        }
    }

    /// Reports the refusals among those `is_due` of which the guest has not been told.
    pub(super) fn demand_reports(&mut self, now: Moment, is_due: impl Fn(&Request) -> bool) {
        let due: Vec<Owed> = self.owed.extract_if(.., |owed| owed.requests.iter().any(&is_due)).collect();
        for owed in due.iter().filter(|owed| !owed.is_told) {
            if let Some(request) = owed.requests.last() {
                let finding = Finding::FailureUntold(owed.errno);
                self.report_operation(Rule::R14, owed.operation, request.asker, request.moment, now, finding);
            }
        }
    }

    pub(super) fn callback_due(&mut self, asker: Asker) -> CallbackId {
        let now = self.tick();
        self.task(asker, now);
        if self.callbacks.len() >= self.settings.remembered {
            self.callbacks.retain(|_, callback| !callback.has_run);
        }
        let id = CallbackId(now);
        self.callbacks.insert(id, Callback { asker, has_run: false });
        id
    }

    pub(super) fn callback_ran(&mut self, id: CallbackId) {
        let now = self.tick();
        match self.callbacks.get_mut(&id) {
            Some(callback) if !callback.has_run => callback.has_run = true,
            Some(callback) => {
                let asker = callback.asker;
                self.report_call(Some((Rule::R13, Finding::CallbackTwice)), asker, now);
            }
            None => self.report_arrival(Rule::R13, None, None, now, Finding::CallbackTwice),
        }
    }

    /// Reports the callbacks of `task` that have not run.
    pub(super) fn demand_callbacks(&mut self, task: TaskId, now: Moment) {
        let due: Vec<Callback> =
            self.callbacks.extract_if(.., |_, callback| callback.asker.task == task).map(|(_, due)| due).collect();
        for callback in due.iter().filter(|callback| !callback.has_run) {
            self.report_call(Some((Rule::R14, Finding::CallbackLost)), callback.asker, now);
        }
    }
}
