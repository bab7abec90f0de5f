//! What the referee reports.

use core::fmt;

use hypercall::{Errno, Mfn, Operation, VcpuId, VirtAddr};

use super::{Context, Moment, Rule, TaskId};

/// A call that opens, closes or suspends a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegionCall {
    /// Enter.
    Enter,
    /// Leave.
    Leave,
    /// Pause.
    Pause,
    /// Resume.
    Resume,
}

impl fmt::Display for RegionCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enter => "enter",
            Self::Leave => "leave",
            Self::Pause => "pause",
            Self::Resume => "resume",
        })
    }
}

/// A point at which operations have to be effective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SyncPoint {
    /// The call that asked for the operation has returned.
    Return,
    /// Leave has returned.
    Leave,
    /// Pause has returned.
    Pause,
    /// An explicit flush has returned.
    Flush,
    /// The library has reported the region as leaked.
    LeakReport,
    /// The interrupt handler has returned.
    InterruptEnd,
    /// Another task is about to run on the vCPU.
    Switch {
        /// That task.
        next: TaskId,
    },
    /// The task has appeared on another vCPU.
    Migration {
        /// That vCPU.
        to: VcpuId,
    },
    /// The task has ended.
    Exit,
}

impl SyncPoint {
    /// Whether the region goes on: what a refusal has kept from being attempted may be told by its leave (R2, R14).
    pub(super) const fn is_within_region(self) -> bool {
        matches!(self, Self::Pause | Self::Flush)
    }
}

impl fmt::Display for SyncPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Return => f.write_str("the call that asked for it returned"),
            Self::Leave => f.write_str("leave returned"),
            Self::Pause => f.write_str("pause returned"),
            Self::Flush => f.write_str("the flush returned"),
            Self::LeakReport => f.write_str("the leaked region was reported"),
            Self::InterruptEnd => f.write_str("the interrupt handler returned"),
            Self::Switch { next } => write!(f, "{next} took the vcpu"),
            Self::Migration { to } => write!(f, "its task continued on {to}"),
            Self::Exit => f.write_str("its task ended"),
        }
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    /// The operation was not effective when it had to be.
    StillQueued(SyncPoint),
    /// An operation asked later, with which it does not commute, arrived first.
    Overtaken {
        /// That operation.
        by: Operation,
        /// When it was asked.
        asked: Moment,
    },
    /// The operation, already applied, arrived again.
    AppliedTwice {
        /// When it arrived before.
        before: Moment,
    },
    /// The operation, already refused, arrived again.
    RefusedTwice {
        /// When it arrived before.
        before: Moment,
    },
    /// The operation arrived and nobody had asked for it.
    NeverAsked,
    /// The operation arrived where another value of the same entry was due.
    Altered {
        /// What was due.
        due: Operation,
    },
    /// The operation arrived for an entry with several pending writes, and is no merge of them.
    WrongMerge {
        /// How many writes.
        writes: usize,
    },
    /// The operation arrived on another vCPU than it was asked on.
    WrongVcpu {
        /// Where it arrived.
        arrived_on: VcpuId,
    },
    /// The operation was refused and the guest was not told.
    FailureUntold(Errno),
    /// The operation stood behind a refused one, was not attempted again, and the guest was not told.
    TailDropped,
    /// The guest was told of a failure (`None`: that it was not attempted) which did not happen.
    FalseReport(Option<Errno>),
    /// A completion callback that was due did not run.
    CallbackLost,
    /// A completion callback ran a second time.
    CallbackTwice,
    /// A completion callback was given another status than the operation met (`None`: not attempted).
    CallbackStatus(Option<Result<(), Errno>>),
    /// The library took a call it had to refuse.
    Accepted {
        /// The call.
        call: RegionCall,
        /// The task's depth before.
        depth: u32,
    },
    /// The library refused a call it had to take.
    Declined {
        /// The call.
        call: RegionCall,
        /// The task's depth before.
        depth: u32,
    },
    /// The task ended inside a region, or opened another over it, and the leak was not reported.
    RegionLeaked {
        /// The depth it had.
        depth: u32,
    },
    /// The guest was told of the same refusal a second time.
    ReportedTwice(Errno),
    /// The library has reported a leak and ended the task's regions, and none was leaked.
    FalseLeakReport,
    /// An entry with a pending write was read past the accessor.
    RawRead,
    /// The accessor answered with a value that the pending writes do not give.
    StaleRead {
        /// Its answer.
        read: u64,
        /// What they give.
        expected: u64,
    },
    /// An entry was written past the library ahead of an operation asked before.
    WrittenPast {
        /// The entry's machine address.
        entry: u64,
    },
    /// More operations than the bound were issued with upcalls masked.
    TooManyMasked {
        /// The bound.
        bound: u32,
    },
    /// An update overwrote what a processor had noted in the entry, before the guest had seen it.
    NotesLost {
        /// The entry's machine address.
        entry: u64,
        /// Which of accessed and dirty.
        notes: u64,
    },
    /// A page that the guest has given away was reached by a translation that no flush has ended.
    StaleUse {
        /// Through which address.
        address: VirtAddr,
        /// The page.
        frame: Mfn,
        /// Whether for a store.
        is_store: bool,
    },
    /// A table was unpinned while another vCPU still had it loaded, with the switch away queued.
    BaseStillLoaded {
        /// The table.
        table: Mfn,
        /// That vCPU.
        on: VcpuId,
    },
}

impl Finding {
    /// Whether it follows from which request was taken for which arrival, so that another way to take them may be innocent.
    pub(super) const fn is_of_matching(&self) -> bool {
        !matches!(
            self,
            Self::CallbackLost
                | Self::CallbackTwice
                | Self::Accepted { .. }
                | Self::Declined { .. }
                | Self::RegionLeaked { .. }
                | Self::FalseLeakReport
                | Self::TooManyMasked { .. }
                | Self::NotesLost { .. }
                | Self::StaleUse { .. }
                | Self::BaseStillLoaded { .. }
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StillQueued(point) => write!(f, "not effective when {point}"),
            Self::Overtaken { by, asked } => write!(f, "overtaken by `{by}`, asked at {asked}"),
            Self::AppliedTwice { before } => write!(f, "applied before, at {before}"),
            Self::RefusedTwice { before } => write!(f, "refused before, at {before}"),
            Self::NeverAsked => f.write_str("nobody asked for it"),
            Self::Altered { due } => write!(f, "arrived where `{due}` was due"),
            Self::WrongMerge { writes } => write!(f, "no merge of the {writes} writes pending for its entry"),
            Self::WrongVcpu { arrived_on } => write!(f, "arrived on {arrived_on}"),
            Self::FailureUntold(errno) => write!(f, "refused with {errno}, and the guest was not told"),
            Self::TailDropped => f.write_str("dropped behind a refused operation, and the guest was not told"),
            Self::FalseReport(Some(errno)) => write!(f, "reported as refused with {errno}, which it was not"),
            Self::FalseReport(None) => f.write_str("reported as not attempted, which is not so"),
            Self::CallbackLost => f.write_str("its completion callback did not run"),
            Self::CallbackTwice => f.write_str("its completion callback ran twice"),
            Self::CallbackStatus(Some(Ok(()))) => {
                f.write_str("its completion callback was told that it was applied, which it was not")
            }
            Self::CallbackStatus(Some(Err(errno))) => {
                write!(f, "its completion callback was told that it was refused with {errno}, which it was not")
            }
            Self::CallbackStatus(None) => {
                f.write_str("its completion callback was told that it was not attempted, which is not so")
            }
            Self::Accepted { call, depth } => write!(f, "{call} was accepted at depth {depth}"),
            Self::Declined { call, depth } => write!(f, "{call} was refused at depth {depth}"),
            Self::RegionLeaked { depth } => write!(f, "region leaked at depth {depth}, and nobody reported it"),
            Self::ReportedTwice(errno) => write!(f, "reported twice as refused with {errno}, which it was once"),
            Self::FalseLeakReport => f.write_str("regions were reported as leaked and ended, and none was leaked"),
            Self::RawRead => f.write_str("read past the accessor while a write is pending"),
            Self::StaleRead { read, expected } => {
                write!(f, "the accessor answered {read:#x}, and what was asked gives {expected:#x}")
            }
            Self::WrittenPast { entry } => write!(f, "overtaken by a write of entry {entry:#x} past the library"),
            Self::TooManyMasked { bound } => {
                write!(f, "more than {bound} operations in one stretch with upcalls masked")
            }
            Self::NotesLost { entry, notes } => {
                write!(
                    f,
                    "notes {notes:#x} of the processor in entry {entry:#x} were overwritten before anybody saw them"
                )
            }
            Self::StaleUse { address, frame, is_store } => {
                let access = if *is_store { "stored to" } else { "loaded from" };
                write!(f, "{frame} was given away and {access} at {address} by a translation that is not flushed")
            }
            Self::BaseStillLoaded { table, on } => {
                write!(f, "{table} is still loaded on {on}, where the switch away from it is queued")
            }
        }
    }
}

/// When and in which context something was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// When.
    pub at: Moment,
    /// In which context.
    pub context: Context,
}

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// The operation it was broken for, where there is one.
    pub operation: Option<Operation>,
    /// The task that asked; `None` for an operation that nobody asked for.
    pub task: Option<TaskId>,
    /// The vCPU it was asked on, or arrived on if nobody asked; `None` for a task that never ran.
    pub vcpu: Option<VcpuId>,
    /// When it was asked.
    pub asked: Option<Asked>,
    /// When the violation was found.
    pub found: Moment,
    /// What was found.
    pub finding: Finding,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.rule, self.rule.title())?;
        if let Some(operation) = &self.operation {
            write!(f, ": `{operation}`")?;
        }
        if let Some(task) = self.task {
            write!(f, ", {task}")?;
        }
        if let Some(vcpu) = self.vcpu {
            write!(f, ", {vcpu}")?;
        }
        if let Some(asked) = self.asked {
            write!(f, ", asked at {} in {}", asked.at, asked.context)?;
        }
        write!(f, ", found at {}: {}", self.found, self.finding)
    }
}
