//! What the guest asks for, and what it reads.

use hypercall::{Level, MmuUpdate, Operation, Pte, PteSlot, Subject, UpdateCommand};

use super::{
    Asker, Context, Finding, RequestId, Rule, SyncPoint,
    request::{Deferral, PassedBy, Request, Standing},
    settings::Wish,
    state::State,
};

impl State {
    pub(super) fn ask(&mut self, asker: Asker, wish: Wish) -> RequestId {
        let now = self.tick();
        let deferral = Self::deferral(self.task(asker, now), asker, wish.is_immediate);
        let request = self.request(asker, wish.operation, wish.level, deferral);
        self.vcpu(asker.vcpu).queue.push(request);
        request.id()
    }

    pub(super) fn withdraw(&mut self, id: RequestId) -> bool {
        self.tick();
        self.vcpu(id.vcpu).queue.withdraw(id.moment)
    }

    /// What must not wait is effective by now, or the guest knows that it is not.
    pub(super) fn answered(&mut self, id: RequestId) {
        let now = self.tick();
        let vcpu = self.vcpu(id.vcpu);
        let is_leaked = vcpu.shadow.is_lazy();
        let is_due =
            |request: &Request| !request.deferral.is_allowed() && !matches!(request.standing, Standing::Perhaps);
        if vcpu.queue.request(id.moment).is_some_and(is_due) {
            let rule = |request: &Request| return_rule(request, is_leaked);
            self.fall_due(Some(id.vcpu), now, SyncPoint::Return, rule, |request| request.moment == id.moment);
        } else if id.is_outside {
            vcpu.shadow.deny();
        }
        self.demand_reports(now, |request| request.id() == id && !request.deferral.is_allowed());
    }

    pub(super) fn read(&mut self, asker: Asker, slot: PteSlot, value: Pte, memory: Pte) {
        let now = self.tick();
        self.task(asker, now);
        let queue = &self.vcpu(asker.vcpu).queue;
        let (read, values) = (value.bits(), queue.values(slot, memory.bits()));
        let pending = queue.last_write(slot).copied();
        let finding = Finding::StaleRead { read, expected: values[0] };
        match pending {
            _ if values.contains(&read) => {}
            Some(request) => self.report(Rule::R11, &request, now, finding),
            None => self.report_call(Some((Rule::R11, finding)), asker, now),
        }
    }

    pub(super) fn raw_read(&mut self, asker: Asker, slot: PteSlot) {
        let now = self.tick();
        self.task(asker, now);
        let pending: Vec<Request> = self.queues().filter_map(|queue| queue.last_write(slot).copied()).collect();
        for request in pending {
            self.report(Rule::R11, &request, now, Finding::RawRead);
        }
        self.queues().for_each(|queue| queue.pass_by(slot, |_| PassedBy::Read));
    }

    /// A write of an entry that went past the library is never deferred, so it must not overtake.
    pub(super) fn trapped_write(&mut self, asker: Asker, slot: PteSlot) {
        let now = self.tick();
        self.task(asker, now);
        let update = MmuUpdate::new(slot.with_command(UpdateCommand::Normal), Pte::EMPTY);
        let operation = Operation::Update { update, subject: Subject::SELF };
        let deferral = if asker.context == Context::Interrupt { Deferral::Interrupt } else { Deferral::Never };
        let write = self.request(asker, operation, Level::L1, deferral);
        let queue = &mut self.vcpu(asker.vcpu).queue;
        queue.pass_by(slot, |older| PassedBy::Write(write.overtaking(older).rule));
        let Some(overtaken) = queue.conflicting(&write.effect).copied() else { return };
        let rule = write.overtaking(&overtaken).rule;
        self.report(rule, &overtaken, now, Finding::WrittenPast { entry: slot.address() });
    }
}

/// The rule that is broken when `request` still waits although its call has returned. `is_leaked`: a library
/// that takes a predecessor's depth for the task's would let it wait.
const fn return_rule(request: &Request, is_leaked: bool) -> Rule {
    match request.deferral {
        Deferral::Interrupt => Rule::R6,
        Deferral::Paused => Rule::R5,
        Deferral::Outside if is_leaked => Rule::R7,
        _ if request.effect.is_flush() => Rule::R12,
        _ => Rule::R1,
    }
}
