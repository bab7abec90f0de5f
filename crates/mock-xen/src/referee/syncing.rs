//! The points at which operations fall due.

use hypercall::VcpuId;

use super::{
    Asker, Context, Finding, Moment, Rule, SyncPoint, TaskId,
    request::{Deferral, Request},
    state::State,
};

/// The rule that is broken when `request` still waits at the end of its region.
const fn leave_rule(request: &Request) -> Rule {
    if request.effect.is_flush() { Rule::R12 } else { Rule::R2 }
}

impl State {
    pub(super) fn enter(&mut self, asker: Asker, accepted: bool) {
        let now = self.tick();
        let profile = self.settings.profile;
        let wrong = self.task(asker, now).enter(profile, asker.context, accepted);
        self.report_call(wrong, asker, now);
    }

    /// A leave or an explicit flush begins: what is asked from now on is not part of it.
    pub(super) fn sync_begins(&mut self, asker: Asker) {
        let now = self.tick();
        self.task(asker, now).sync_begins(asker.context, now);
    }

    pub(super) fn left(&mut self, asker: Asker, accepted: bool) {
        let now = self.tick();
        let task = self.task(asker, now);
        let (began, was_lazy) = (task.sync_ends(asker.context, now), task.is_lazy());
        let wrong = task.left(asker.context, accepted);
        let is_lazy = task.is_lazy();
        self.report_call(wrong, asker, now);
        if was_lazy && accepted && asker.context == Context::Task {
            self.end_region(asker.task, now, SyncPoint::Leave, |asked| !is_lazy || asked < began);
            self.demand_reports(now, |request| request.asker.task == asker.task);
            self.demand_callbacks(asker.task, now);
        }
    }

    pub(super) fn paused(&mut self, asker: Asker, accepted: bool) {
        let now = self.tick();
        let wrong = self.task(asker, now).paused(asker.context, accepted);
        self.report_call(wrong, asker, now);
        if accepted && asker.context == Context::Task {
            let is_due = |request: &Request| request.asker.task == asker.task && request.deferral == Deferral::Region;
            self.fall_due(None, now, SyncPoint::Pause, |_| Rule::R5, is_due);
        }
    }

    pub(super) fn resumed(&mut self, asker: Asker, accepted: bool) {
        let now = self.tick();
        let wrong = self.task(asker, now).resumed(asker.context, accepted);
        self.report_call(wrong, asker, now);
    }

    pub(super) fn flushed(&mut self, asker: Asker) {
        let now = self.tick();
        let began = self.task(asker, now).sync_ends(asker.context, now);
        self.end_region(asker.task, now, SyncPoint::Flush, |asked| asked < began);
    }

    pub(super) fn leak_reported(&mut self, asker: Asker) {
        let now = self.tick();
        self.task(asker, now).end();
        self.end_region(asker.task, now, SyncPoint::LeakReport, |_| true);
    }

    fn end_region(&mut self, task: TaskId, now: Moment, point: SyncPoint, was_asked: impl Fn(Moment) -> bool) {
        let is_due = |request: &Request| {
            request.asker.task == task && request.deferral == Deferral::Region && was_asked(request.moment)
        };
        self.fall_due(None, now, point, leave_rule, is_due);
    }

    pub(super) fn switch(&mut self, vcpu: VcpuId, prev: TaskId, next: TaskId) {
        let now = self.tick();
        self.fall_due(Some(vcpu), now, SyncPoint::Switch { next }, |_| Rule::R7, |_| true);
        self.demand_reports(now, |request| request.deferral == Deferral::Switch && request.asker.vcpu == vcpu);
        let depth = self.tasks.get(&prev).map_or(0, |task| task.depth);
        self.vcpu(vcpu).follows_region = depth > 0 && prev != next;
        self.task(Asker::switch(next, vcpu), now);
    }

    pub(super) fn interrupt_end(&mut self, vcpu: VcpuId) {
        let now = self.tick();
        let is_due = |request: &Request| request.deferral == Deferral::Interrupt;
        self.fall_due(Some(vcpu), now, SyncPoint::InterruptEnd, |_| Rule::R6, is_due);
    }

    pub(super) fn task_exit(&mut self, task: TaskId) {
        let now = self.tick();
        let Some(mut ended) = self.tasks.remove(&task) else { return };
        let (vcpu, depth) = (ended.vcpu, ended.end());
        self.fall_due(None, now, SyncPoint::Exit, leave_rule, |request| request.asker.task == task);
        self.demand_reports(now, |request| request.asker.task == task);
        self.demand_callbacks(task, now);
        if let (Some(vcpu), 1..) = (vcpu, depth) {
            let leaked = Some((Rule::R2, Finding::RegionLeaked { depth }));
            self.report_call(leaked, Asker::task(task, vcpu), now);
        }
    }
}
