//! Why a policy has no cost.

use core::fmt;

use hypercall::{BatchFull, Errno, Pte};
use pv_mmu::{
    Failure, Failures, HarvestError, NotCleared, RangeError, SetRangeError,
    table::{NotRetired, NotRewritten, NotValidated, TableMemory},
};

use crate::At;

/// Why a workload was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The hypervisor refused something.
    Refused(Errno),
    /// An operation of the library's is not effective, or a table was not taken into use or out of it.
    Failure(Failure),
    /// A range of the library's is not effective.
    SetRange(SetRangeError),
    /// Operations of a region are not effective.
    Failed(Failures),
    /// The library refused a range.
    Range(RangeError),
    /// The library refused to empty entries.
    Harvest(HarvestError),
    /// A batch of the policy's own has no room.
    Full(BatchFull),
    /// A workload does not fit.
    TooLarge {
        /// Tables it needs.
        tables: usize,
        /// Entries of each that it needs.
        entries: usize,
        /// Tables there are.
        room: usize,
    },
    /// An entry was not emptied.
    NotCleared(NotCleared),
    /// No TLB was flushed where stale translations have to go.
    NotFlushed,
    /// An entry could not be accessed.
    Access {
        /// Which.
        at: At,
    },
    /// An entry does not hold what it has to in the end.
    Differs {
        /// Which.
        at: At,
        /// What it holds.
        held: Pte,
        /// What it has to hold.
        expected: Pte,
    },
    /// What entries held before is not what the policy says of them.
    Gathered {
        /// Entries it told of.
        count: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(errno) => write!(f, "the hypervisor answered {errno}"),
            Self::Failure(failure) => failure.fmt(f),
            Self::SetRange(error) => error.fmt(f),
            Self::Failed(failures) => failures.fmt(f),
            Self::Range(error) => error.fmt(f),
            Self::Harvest(error) => error.fmt(f),
            Self::Full(full) => write!(f, "the policy's batch has no room: {full:?}"),
            Self::TooLarge { tables, entries, room } => {
                write!(f, "{entries} entries of {tables} tables are needed, there is room for {room} tables of 512")
            }
            Self::NotCleared(error) => error.fmt(f),
            Self::NotFlushed => f.write_str("no TLB was flushed, and stale translations are left"),
            Self::Access { at: At { table, index } } => {
                write!(f, "entry {index} of table {table} cannot be accessed: the table is not what it has to be")
            }
            Self::Differs { at: At { table, index }, held, expected } => {
                write!(f, "entry {index} of table {table} holds {held} in the end, not {expected}")
            }
            Self::Gathered { count } => write!(f, "of {count} entries it was told what they held, and not rightly"),
        }
    }
}

impl core::error::Error for Error {}

macro_rules! from {
    ($($variant:ident($cause:ty),)*) => {
        $(impl From<$cause> for Error {
            fn from(cause: $cause) -> Self {
                Self::$variant(cause)
            }
        })*
    };
}

from! {
    Refused(Errno),
    Failed(Failures),
    Range(RangeError),
    Harvest(HarvestError),
    Full(BatchFull),
    Failure(Failure),
    SetRange(SetRangeError),
    NotCleared(NotCleared),
}

impl<M: TableMemory> From<NotValidated<M>> for Error {
    fn from(error: NotValidated<M>) -> Self {
        Self::Failure(error.failure)
    }
}

impl<M: TableMemory> From<NotRetired<M>> for Error {
    fn from(error: NotRetired<M>) -> Self {
        Self::Failure(error.failure)
    }
}

impl<M: TableMemory> From<NotRewritten<M>> for Error {
    fn from(error: NotRewritten<M>) -> Self {
        match error {
            NotRewritten::Retired(error) => error.into(),
            NotRewritten::Validated(error) => error.into(),
        }
    }
}
