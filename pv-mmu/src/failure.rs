//! How the library says that something did not happen.

use core::fmt;
use core::panic::Location;

use hypercall::{Errno, Operation};

/// What became of an operation (R14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// The hypervisor has applied it.
    Applied,
    /// The hypervisor refused it.
    Refused(Errno),
    /// It was not handed over again after one before it had been refused.
    NotAttempted,
}

/// What is done with the operations behind a refused one (R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailurePolicy {
    /// They are attempted, as long as that keeps the order (R3). Where operations that do not
    /// commute with them have already run, such as the base-pointer load of a context switch that took
    /// them along, they are reported as not attempted instead.
    #[default]
    Continue,
    /// Those of the same batch that have not run are reported as not attempted. Operations of an
    /// interrupt handler, and immediate ones, are attempted all the same (R6).
    Stop,
}

/// An operation that is not effective, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure {
    operation: Operation,
    cause: Status,
    caller: Option<&'static Location<'static>>,
}

impl Failure {
    pub(crate) const fn new(operation: Operation, cause: Status, caller: Option<&'static Location<'static>>) -> Self {
        Self { operation, cause, caller }
    }

    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The refusal; `None` for an operation that was not attempted.
    #[must_use]
    pub const fn errno(&self) -> Option<Errno> {
        if let Status::Refused(errno) = self.cause { Some(errno) } else { None }
    }

    /// Where it was asked for; known with the feature `caller-location`.
    #[must_use]
    pub const fn caller(&self) -> Option<&'static Location<'static>> {
        self.caller
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.errno() {
            Some(errno) => write!(f, "the hypervisor answered {errno} to `{}`", self.operation)?,
            None => write!(f, "not attempted after an earlier refusal: `{}`", self.operation)?,
        }
        match self.caller {
            Some(caller) => write!(f, ", asked at {caller}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Failure {}

/// The failures of a region: the first [`Failures::KEPT`] whole, the rest counted. Those beyond
/// have been reported to the platform one by one (R2, R14).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Failures {
    kept: [Option<Failure>; Self::KEPT],
    count: u32,
}

impl Failures {
    /// Failures kept whole.
    pub const KEPT: usize = 4;

    pub(crate) const fn new() -> Self {
        Self { kept: [None; Self::KEPT], count: 0 }
    }

    /// Adds a failure; gives it back when there is no room to keep it.
    pub(crate) fn add(&mut self, failure: Failure) -> Result<(), Failure> {
        let place = self.kept.get_mut(self.count as usize);
        self.count = self.count.saturating_add(1);
        match place {
            Some(place) => *place = Some(failure),
            None => return Err(failure),
        }
        Ok(())
    }

    /// Takes what is there and leaves nothing; `Ok` when nothing was there.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<(), Self> {
        if self.count == 0 { Ok(()) } else { self.take_all() }
    }

    #[cold]
    #[inline(never)]
    fn take_all(&mut self) -> Result<(), Self> {
        Err(core::mem::take(self))
    }

    /// Number of operations that are not effective.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// The failures kept, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Failure> {
        self.kept.iter().flatten()
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str("1 operation of the region is not effective")?,
            count => write!(f, "{count} operations of the region are not effective")?,
        }
        match self.iter().next() {
            Some(only) if self.count == 1 => write!(f, ": {only}"),
            Some(first) => write!(f, "; the first: {first}"),
            None => Ok(()),
        }
    }
}

impl core::error::Error for Failures {}

/// What the library tells the platform, because no caller is there to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Report {
    /// An operation is not effective, found by a flush whose caller did not ask for it: at a
    /// context switch, for an interrupt, when a guard was dropped, or beyond
    /// [`Failures::KEPT`].
    Failed(Failure),
    /// A region was still open when its task entered the next or ended (R2). Its operations have
    /// been flushed.
    LeakedRegion {
        /// Its depth.
        depth: u8,
    },
    /// Regions were opened inside a pause and not closed before its end (R5). They are closed now.
    UnbalancedPause {
        /// How many.
        regions: u8,
    },
    /// The hypervisor refused a multicall as a whole. Its calls have been issued one by one.
    MulticallRefused(Errno),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::LeakedRegion { depth } => write!(f, "a region was left open at depth {depth} and is flushed now"),
            Self::UnbalancedPause { regions: 1 } => f.write_str("1 region opened in a pause outlived it"),
            Self::UnbalancedPause { regions } => write!(f, "{regions} regions opened in a pause outlived it"),
            Self::MulticallRefused(errno) => {
                write!(f, "the hypervisor answered {errno} to a multicall; its calls were issued one by one")
            }
        }
    }
}
