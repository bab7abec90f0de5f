//! Who asks, where, and when.

use core::fmt;

use hypercall::VcpuId;

/// A task of the guest, by a number of the caller's choice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(u64);

impl TaskId {
    /// The task with this number.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// In which context a guest acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Context {
    /// A task's own code, exceptions it causes included.
    Task,
    /// A handler that interrupted the task.
    Interrupt,
    /// The switch code between two tasks.
    Switch,
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Task => "task context",
            Self::Interrupt => "interrupt context",
            Self::Switch => "the context switch",
        })
    }
}

/// Who acts: a task, the vCPU it is on, and the context. In interrupt context the task is the
/// interrupted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asker {
    /// The task.
    pub task: TaskId,
    /// Where it runs.
    pub vcpu: VcpuId,
    /// Its context.
    pub context: Context,
}

impl Asker {
    /// `task` itself, on `vcpu`.
    #[must_use]
    pub const fn task(task: TaskId, vcpu: VcpuId) -> Self {
        Self { task, vcpu, context: Context::Task }
    }

    /// A handler that interrupts `task` on `vcpu`.
    #[must_use]
    pub const fn interrupt(task: TaskId, vcpu: VcpuId) -> Self {
        Self { task, vcpu, context: Context::Interrupt }
    }

    /// The switch code of `vcpu`, on behalf of `task`.
    #[must_use]
    pub const fn switch(task: TaskId, vcpu: VcpuId) -> Self {
        Self { task, vcpu, context: Context::Switch }
    }
}

/// The number of an event; every event a [`Referee`](super::Referee) is told has the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The number, from 1.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }

    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "moment {}", self.0)
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An operation that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub(super) vcpu: VcpuId,
    pub(super) moment: Moment,
    /// Whether it was asked outside any region, and not as synchronous.
    pub(super) is_outside: bool,
}
