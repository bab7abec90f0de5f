//! Why a command was not carried out.

use core::fmt;

use hypercall::Errno;
use pv_mmu::{Failure, Failures, NotCleared, SetRangeError};
use xen_guest::memory::{Fault, tables::TableError};
use xen_guest::{smp, tasks};
use xen_program::ListError;
use xen_wire::RequestError;

/// What went wrong where a command could not go on.
pub(crate) enum Error {
    /// The boot module is no request.
    Request(RequestError),
    /// There is no such command.
    UnknownCommand,
    /// The command cannot do anything with its payload.
    Payload,
    /// The pool of pages is used up.
    NoPage,
    /// The programs are no list, or the arena is not as they need it.
    Programs(ListError),
    /// Xen refused something the command relies on.
    Xen(Errno),
    /// An operation of the command's preparation is not effective.
    Failed(Failure),
    /// A region that should have been left clean was not.
    Region(Failures),
    /// A range is not effective.
    Range(SetRangeError),
    /// An entry was not emptied.
    NotCleared(NotCleared),
    /// An access that should not have faulted.
    Fault(Fault),
    /// A table entry cannot be reached.
    Table(TableError),
    /// The second vCPU does not run.
    Start(smp::StartError),
    /// It has other work.
    Busy(smp::Busy),
    /// There are too many tasks.
    NoRoom(tasks::NoRoom),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::UnknownCommand => f.write_str("no such command"),
            Self::Payload => f.write_str("the command does not know what to do with this payload"),
            Self::NoPage => f.write_str("the kernel's pool of pages is used up"),
            Self::Programs(error) => error.fmt(f),
            Self::Xen(errno) => write!(f, "Xen answered {errno}"),
            Self::Failed(failure) => failure.fmt(f),
            Self::Region(failures) => failures.fmt(f),
            Self::Range(error) => error.fmt(f),
            Self::NotCleared(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::Table(error) => error.fmt(f),
            Self::Start(error) => error.fmt(f),
            Self::Busy(error) => error.fmt(f),
            Self::NoRoom(error) => error.fmt(f),
        }
    }
}

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
    Request(RequestError),
    Programs(ListError),
    Xen(Errno),
    Failed(Failure),
    Region(Failures),
    Range(SetRangeError),
    NotCleared(NotCleared),
    Fault(Fault),
    Table(TableError),
    Start(smp::StartError),
    Busy(smp::Busy),
    NoRoom(tasks::NoRoom),
}
