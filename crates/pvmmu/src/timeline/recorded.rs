//! The recorded kernel's own course, from the events of a trace.

use std::collections::HashMap;

use mmu_trace::{Event, EventKind, ExtendResult};

use super::Timeline;

/// Follows the events of a trace, in their order.
pub(crate) struct Recorder {
    timeline: Timeline,
    /// What is queued on each vCPU.
    queued: HashMap<u32, u64>,
    /// Whom each vCPU is turning to.
    next: HashMap<u32, u32>,
}

/// The thread as people know it.
fn task(number: u32, vcpu: u32) -> String {
    if number == 0 { format!("the idle task of vcpu {vcpu}") } else { format!("task {number}") }
}

impl Recorder {
    /// At the beginning of a trace.
    pub(crate) fn new() -> Self {
        let timeline = Timeline::new("recorder", "line", 1);
        Self { timeline, queued: HashMap::new(), next: HashMap::new() }
    }

    /// The next event.
    pub(crate) fn event(&mut self, event: &Event) {
        let (vcpu, at) = (event.vcpu as usize, event.line);
        let who = task(event.task, event.vcpu);
        match &event.kind {
            EventKind::RegionEnter => self.timeline.enter(vcpu, who, at),
            EventKind::RegionLeave => self.timeline.leave(&who, at),
            EventKind::SchedSwitch { next, .. } => _ = self.next.insert(event.vcpu, *next),
            EventKind::SwitchIn => {
                if let Some(next) = self.next.remove(&event.vcpu) {
                    self.timeline.switch(vcpu, &who, &task(next, event.vcpu), at);
                }
            }
            EventKind::Entry { .. } | EventKind::Extend { result: ExtendResult::Ok, .. } => {
                let queued = self.queued.entry(event.vcpu).or_default();
                *queued += 1;
                self.timeline.queued(vcpu, at, *queued);
            }
            EventKind::Flush { calls, .. } => self.flush(event, *calls),
            EventKind::SetPte { .. } if !self.timeline.is_in_region(&who) || event.flags.in_interrupt() => {
                self.timeline.hypercall(vcpu, at, "a pte, past the queue".into());
            }
            _ => {}
        }
    }

    fn flush(&mut self, event: &Event, calls: u32) {
        let (vcpu, at) = (event.vcpu as usize, event.line);
        let operations = self.queued.remove(&event.vcpu).unwrap_or_default();
        if calls > 0 {
            self.timeline.hypercall(vcpu, at, format!("{operations} operations"));
        }
        self.timeline.queued(vcpu, at, 0);
    }

    /// The course, when the last event has been told.
    pub(crate) fn finish(mut self, at: u64) -> Timeline {
        self.timeline.finish(at);
        self.timeline
    }
}
