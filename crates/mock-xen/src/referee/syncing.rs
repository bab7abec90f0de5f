//! The points at which operations fall due.

use hypercall::VcpuId;

use super::{
    Asker, Context, Finding, Moment, Rule, SyncPoint, TaskId,
    request::{Deferral, Request},
    shadow::Own,
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
        let task = self.task(asker, now);
        let (before, is_counted) = (task.depth, asker.context == Context::Task && !task.is_paused());
        let mut wrong = task.enter(profile, asker.context, accepted);
        let own = Own { before, after: task.depth };
        if is_counted {
            wrong = self.vcpu(asker.vcpu).shadow.enter(profile, own, accepted, wrong);
        }
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
        let (began, was_lazy, before) = (task.sync_ends(asker.context, now), task.is_lazy(), task.depth);
        let is_counted = asker.context == Context::Task && !task.is_paused();
        let mut wrong = task.left(asker.context, accepted);
        let (is_lazy, own) = (task.is_lazy(), Own { before, after: task.depth });
        if is_counted {
            wrong = self.vcpu(asker.vcpu).shadow.left(own, accepted, wrong);
        }
        self.report_call(wrong, asker, now);
        if was_lazy && accepted && asker.context == Context::Task {
            self.end_region(asker.task, now, SyncPoint::Leave, |asked| !is_lazy || asked < began);
            self.demand_reports(now, |request| request.asker.task == asker.task);
            self.demand_callbacks(asker.task, now);
            self.vcpu(asker.vcpu).queue.forget_spare();
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
        let task = self.task(asker, now);
        let (depth, wrong) = (task.depth, task.leaked());
        self.vcpu(asker.vcpu).shadow.end(depth);
        self.report_call(wrong, asker, now);
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
        if self.tasks.contains_key(&prev) {
            self.task(Asker::switch(prev, vcpu), now);
        }
        self.fall_due(Some(vcpu), now, SyncPoint::Switch { next }, |_| Rule::R7, |_| true);
        self.demand_reports(now, |request| request.deferral == Deferral::Switch && request.asker.vcpu == vcpu);
        self.vcpu(vcpu).queue.forget_spare();
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
