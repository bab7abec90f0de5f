//! Regions, whatever is deferred in them. The task's depth and pauses are [`TaskState`]'s, as on Xen.

use core::fmt;

use hypercall::TaskContext;

use super::{Deferral, Machine, Preemption};
use crate::{Context, EnterError, LeaveError, PauseError, ResumeError, TaskState};

type WorkOf<M> = <<M as Machine>::Deferral as Deferral<<M as Machine>::Hardware>>::Work;

/// Work that was not done; each piece has been named to [`Machine::refused`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How many pieces.
    pub count: u32,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} invalidations or barriers were refused; the machine was told of each", self.count)
    }
}

impl core::error::Error for Refused {}

/// Why a call did not end as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfinished<E> {
    /// The call does not belong here; nothing has changed.
    Misuse(E),
    /// It is done, but for this.
    Refused(Refused),
}

impl<E> From<E> for Unfinished<E> {
    fn from(error: E) -> Self {
        Self::Misuse(error)
    }
}

impl<E: fmt::Display> fmt::Display for Unfinished<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Misuse(error) => error.fmt(f),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}

impl<E: core::error::Error> core::error::Error for Unfinished<E> {}

/// A task may not sleep: it is in a region that keeps preemption off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SleepError {
    /// How deep it is in regions.
    pub depth: u8,
}

impl fmt::Display for SleepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the task is {} regions deep, which keep preemption off; leave or pause before it sleeps", self.depth)
    }
}

impl core::error::Error for SleepError {}

/// A task's regions with run-time checks, as [`Dynamic`](crate::Dynamic) is on Xen: a refused call changes nothing.
#[derive(Debug)]
pub struct Lazy<'r, M> {
    machine: &'r M,
    task: &'r mut TaskState,
    context: Context<'r>,
}

impl<'r, M: Machine> Lazy<'r, M> {
    /// The regions of `task`, called for from `context`.
    pub const fn new(machine: &'r M, task: &'r mut TaskState, context: Context<'r>) -> Self {
        Self { machine, task, context }
    }

    /// Enters a region (R4).
    ///
    /// # Errors
    /// [`EnterError`]; nothing has changed.
    pub fn enter(&mut self) -> Result<(), EnterError> {
        if self.is_interrupt() {
            return Err(EnterError::Interrupt);
        }
        self.change(TaskState::enter)
    }

    /// Leaves a region: carries out what waits at any depth, and ends laziness at the outermost (R2, R4).
    ///
    /// # Errors
    /// [`LeaveError`], where nothing has changed; or what was refused.
    pub fn leave(&mut self) -> Result<(), Unfinished<LeaveError>> {
        if self.is_interrupt() {
            return Err(LeaveError::Interrupt.into());
        }
        if self.task.begin_leave()?.is_none() {
            return Ok(());
        }
        let flushed = self.flush();
        self.change(TaskState::end_leave);
        flushed.map_err(Unfinished::Refused)
    }

    /// Makes work immediate at any depth, after what waits; preemption is as it was outside (R5).
    ///
    /// # Errors
    /// [`PauseError`], where nothing has changed; or what was refused.
    pub fn pause(&mut self) -> Result<(), Unfinished<PauseError>> {
        if self.is_interrupt() {
            return Err(PauseError::Interrupt.into());
        }
        let flushed = self.flush();
        self.change(TaskState::pause)?;
        flushed.map_err(Unfinished::Refused)
    }

    /// Ends a pause; the depth is what it was (R5).
    ///
    /// # Errors
    /// [`ResumeError`]; after [`ResumeError::OpenRegions`] the pause is ended.
    pub fn resume(&mut self) -> Result<(), ResumeError> {
        if self.is_interrupt() {
            return Err(ResumeError::Interrupt);
        }
        self.change(TaskState::resume)
    }

    /// Has `work` follow a write that is done: later where the task is lazy, else before this returns (R1, R6).
    ///
    /// # Errors
    /// What was refused, of this or of what waited before it.
    #[inline]
    pub fn after_write(&mut self, work: WorkOf<M>) -> Result<(), Refused> {
        let hardware = self.machine.hardware();
        if self.is_lazy() {
            self.counting(|machine, refused| machine.with_deferral(|waiting| waiting.defer(work, hardware, refused)))
        } else {
            self.counting(|_, refused| M::Deferral::at_once(work, hardware, refused))
        }
    }

    /// Carries out what waits; laziness goes on. In a handler nothing of its own waits.
    ///
    /// # Errors
    /// What was refused.
    pub fn flush(&mut self) -> Result<(), Refused> {
        if !self.is_lazy() {
            return Ok(());
        }
        let hardware = self.machine.hardware();
        self.counting(|machine, refused| machine.with_deferral(|waiting| waiting.flush(hardware, refused)))
    }

    /// Whether the task may sleep now (the question of Linux's `might_sleep`).
    ///
    /// # Errors
    /// [`SleepError`] where a region keeps preemption off.
    pub const fn may_sleep(&self) -> Result<(), SleepError> {
        match M::Deferral::PREEMPTION {
            Preemption::Disabled if self.task.is_lazy() => Err(SleepError { depth: self.task.depth() }),
            Preemption::Disabled | Preemption::Allowed => Ok(()),
        }
    }

    /// Whether work asked for now may wait.
    #[must_use]
    pub const fn is_lazy(&self) -> bool {
        self.task.is_lazy() && !self.is_interrupt()
    }

    const fn is_interrupt(&self) -> bool {
        matches!(self.context, Context::Interrupt(_))
    }

    /// Changes the task's state with preemption off as long as it is lazy, and at the change itself: a task is
    /// never lazy and preemptible where regions disable that (R9).
    fn change<T>(&mut self, change: impl FnOnce(&mut TaskState) -> T) -> T {
        if M::Deferral::PREEMPTION == Preemption::Allowed {
            return change(self.task);
        }
        self.machine.preempt_disable();
        let was_lazy = self.task.is_lazy();
        let answer = change(self.task);
        match (was_lazy, self.task.is_lazy()) {
            (false, true) => {}
            (true, false) => {
                self.machine.preempt_enable();
                self.machine.preempt_enable();
            }
            (true, true) | (false, false) => self.machine.preempt_enable(),
        }
        answer
    }

    fn counting(
        &self,
        act: impl FnOnce(&M, &mut dyn FnMut(<M::Deferral as Deferral<M::Hardware>>::Refusal)),
    ) -> Result<(), Refused> {
        let mut count = 0u32;
        act(self.machine, &mut |refusal| {
            count = count.saturating_add(1);
            self.machine.refused(refusal);
        });
        if count == 0 { Ok(()) } else { Err(Refused { count }) }
    }
}

/// A region as a guard: it borrows its task, so a second one does not compile, and it is left when dropped. One that is leaked is never
/// left, and preemption stays off where regions disable it.
///
/// ```compile_fail,E0499
/// # use hypercall::TaskContext; use pv_mmu::{TaskState, arch::{Machine, Region}};
/// fn nested<M: Machine>(machine: &M, task: &mut TaskState, context: &TaskContext) {
///     let outer = Region::enter(machine, task, context);
///     let inner = Region::enter(machine, task, context);
///     drop((outer, inner));
/// }
/// ```
#[must_use = "a region ends when it is dropped; leave it to learn of what was refused"]
#[derive(Debug)]
pub struct Region<'r, M: Machine> {
    lazy: Lazy<'r, M>,
    is_open: bool,
}

impl<'r, M: Machine> Region<'r, M> {
    /// Enters a region.
    ///
    /// # Errors
    /// [`EnterError`]; nothing has changed.
    pub fn enter(machine: &'r M, task: &'r mut TaskState, context: &'r TaskContext) -> Result<Self, EnterError> {
        let mut lazy = Lazy::new(machine, task, Context::Task(context));
        lazy.enter()?;
        Ok(Self { lazy, is_open: true })
    }

    /// Has `work` follow a write that is done, at the leave at the latest (R1).
    ///
    /// # Errors
    /// What was refused of what waited.
    #[inline]
    pub fn after_write(&mut self, work: WorkOf<M>) -> Result<(), Refused> {
        self.lazy.after_write(work)
    }

    /// Carries out what waits; the region goes on.
    ///
    /// # Errors
    /// What was refused.
    pub fn flush(&mut self) -> Result<(), Refused> {
        self.lazy.flush()
    }

    /// Ends the region: what waited is done (R2).
    ///
    /// # Errors
    /// What was refused.
    pub fn leave(mut self) -> Result<(), Refused> {
        self.end()
    }

    fn end(&mut self) -> Result<(), Refused> {
        self.is_open = false;
        match self.lazy.leave() {
            Err(Unfinished::Refused(refused)) => Err(refused),
            Ok(()) | Err(Unfinished::Misuse(_)) => Ok(()),
        }
    }
}

impl<M: Machine> Drop for Region<'_, M> {
    /// Leaves, unless [`Region::leave`] has; the machine has been told of what was refused.
    fn drop(&mut self) {
        if self.is_open {
            _ = self.end();
        }
    }
}
