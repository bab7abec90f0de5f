//! Where the guest's code can be interrupted, and what happens to it there.
//!
//! Code of a task, a handler or the switch runs on a coroutine of its own. At every call of the library
//! into the platform or the hypervisor, and before every event the referee is told of, it yields
//! ([`Yield`]) and goes on as it is commanded ([`Command`]). Between two yields nothing else runs, so
//! what lies between them is one step.

use mock_xen::PreemptPoint;

/// What is about to happen at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// A step against the vCPU's queue (`Platform::with_vcpu`).
    Vcpu,
    /// A read of an entry from memory (`Platform::read_pte`).
    Read,
    /// An exchange of an entry in memory (`Platform::exchange_pte`).
    Exchange,
    /// A look at which vCPUs are online (`Platform::online`).
    Online,
    /// Other vCPUs are to leave a table (`Platform::flush_others`).
    FlushOthers,
    /// A report of the library's (`Platform::report`).
    Report,
    /// A hypercall.
    Hypercall,
    /// The rest of a hypercall.
    Between(PreemptPoint),
    /// The referee is told of something.
    Tell(&'static str),
    /// The next internal step of a design that has its steps written out.
    Internal(&'static str),
}

impl core::fmt::Display for What {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Vcpu => f.write_str("a step on the queue"),
            Self::Read => f.write_str("reads memory"),
            Self::Exchange => f.write_str("exchanges an entry in memory"),
            Self::Online => f.write_str("looks which vcpus are online"),
            Self::FlushOthers => f.write_str("has other vcpus flush"),
            Self::Report => f.write_str("reports"),
            Self::Hypercall => f.write_str("hypercall"),
            Self::Between(point) => write!(f, "hypercall goes on: {point:?}"),
            Self::Tell(what) => write!(f, "({what})"),
            Self::Internal(what) => f.write_str(what),
        }
    }
}

/// What a coroutine yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Yield {
    /// Nothing has begun: the task's first step, or an idle vCPU that waits for a task.
    Parked,
    /// About to do something.
    Point(What),
    /// The task chooses its operation of this number from the scenario's alphabet.
    Choose(usize),
    /// Waits for a lock.
    Lock(usize),
    /// Waits until every vCPU has answered its call.
    Answers,
    /// Waits until this vCPU is idle.
    Quiet(usize),
    /// Gives its vCPU away, ready to go on.
    Sleep,
    /// The task has ended and has to be switched away from.
    Finished,
    /// Has switched to another coroutine.
    Switched(usize),
}

/// What a coroutine is told when it is resumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Go on.
    Go,
    /// An event of this number is pending: run its handler, then ask again.
    Interrupt(usize),
    /// Switch to another coroutine.
    Switch(usize),
    /// The operation chosen, by its number in the alphabet; beyond it, the end of the program.
    Do(usize),
    /// Come to the end of everything: the model is taken down.
    Quit,
}
