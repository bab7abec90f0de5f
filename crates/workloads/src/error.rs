//! Why a policy has no cost.

use core::fmt;

use hypercall::{BatchFull, Errno, Pte};
use pv_mmu::{Failures, HarvestError, RangeError};

/// Why a workload was not measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The hypervisor refused something.
    Refused(Errno),
    /// Operations of a region are not effective.
    Failed(Failures),
    /// The library refused a range.
    Range(RangeError),
    /// The library refused to empty entries.
    Harvest(HarvestError),
    /// A batch of the policy's own has no room.
    Full(BatchFull),
    /// An entry could not be accessed.
    Access {
        /// Which.
        index: usize,
    },
    /// An entry does not hold what it has to in the end.
    Differs {
        /// Which.
        index: usize,
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
            Self::Failed(failures) => failures.fmt(f),
            Self::Range(error) => error.fmt(f),
            Self::Harvest(error) => error.fmt(f),
            Self::Full(full) => write!(f, "the policy's batch has no room: {full:?}"),
            Self::Access { index } => write!(f, "entry {index} cannot be accessed: the table is not what it has to be"),
            Self::Differs { index, held, expected } => {
                write!(f, "entry {index} holds {held} in the end, not {expected}")
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
}
