//! What the recorded kernel did itself: plain counts over the events.

use std::collections::{BTreeMap, HashMap};

use hypercall::abi;
use mmu_trace::{Event, EventKind, ExtendResult, FlushCause};
use serde::Serialize;

use super::cause::Cause;
use super::request::{Request, Source, TaskKey, Wish, Work};
use crate::sizes::BatchSizes;

/// The trace in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct TraceFigures {
    /// Lines read.
    pub(crate) lines: u64,
    /// Events among them.
    pub(crate) events: u64,
    /// Lines whose event is not known.
    pub(crate) unknown_lines: u64,
    /// Regions left.
    pub(crate) regions: u64,
    /// Of them, those in which nothing was queued.
    pub(crate) empty_regions: u64,
    /// L1 entries written by a call: `set_pte` and protection changes.
    pub(crate) pte_writes: u64,
    /// Of them, those in a region.
    pub(crate) pte_writes_in_regions: u64,
    /// TLB flushes asked for.
    pub(crate) tlb_flushes: u64,
}

/// The recorded kernel's hypercalls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Flushes of a batch that was not empty.
    pub(crate) flushes: u64,
    /// `set_pte` outside a region: a hypercall each.
    pub(crate) direct_pte_calls: u64,
    /// All of them by cause.
    pub(crate) by_cause: BTreeMap<Cause, u64>,
    /// Elements of `mmu_update` arrays.
    pub(crate) updates: u64,
    /// Hypercalls by their operations.
    pub(crate) sizes: BatchSizes,
}

impl Recorded {
    /// All hypercalls.
    pub(crate) fn hypercalls(&self) -> u64 {
        self.flushes + self.direct_pte_calls
    }
}

/// Counts over all events and the requests made of them. `lines` and `unknown_lines` are the reader's to say.
pub(crate) fn count(events: &[Event], requests: &[Request]) -> (TraceFigures, Recorded) {
    let mut counter = Counter::default();
    for event in events {
        counter.event(event);
    }
    counter.trace.events = events.len() as u64;
    let is_flush = |request: &&Request| matches!(request.wish, Wish::Work(Work { source: Source::Tlb, .. }));
    counter.trace.tlb_flushes = requests.iter().filter(is_flush).count() as u64;
    (counter.trace, counter.recorded)
}

/// What is queued on a vCPU, and what the last thing was that asked for it.
#[derive(Default)]
struct Queue {
    operations: u64,
    asked_by: Option<Cause>,
    full: bool,
}

#[derive(Default)]
struct Counter {
    trace: TraceFigures,
    recorded: Recorded,
    /// Operations queued in the region a task is in.
    regions: HashMap<TaskKey, u64>,
    queues: HashMap<u32, Queue>,
}

impl Counter {
    fn event(&mut self, event: &Event) {
        let task = TaskKey::of(event);
        match &event.kind {
            EventKind::RegionEnter => {
                self.regions.insert(task, 0);
            }
            EventKind::RegionLeave => {
                self.trace.regions += 1;
                self.trace.empty_regions += u64::from(self.regions.remove(&task) == Some(0));
                self.asked(event, Cause::Leave);
            }
            EventKind::SetPte { .. } => self.set_pte(event),
            EventKind::ProtCommit { .. } => {
                self.pte_write(task);
                self.asked(event, Cause::ProtCommit);
            }
            EventKind::Entry { op, .. } | EventKind::Extend { op, result: ExtendResult::Ok, .. } => {
                self.queue(event, *op);
            }
            EventKind::FlushReason { cause } => self.queue_of(event).full = *cause != FlushCause::None,
            EventKind::Flush { calls, .. } => self.flush(event, *calls),
            kind => {
                if let Some(cause) = cause_of(kind) {
                    self.asked(event, cause);
                }
            }
        }
    }

    fn set_pte(&mut self, event: &Event) {
        self.pte_write(TaskKey::of(event));
        if self.regions.contains_key(&TaskKey::of(event)) && !event.flags.in_interrupt() {
            self.asked(event, Cause::PteWrite);
        } else {
            self.recorded.direct_pte_calls += 1;
            self.recorded.sizes.count(1);
            self.recorded.updates += 1;
            *self.recorded.by_cause.entry(Cause::PteWrite).or_default() += 1;
        }
    }

    fn pte_write(&mut self, task: TaskKey) {
        self.trace.pte_writes += 1;
        self.trace.pte_writes_in_regions += u64::from(self.regions.contains_key(&task));
    }

    fn asked(&mut self, event: &Event, cause: Cause) {
        self.queue_of(event).asked_by = Some(cause);
    }

    fn queue(&mut self, event: &Event, call: u32) {
        if let Some(queued) = self.regions.get_mut(&TaskKey::of(event)) {
            *queued += 1;
        }
        self.recorded.updates += u64::from(call == abi::HYPERCALL_MMU_UPDATE);
        let queue = self.queue_of(event);
        queue.operations += 1;
        // Nothing announces a stack switch or a flush of this vCPU's TLB; a plain store announces nothing.
        let stale = queue.asked_by == Some(Cause::UpperWrite) && call != abi::HYPERCALL_MMU_UPDATE;
        if queue.asked_by.is_none() || stale {
            let stack = call == abi::HYPERCALL_STACK_SWITCH;
            queue.asked_by = Some(if stack { Cause::StackSwitch } else { Cause::TlbFlush });
        }
    }

    fn flush(&mut self, event: &Event, calls: u32) {
        let queue = std::mem::take(self.queue_of(event));
        if queue.full {
            // The operation that found no room is still to be queued.
            self.queue_of(event).asked_by = queue.asked_by;
        }
        if calls == 0 {
            return;
        }
        let asked_by = queue.asked_by.unwrap_or(Cause::Flush);
        let cause = if queue.full { Cause::QueueFull } else { asked_by };
        self.recorded.flushes += 1;
        self.recorded.sizes.count(queue.operations);
        *self.recorded.by_cause.entry(cause).or_default() += 1;
    }

    fn queue_of(&mut self, event: &Event) -> &mut Queue {
        self.queues.entry(event.vcpu).or_default()
    }
}

/// What a flush is for that follows such an event.
const fn cause_of(kind: &EventKind) -> Option<Cause> {
    Some(match kind {
        EventKind::SwitchIn => Cause::Switch,
        EventKind::RegionFlush => Cause::Flush,
        EventKind::SetUpper { .. } | EventKind::SetL4 { .. } => Cause::UpperWrite,
        EventKind::TableAlloc { pinned: true, .. } | EventKind::TableRelease { pinned: true, .. } => Cause::Table,
        EventKind::Pin { .. } | EventKind::Unpin { .. } => Cause::Pin,
        EventKind::WriteCr3 { .. } => Cause::BasePointer,
        EventKind::TlbFlushOne { .. }
        | EventKind::TlbFlushMulti { .. }
        | EventKind::TlbFlushLocal
        | EventKind::TlbFlushAll => Cause::TlbFlush,
        _ => return None,
    })
}
