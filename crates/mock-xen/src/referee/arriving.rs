//! What arrives at the hypervisor.

use hypercall::{Errno, Mfn, MmuextOp, Operation, VcpuId};

use super::{
    Finding, Moment, Rule,
    effect::Effect,
    history::Fate,
    queue::{Arrival, Taken},
    request::{Cut, PassedBy, Request, Standing},
    state::{Owed, State},
};

/// Whether the hypervisor applied an operation, or why it refused it.
pub(super) type Outcome = Result<(), Errno>;

impl State {
    pub(super) fn arrived(&mut self, vcpu: VcpuId, operation: &Operation, outcome: Option<Outcome>) {
        let now = self.tick();
        let Some(outcome) = outcome else {
            self.vcpu(vcpu).queue.cut(operation, now);
            return;
        };
        self.count_masked(vcpu, now);
        let queue = &mut self.vcpu(vcpu).queue;
        queue.counters.arrivals += 1;
        match queue.arrive(operation, outcome.is_ok(), now) {
            Arrival::For(taken) => self.arrived_for(vcpu, operation, outcome, taken, now),
            Arrival::Early | Arrival::Again => {}
            Arrival::Nothing => self.arrived_for_nothing(vcpu, operation, outcome, now),
        }
        self.vcpu(vcpu).queue.remember(operation, now, outcome.is_ok());
        if outcome.is_ok() {
            self.follow_base_pointers(vcpu, operation, now);
        }
    }

    pub(super) fn masked(&mut self, vcpu: VcpuId) -> Moment {
        let now = self.tick();
        let vcpu = self.vcpu(vcpu);
        if vcpu.masked == 0 {
            vcpu.stretch = 0;
        }
        vcpu.masked += 1;
        now
    }

    pub(super) fn unmasked(&mut self, vcpu: VcpuId) {
        self.tick();
        let vcpu = self.vcpu(vcpu);
        vcpu.masked = vcpu.masked.saturating_sub(1);
    }

    pub(super) fn hypercall_begins(&mut self, vcpu: VcpuId) {
        let now = self.masked(vcpu);
        self.vcpu(vcpu).queue.hypercall = Some(now);
    }

    /// The vCPU has these base pointers loaded; what was loaded before the referee listened is not known
    /// otherwise.
    pub(super) fn loaded(&mut self, vcpu: VcpuId, kernel: Mfn, user: Option<Mfn>) {
        self.tick();
        self.vcpu(vcpu).bases = [Some(kernel), user];
    }

    pub(super) fn hypercall_ends(&mut self, vcpu: VcpuId) {
        self.unmasked(vcpu);
        self.vcpu(vcpu).queue.hypercall = None;
    }

    fn count_masked(&mut self, vcpu: VcpuId, now: Moment) {
        let bound = self.settings.masked_bound;
        let vcpu_state = self.vcpu(vcpu);
        if vcpu_state.masked == 0 {
            return;
        }
        vcpu_state.stretch += 1;
        let stretch = vcpu_state.stretch;
        if let Some(bound) = bound
            && stretch == bound.saturating_add(1)
        {
            self.report_arrival(Rule::R15, None, Some(vcpu), now, Finding::TooManyMasked { bound });
        }
    }

    fn arrived_for(&mut self, vcpu: VcpuId, operation: &Operation, outcome: Outcome, taken: Taken, now: Moment) {
        self.report_order(&taken, outcome, now);
        self.report_passed(&taken, now);
        let queue = &mut self.vcpu(vcpu).queue;
        for request in &taken.requests {
            if request.effect.is_flush() {
                queue.remember(&request.operation, now, outcome.is_ok());
            }
        }
        let is_belated = |request: &&Request| {
            let is_write = matches!(request.effect, Effect::Entry(..) | Effect::Translation);
            is_write && matches!(request.standing, Standing::Cut(_) | Standing::Perhaps)
        };
        if let Some(request) = taken.requests.iter().find(is_belated)
            && outcome.is_ok()
        {
            queue.expect_flushes_again(request.moment);
        }
        if taken.requests.iter().any(|request| request.excuse.is_some()) {
            queue.resumed = now;
        }
        if let Some(first) = taken.requests.first()
            && outcome.is_err()
        {
            queue.excuse_behind(first.moment, now);
        }
        self.count_outcome(vcpu, operation, outcome, taken.requests);
    }

    /// The newest of what arrives was still pending, whichever explanation of the arrivals is right.
    fn report_passed(&mut self, taken: &Taken, now: Moment) {
        let Some((request, by)) = taken.requests.last().and_then(|last| Some((last, last.passed_by?))) else { return };
        match (by, request.operation) {
            (PassedBy::Write(rule), Operation::Update { update, .. }) => {
                self.report(rule, request, now, Finding::WrittenPast { entry: update.slot.address() });
            }
            _ => self.report(Rule::R11, request, now, Finding::RawRead),
        }
    }

    fn report_order(&mut self, taken: &Taken, outcome: Outcome, now: Moment) {
        for request in &taken.requests {
            if let Standing::Cut(Cut { overtaken: Some(by), .. }) = request.standing
                && outcome.is_ok()
            {
                self.report(by.rule, request, now, Finding::Overtaken { by: by.operation, asked: by.asked });
            }
        }
        if let (Some(overtaken), Some(by)) = (&taken.overtook, taken.requests.last()) {
            let by = by.overtaking(overtaken);
            self.report(by.rule, overtaken, now, Finding::Overtaken { by: by.operation, asked: by.asked });
        }
    }

    fn count_outcome(&mut self, vcpu: VcpuId, operation: &Operation, outcome: Outcome, requests: Vec<Request>) {
        let counters = &mut self.vcpu(vcpu).queue.counters;
        match outcome {
            Ok(()) => counters.applied += 1,
            Err(errno) => {
                counters.failed += 1;
                self.owed.push(Owed { operation: *operation, vcpu, requests, errno, is_told: false });
            }
        }
    }

    /// Nothing pending on `vcpu` explains the arrival: it is late, repeated, strayed or invented.
    fn arrived_for_nothing(&mut self, vcpu: VcpuId, operation: &Operation, outcome: Outcome, now: Moment) {
        let known = self.vcpu(vcpu).queue.history.fate(operation);
        let is_late = self.queues().any(|queue| queue.take_overdue(operation));
        if is_late {
            return;
        }
        let elsewhere = self.queues().find_map(|queue| queue.arrive_elsewhere(operation, now));
        if let Some(request) = elsewhere {
            self.report(Rule::R8, &request, now, Finding::WrongVcpu { arrived_on: vcpu });
            self.count_outcome(request.asker.vcpu, operation, outcome, vec![request]);
            return;
        }
        match known {
            Some((before, Fate::Applied)) => self.unasked(vcpu, operation, now, Finding::AppliedTwice { before }),
            Some((before, Fate::Refused)) => self.unasked(vcpu, operation, now, Finding::RefusedTwice { before }),
            Some((_, Fate::Merged { asker, asked, by, .. })) => {
                let finding = Finding::Overtaken { by: by.operation, asked: by.asked };
                self.report_operation(by.rule, *operation, asker, asked, now, finding);
            }
            None => self.arrived_altered(vcpu, operation, now),
        }
    }

    /// The arrival is of no value that was asked for, so it takes the place of what was.
    fn arrived_altered(&mut self, vcpu: VcpuId, operation: &Operation, now: Moment) {
        let due = self.vcpu(vcpu).queue.take_altered(operation, now);
        let (rule, finding) = match due.as_slice() {
            [] => return self.unasked(vcpu, operation, now, Finding::NeverAsked),
            [due] => (Rule::R13, Finding::Altered { due: due.operation }),
            due => (Rule::R3, Finding::WrongMerge { writes: due.len() }),
        };
        if let Some(first) = due.first() {
            self.report_operation(rule, *operation, first.asker, first.moment, now, finding);
        }
    }

    fn unasked(&mut self, vcpu: VcpuId, operation: &Operation, now: Moment, finding: Finding) {
        self.report_arrival(Rule::R13, Some(*operation), Some(vcpu), now, finding);
    }

    /// Knows which tables are loaded where, so that none is unpinned under a vCPU that is about to
    /// switch away from it (R12).
    fn follow_base_pointers(&mut self, vcpu: VcpuId, operation: &Operation, now: Moment) {
        let Operation::Mmuext { op, .. } = operation else { return };
        match op {
            MmuextOp::NewBaseptr { table } => self.vcpu(vcpu).bases[0] = Some(*table),
            MmuextOp::NewUserBaseptr { table } => self.vcpu(vcpu).bases[1] = Some(*table),
            MmuextOp::Unpin { table } => self.report_still_loaded(vcpu, *table, operation, now),
            _ => {}
        }
    }

    fn report_still_loaded(&mut self, unpinned_on: VcpuId, table: Mfn, operation: &Operation, now: Moment) {
        let is_switch = |bases: &[Option<Mfn>; 2], request: &Request| match request.operation {
            Operation::Mmuext { op: MmuextOp::NewBaseptr { table: to }, .. } => bases[0] == Some(table) && to != table,
            Operation::Mmuext { op: MmuextOp::NewUserBaseptr { table: to }, .. } => {
                bases[1] == Some(table) && to != table
            }
            _ => false,
        };
        let still: Vec<Request> = self
            .vcpus
            .iter()
            .filter(|(at, _)| **at != unpinned_on)
            .filter_map(|(_, vcpu)| vcpu.queue.requests().find(|request| is_switch(&vcpu.bases, request)).copied())
            .collect();
        for switch in still {
            let finding = Finding::BaseStillLoaded { table, on: switch.asker.vcpu };
            self.report_operation(Rule::R12, *operation, switch.asker, switch.moment, now, finding);
        }
    }
}
