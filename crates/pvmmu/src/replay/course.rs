//! What a policy does in the course of a replay, vCPU by vCPU, as a timeline over the lines of the trace.

use super::ledger::StepCalls;
use super::program::{Act, Step};
use crate::timeline::Timeline;

/// Follows the steps of a replay. A step that `ported` has put behind later lines stands where it was put.
pub(super) struct Course {
    timeline: Timeline,
    now: u64,
}

impl Course {
    /// Before the first step.
    pub(super) fn new() -> Self {
        Self { timeline: Timeline::new(String::new(), "line", 1), now: 0 }
    }

    /// A step has been taken with these hypercalls, and so much waits on the vCPUs now.
    pub(super) fn took(&mut self, step: &Step, calls: &StepCalls, queued: impl Iterator<Item = u64>) {
        self.now = self.now.max(step.line);
        let (timeline, at) = (&mut self.timeline, self.now);
        let (vcpu, task) = (step.vcpu.number() as usize, || step.task.to_string());
        match &step.act {
            Act::Enter => timeline.enter(vcpu, task(), at),
            Act::Leave => timeline.leave(&task(), at),
            Act::SwitchIn { next } => timeline.switch(vcpu, &task(), &next.to_string(), at),
            _ => {}
        }
        match calls.hypercalls {
            0 => {}
            1 => timeline.hypercall(vcpu, at, format!("{}: {}", calls.cause.label(), operations(calls.operations))),
            n => timeline.hypercall(
                vcpu,
                at,
                format!("{}: {n} with {}", calls.cause.label(), operations(calls.operations)),
            ),
        }
        queued.enumerate().for_each(|(vcpu, queued)| timeline.queued(vcpu, at, queued));
    }

    /// The course, when the last step has been taken.
    pub(super) fn finish(mut self) -> Timeline {
        self.timeline.finish(self.now);
        self.timeline
    }
}

fn operations(number: u64) -> String {
    if number == 1 { "1 operation".into() } else { format!("{number} operations") }
}
