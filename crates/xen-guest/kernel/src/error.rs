//! Why a command was not carried out.

use core::fmt;

use hypercall::{BatchFull, Errno};
use mmu_replay::WireError;
use pv_mmu::{Failure, Failures, NotCleared, SetRangeError};
use workloads::{Policy, Workload};
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
    /// The recorded steps are no list.
    Steps(WireError),
    /// The command has not room enough for what its payload asks for.
    Room {
        /// Of what.
        what: &'static str,
        /// How many are asked for.
        asked: u64,
        /// How many there is room for.
        room: u64,
    },
    /// The pool of pages is used up.
    NoPage,
    /// The programs are no list, or the arena is not as they need it.
    Programs(ListError),
    /// A batch has no room for what is to be measured.
    Batch(BatchFull),
    /// So many operations are not one call.
    NotOneCall(usize),
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
    /// A policy has no cost of a workload.
    NoCost(Workload, Policy, workloads::Error),
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
            Self::Steps(error) => write!(f, "the steps cannot be read: {error}"),
            Self::Room { what, asked, room } => write!(f, "{asked} {what} are asked for, there is room for {room}"),
            Self::NoPage => f.write_str("the kernel's pool of pages is used up"),
            Self::Programs(error) => error.fmt(f),
            Self::Batch(full) => write!(f, "no room to measure it: {full:?}"),
            Self::NotOneCall(count) => write!(f, "{count} operations are not one call"),
            Self::Xen(errno) => write!(f, "Xen answered {errno}"),
            Self::Failed(failure) => failure.fmt(f),
            Self::Region(failures) => failures.fmt(f),
            Self::Range(error) => error.fmt(f),
            Self::NotCleared(error) => error.fmt(f),
            Self::Fault(fault) => fault.fmt(f),
            Self::Table(error) => error.fmt(f),
            Self::NoCost(workload, policy, error) => write!(f, "{} by {}: {error}", workload.name, policy.name()),
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
    Steps(WireError),
    Programs(ListError),
    Batch(BatchFull),
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
