//! What the judge found.

use std::fmt;

use crate::event::{Event, EventKind, FlushCause};

/// How many violations are kept; all are counted.
pub const MAX_VIOLATIONS: usize = 100;

/// The verdict over a trace.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// Events judged.
    pub events: u64,
    /// Regions entered.
    pub regions: u64,
    /// Regions left in which nothing was queued.
    pub empty_regions: u64,
    /// Regions entered before the first event of the trace, or before lost ones.
    pub regions_open_at_start: u64,
    /// Regions still open at the last event.
    pub regions_open_at_end: u64,
    /// Context switches.
    pub switches: u64,
    /// Entries queued.
    pub entries: u64,
    /// Operations appended to an entry that was queued already.
    pub extends: u64,
    /// Flushes that made a hypercall, by what made them.
    pub flushes: FlushCounts,
    /// Flushes of an empty queue, which make no hypercall.
    pub empty_flushes: u64,
    /// Entries in each flush that made a hypercall.
    pub entries_per_flush: Histogram,
    /// Operations in each flush that made a hypercall and whose queue was seen from its start.
    pub operations_per_flush: Histogram,
    /// Regions of tasks beyond the number the judge keeps state for; not judged.
    pub untracked_tasks: u64,
    /// What the trace has events for.
    pub evidence: Evidence,
    /// The first [`MAX_VIOLATIONS`] violations.
    pub violations: Vec<Violation>,
    /// All violations.
    pub violations_total: u64,
}

impl CheckReport {
    pub(super) fn breach(&mut self, event: &Event, what: Breach) {
        self.violations_total += 1;
        if self.violations.len() < MAX_VIOLATIONS {
            let &Event { line, vcpu, task, .. } = event;
            self.violations.push(Violation { line, vcpu, task, what });
        }
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The event by which it showed: its line.
    pub line: u64,
    /// Its vCPU.
    pub vcpu: u32,
    /// Its task.
    pub task: u32,
    /// What was broken.
    pub what: Breach,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, vcpu, task, what } = self;
        write!(f, "line {line}: {}: vcpu {vcpu}, task {task}: {what}", what.rule())
    }
}

/// A rule of the contract, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// Deferral lasts until the next sync point, no longer.
    R1,
    /// When leave returns, everything is effective.
    R2,
    /// Regions do not nest; none is left without having been entered.
    R4,
    /// Never lazy in interrupt context.
    R6,
    /// At a context switch everything of the outgoing task is effective; the incoming has its own depth.
    R7,
    /// What was queued adds up to what was flushed.
    R17,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How a rule was broken. `since` is the line where it began, `queued` the entries that should not be there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Breach {
    /// Operations asked for outside a region stay queued.
    #[error("what was issued at line {since} to go out at once is still queued")]
    QueuedAfterIssue {
        /// The issue.
        since: u64,
    },
    /// Operations stay queued after the region's flush.
    #[error("the flush of line {since} left entries queued")]
    QueuedAfterFlush {
        /// The request.
        since: u64,
    },
    /// Operations stay queued after the leave.
    #[error("the leave of line {since} left entries queued")]
    QueuedAfterLeave {
        /// The leave.
        since: u64,
    },
    /// A region is open in user mode.
    #[error("the region entered at line {since} is open in user mode")]
    OpenInUserMode {
        /// The enter.
        since: u64,
    },
    /// A task exits inside a region.
    #[error("the task exits in the region entered at line {since}")]
    OpenAtExit {
        /// The enter.
        since: u64,
    },
    /// A region in a region.
    #[error("a region is entered inside the one of line {since}")]
    Nested {
        /// The outer enter.
        since: u64,
    },
    /// A leave too many.
    #[error("a region is left that was not entered")]
    LeaveWithoutEnter,
    /// A region is entered by a handler.
    #[error("a region is entered in interrupt context")]
    EnterInInterrupt,
    /// A region is left by a handler.
    #[error("a region is left in interrupt context")]
    LeaveInInterrupt,
    /// A handler queues lazily.
    #[error("a batch is begun lazily in interrupt context")]
    LazyInInterrupt,
    /// A handler's operations stay queued.
    #[error("what a handler issued at line {since} is still queued")]
    QueuedAfterInterrupt {
        /// The issue.
        since: u64,
    },
    /// The incoming task finds entries of the outgoing one.
    #[error("{queued} entries of task {prev} are queued when the next task runs")]
    QueuedAcrossSwitch {
        /// The outgoing task.
        prev: u32,
        /// Entries.
        queued: u32,
    },
    /// A task outside any region queues lazily, as if it had its predecessor's depth.
    #[error("a batch is begun lazily by a task that is in no region")]
    LazyOutside,
    /// A flush does not take what was queued.
    #[error("a flush takes {flushed} entries, {queued} were queued")]
    FlushCount {
        /// Entries the flush takes.
        flushed: u32,
        /// Entries queued since the last flush.
        queued: u32,
    },
    /// A flush does not run the callbacks that were queued.
    #[error("a flush runs {flushed} callbacks, {queued} were queued")]
    CallbackCount {
        /// Callbacks the flush runs.
        flushed: u32,
        /// Callbacks queued since the last flush.
        queued: u32,
    },
    /// A reason to flush, and no flush.
    #[error("no flush follows the reason given at line {since}")]
    ReasonWithoutFlush {
        /// The reason.
        since: u64,
    },
}

impl Breach {
    /// The rule that it breaks.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        match self {
            Self::QueuedAfterIssue { .. } | Self::QueuedAfterFlush { .. } => Rule::R1,
            Self::QueuedAfterLeave { .. } | Self::OpenInUserMode { .. } | Self::OpenAtExit { .. } => Rule::R2,
            Self::Nested { .. } | Self::LeaveWithoutEnter => Rule::R4,
            Self::EnterInInterrupt | Self::LeaveInInterrupt | Self::LazyInInterrupt => Rule::R6,
            Self::QueuedAfterInterrupt { .. } => Rule::R6,
            Self::QueuedAcrossSwitch { .. } | Self::LazyOutside => Rule::R7,
            Self::FlushCount { .. } | Self::CallbackCount { .. } | Self::ReasonWithoutFlush { .. } => Rule::R17,
        }
    }
}

/// What made a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The buffer was full.
    Full(FlushCause),
    /// A region was left.
    Leave,
    /// A region's operations were asked to become effective.
    Request,
    /// A context switch ended.
    Switch,
    /// An operation that may not wait.
    Operation,
}

/// Flushes that made a hypercall, by what made them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlushCounts {
    /// A region was left.
    pub leave: u64,
    /// A region's operations were asked to become effective.
    pub request: u64,
    /// A context switch ended.
    pub switch: u64,
    /// An operation outside a region, or one that may never wait.
    pub operation: u64,
    /// No free entry.
    pub full_entries: u64,
    /// No room for arguments.
    pub full_arguments: u64,
    /// No free callback.
    pub full_callbacks: u64,
}

impl FlushCounts {
    pub(super) fn count(&mut self, why: Why) {
        let count = match why {
            Why::Full(FlushCause::Args) => &mut self.full_arguments,
            Why::Full(FlushCause::Callback) => &mut self.full_callbacks,
            Why::Full(_) => &mut self.full_entries,
            Why::Leave => &mut self.leave,
            Why::Request => &mut self.request,
            Why::Switch => &mut self.switch,
            Why::Operation => &mut self.operation,
        };
        *count += 1;
    }

    /// All of them.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let forced = self.full_entries + self.full_arguments + self.full_callbacks;
        self.leave + self.request + self.switch + self.operation + forced
    }
}

/// How often each size occurred.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; Self::BUCKETS],
    largest: u32,
}

impl Histogram {
    /// Sizes with a bucket of their own begin at 0; the last bucket is of all sizes from `BUCKETS - 1` on.
    pub const BUCKETS: usize = 66;

    pub(super) fn count(&mut self, size: u32) {
        self.buckets[(size as usize).min(Self::BUCKETS - 1)] += 1;
        self.largest = self.largest.max(size);
    }

    /// The number of occurrences per size.
    #[must_use]
    pub const fn buckets(&self) -> &[u64; Self::BUCKETS] {
        &self.buckets
    }

    /// The largest size, 0 if there was none.
    #[must_use]
    pub const fn largest(&self) -> u32 {
        self.largest
    }

    /// The number of all occurrences.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; Self::BUCKETS], largest: 0 }
    }
}

/// What a trace has events for; rules about anything else were not judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evidence {
    /// Regions: without them R2 (but for nothing queued), R4 and half of R6 and R7.
    pub regions: bool,
    /// Context switches: without them R7.
    pub switches: bool,
    /// Entries and flushes of the recorder's own queue: without them R1 and R17 and half of R2, R6 and R7.
    pub batches: bool,
    /// The context of each event: without it R6.
    pub contexts: bool,
    /// Entries and flushes each, until both were seen.
    queue: (bool, bool),
}

impl Evidence {
    pub(super) fn note(&mut self, event: &Event) {
        self.contexts |= event.flags.recorded;
        match event.kind {
            EventKind::RegionEnter | EventKind::RegionLeave => self.regions = true,
            EventKind::SchedSwitch { .. } | EventKind::SwitchOut => self.switches = true,
            EventKind::Entry { .. } => self.queue.0 = true,
            EventKind::Flush { .. } => self.queue.1 = true,
            _ => return,
        }
        self.batches = self.queue == (true, true);
    }
}
