//! Why a hypercall was made. The same words for what was recorded and for every policy, so that rows compare.

use serde::Serialize;

use super::request::Source;

/// Why a hypercall was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// A region was left with something queued.
    Leave,
    /// A context switch ended with something queued.
    Switch,
    /// A task asked for a flush inside its region.
    Flush,
    /// The queue had no room for an operation that might have waited.
    QueueFull,
    /// An L1 entry was set outside a region.
    PteWrite,
    /// A range of L1 entries was set outside a region.
    PteRange,
    /// A copy-on-write: TLB flush and entry together.
    CopyOnWrite,
    /// A protection change outside a region.
    ProtCommit,
    /// An entry of a pinned L2, L3 or L4 was set.
    UpperWrite,
    /// A table joined or left a pinned address space.
    Table,
    /// An address space was pinned or unpinned.
    Pin,
    /// The base pointer was written outside a context switch.
    BasePointer,
    /// A TLB was flushed outside a region.
    TlbFlush,
    /// The kernel stack was changed outside the window of a context switch.
    StackSwitch,
}

impl Cause {
    /// Every cause, in the order in which a table shows them.
    pub(crate) const ALL: [Self; 14] = [
        Self::PteWrite,
        Self::PteRange,
        Self::CopyOnWrite,
        Self::ProtCommit,
        Self::TlbFlush,
        Self::Leave,
        Self::QueueFull,
        Self::Flush,
        Self::Switch,
        Self::StackSwitch,
        Self::BasePointer,
        Self::UpperWrite,
        Self::Table,
        Self::Pin,
    ];

    /// What a reader is told.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Leave => "region left",
            Self::Switch => "context switch",
            Self::Flush => "flush asked for",
            Self::QueueFull => "queue full",
            Self::PteWrite => "single pte write",
            Self::PteRange => "range of ptes",
            Self::CopyOnWrite => "copy-on-write",
            Self::ProtCommit => "protection change",
            Self::UpperWrite => "L2-L4 write",
            Self::Table => "table (un)linked",
            Self::Pin => "pin/unpin",
            Self::BasePointer => "base pointer",
            Self::TlbFlush => "TLB flush",
            Self::StackSwitch => "stack switch",
        }
    }
}

impl From<Source> for Cause {
    /// The cause of a hypercall that goes out as soon as `source` asks.
    fn from(source: Source) -> Self {
        match source {
            Source::PteWrite => Self::PteWrite,
            Source::ProtCommit => Self::ProtCommit,
            Source::UpperWrite(_) => Self::UpperWrite,
            Source::Table => Self::Table,
            Source::PinWalk | Source::UnpinWalk => Self::Pin,
            Source::BasePointer => Self::BasePointer,
            Source::Tlb => Self::TlbFlush,
            Source::StackSwitch => Self::StackSwitch,
            Source::Range => Self::PteRange,
            Source::CopyOnWrite => Self::CopyOnWrite,
        }
    }
}
