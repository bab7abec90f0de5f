//! What the guest is told: failures, and completions.

use hypercall::{Errno, Operation, VcpuId};

use super::{
    Asker, CallbackId, Finding, Moment, RequestId, Rule, TaskId,
    arriving::Outcome,
    history::Fate,
    request::{Request, Standing},
    state::{Callback, Owed, State},
};

impl Owed {
    /// Whether `operation` names it: as it arrived, or as any of what it stands for was asked.
    fn is_named_by(&self, operation: &Operation) -> bool {
        self.operation == *operation || self.requests.iter().any(|request| request.operation == *operation)
    }
}

impl State {
    /// An operation that never arrived may be reported as failed only if a hypercall was refused before
    /// anyone looked at what it carried.
    pub(super) fn failed(&mut self, vcpu: VcpuId, operation: &Operation, errno: Errno) {
        let now = self.tick();
        if let Some(owed) = self.named(vcpu, operation, errno).and_then(|at| self.owed.get_mut(at)) {
            if core::mem::replace(&mut owed.is_told, true)
                && let Some(request) = owed.requests.last().copied()
            {
                self.report(Rule::R14, &request, now, Finding::ReportedTwice(errno));
            }
            return;
        }
        self.give_up(vcpu, operation, Some(errno), now);
    }

    /// Which refusal is told by that.
    fn named(&mut self, vcpu: VcpuId, operation: &Operation, errno: Errno) -> Option<usize> {
        let is_named = |(_, owed): &(usize, &Owed)| owed.errno == errno && owed.is_named_by(operation);
        let mut named: Vec<_> = self.owed.iter().enumerate().filter(is_named).collect();
        named.sort_by_key(|(_, owed)| (owed.is_told, owed.vcpu != vcpu));
        let untold = named.iter().filter(|(_, owed)| !owed.is_told).count();
        let named: Vec<usize> = named.into_iter().map(|(at, _)| at).collect();
        named.get(self.vcpu(vcpu).queue.choose(untold)).copied()
    }

    pub(super) fn not_attempted(&mut self, vcpu: VcpuId, operation: &Operation) {
        let now = self.tick();
        self.give_up(vcpu, operation, None, now);
    }

    /// A hypercall of `vcpu` was refused with `errno` as a whole.
    pub(super) fn hypercall_refused(&mut self, vcpu: VcpuId, errno: Errno) {
        let now = self.tick();
        self.vcpu(vcpu).queue.excuse_all(errno, now);
    }

    /// Gives up `operation` where it is pending: where there is reason to report it, else on `vcpu`, else
    /// anywhere. Without a reason the report is false.
    fn give_up(&mut self, vcpu: VcpuId, operation: &Operation, errno: Option<Errno>, now: Moment) {
        let mut order: Vec<VcpuId> = self.vcpus.keys().copied().collect();
        order.sort_by_key(|at| (!self.vcpus[at].queue.may_report(operation, errno), *at != vcpu));
        let given_up = order.into_iter().find_map(|at| self.vcpu(at).queue.give_up(operation, errno, now));
        for request in given_up.iter().flatten() {
            let of_it = self.callbacks.values_mut().filter(|callback| callback.request == request.id());
            of_it.for_each(|callback| callback.given_up = Some(errno));
        }
        match given_up.as_deref() {
            Some([.., last]) if !last.may_be_reported(errno) => {
                self.report(Rule::R14, last, now, Finding::FalseReport(errno));
            }
            Some(_) => {}
            None => self.late_report(vcpu, operation, errno, now),
        }
    }

    /// What is reported is not pending: it has been found overdue before, or a later write of its entry
    /// arrived, or it is a TLB flush that one before it made needless, or the report is false.
    fn late_report(&mut self, vcpu: VcpuId, operation: &Operation, errno: Option<Errno>, now: Moment) {
        let is_late = self.queues().any(|queue| queue.take_overdue(operation));
        let fate = self.vcpu(vcpu).queue.history.fate(operation);
        let is_overwritten = errno.is_none() && matches!(fate, Some((_, Fate::Merged { is_excused: true, .. })));
        if !is_late && !is_overwritten && !self.vcpu(vcpu).queue.is_needless(operation) {
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

    pub(super) fn callback_due(&mut self, asker: Asker, request: RequestId) -> CallbackId {
        let now = self.tick();
        self.task(asker, now);
        if self.callbacks.len() >= self.settings.remembered {
            self.callbacks.retain(|_, callback| !callback.has_run);
        }
        let id = CallbackId(now);
        self.callbacks.insert(id, Callback { asker, request, given_up: None, has_run: false });
        id
    }

    pub(super) fn callback_ran(&mut self, id: CallbackId, status: Option<Outcome>) {
        let now = self.tick();
        match self.callbacks.get_mut(&id) {
            Some(callback) if !callback.has_run => {
                callback.has_run = true;
                let callback = *callback;
                if !self.is_status(&callback, status) {
                    self.report_call(Some((Rule::R14, Finding::CallbackStatus(status))), callback.asker, now);
                }
            }
            Some(callback) => {
                let asker = callback.asker;
                self.report_call(Some((Rule::R13, Finding::CallbackTwice)), asker, now);
            }
            None => self.report_arrival(Rule::R13, None, None, now, Finding::CallbackTwice),
        }
    }

    /// Whether `status` is what became of the operation of `callback`.
    fn is_status(&self, callback: &Callback, status: Option<Outcome>) -> bool {
        let id = callback.request;
        let is_owed = |owed: &&Owed| owed.requests.iter().any(|request| request.id() == id);
        if let Some(owed) = self.owed.iter().find(is_owed) {
            return status == Some(Err(owed.errno));
        }
        let pending = self.vcpus.get(&id.vcpu).and_then(|vcpu| vcpu.queue.request(id.moment));
        match (status, pending) {
            (Some(Ok(())), Some(request)) => matches!(request.standing, Standing::Perhaps | Standing::Early),
            (Some(Ok(())), None) => callback.given_up.is_none(),
            (unapplied, Some(request)) => request.may_be_reported(unapplied.and_then(Outcome::err)),
            (unapplied, None) => callback.given_up == Some(unapplied.and_then(Outcome::err)),
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
