//! What a task keeps of its regions: a depth and a pause count.
//!
//! Laziness is this state and nothing else; which vCPU the task runs on does not matter to it, and
//! no vCPU keeps a trace of it. So a context switch has nothing to save or restore (R7, R8), and
//! nothing here has to change together with a queue (R9).

use core::fmt;

use crate::{Failures, failure::Failure};

/// Which nesting rule a task lives by (R4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A region never nests (Linux's rule of March 2025).
    #[default]
    Strict,
    /// Enter and leave count; every leave flushes, the outermost ends laziness (Linux 7.0).
    Nested,
}

/// Why a region was not entered. Nothing has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnterError {
    /// The task is in a region and its profile is [`Profile::Strict`].
    Nested,
    /// The task is 255 regions deep, or as many were opened in its pause.
    TooDeep,
    /// The caller is in interrupt context (R6).
    Interrupt,
}

/// Why a region was not left, or not left clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveError {
    /// The task is in no region. Nothing has changed.
    NotEntered,
    /// The caller is in interrupt context (R6). Nothing has changed.
    Interrupt,
    /// The region is left; these of its operations are not effective.
    Failed(Failures),
}

/// Why laziness was not paused, or not paused clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PauseError {
    /// 255 pauses are open. Nothing has changed.
    TooDeep,
    /// The caller is in interrupt context (R6). Nothing has changed.
    Interrupt,
    /// It is paused; these operations asked for before are not effective.
    Failed(Failures),
}

/// Why laziness was not resumed, or not resumed clean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResumeError {
    /// No pause is open. Nothing has changed.
    NotPaused,
    /// The caller is in interrupt context (R6). Nothing has changed.
    Interrupt,
    /// It is resumed. So many regions opened in the pause had not been left; they are closed (R5).
    OpenRegions(u8),
}

macro_rules! messages {
    ($($error:ident { $($variant:pat => $text:expr,)* })*) => {
        $(impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $($variant => f.write_fmt($text),)*
                }
            }
        }

        impl core::error::Error for $error {})*
    };
}

messages! {
    EnterError {
        Self::Nested => format_args!("the task is in a region already; leave it first or use the `Nested` profile"),
        Self::TooDeep => format_args!("the task is 255 regions deep"),
        Self::Interrupt => format_args!("a region cannot be entered in interrupt context"),
    }
    LeaveError {
        Self::NotEntered => format_args!("the task is in no region"),
        Self::Interrupt => format_args!("a region cannot be left in interrupt context"),
        Self::Failed(failures) => format_args!("{failures}"),
    }
    PauseError {
        Self::TooDeep => format_args!("255 pauses are open"),
        Self::Interrupt => format_args!("laziness cannot be paused in interrupt context"),
        Self::Failed(failures) => format_args!("{failures}"),
    }
    ResumeError {
        Self::NotPaused => format_args!("no pause is open"),
        Self::Interrupt => format_args!("laziness cannot be resumed in interrupt context"),
        Self::OpenRegions(regions) => format_args!("{regions} regions opened in the pause outlived it"),
    }
}

/// What a guard has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Opened {
    /// A region.
    Region,
    /// A region within a pause: it has no effect.
    InPause,
    /// Nothing: the task is 255 regions deep. Operations go on as they would without the guard.
    Nothing,
}

/// One task's regions. A kernel keeps one in each task; whoever holds it is that task.
///
/// It hashes as all it is, so that an explorer of interleavings can tell two states of a guest apart.
///
/// ```
/// use pv_mmu::{Profile, TaskState};
///
/// // Two numbers in each task; no vCPU knows of them, so there is nothing to switch.
/// let task = TaskState::with_profile(Profile::Nested);
/// assert_eq!((task.depth(), task.is_lazy(), task.is_paused()), (0, false, false));
/// ```
#[derive(Debug, Default, Hash)]
pub struct TaskState {
    profile: Profile,
    depth: u8,
    pauses: u8,
    /// Regions opened and not yet left within the present pause, nested pauses included.
    in_pause: u8,
    /// What the guard that is alive, or was leaked, has opened.
    guard: Option<Opened>,
    pub(crate) failures: Failures,
}

impl TaskState {
    /// A task outside any region, with the [`Profile::Strict`] rule.
    #[must_use]
    pub const fn new() -> Self {
        Self::with_profile(Profile::Strict)
    }

    /// A task outside any region.
    #[must_use]
    pub const fn with_profile(profile: Profile) -> Self {
        Self { profile, depth: 0, pauses: 0, in_pause: 0, guard: None, failures: Failures::new() }
    }

    /// Regions entered and not left; those opened in a pause are not counted.
    #[must_use]
    pub const fn depth(&self) -> u8 {
        self.depth
    }

    /// Whether laziness is paused.
    #[must_use]
    pub const fn is_paused(&self) -> bool {
        self.pauses > 0
    }

    /// Whether operations of this task are deferred.
    #[inline]
    #[must_use]
    pub const fn is_lazy(&self) -> bool {
        self.depth > 0 && self.pauses == 0
    }

    pub(crate) fn enter(&mut self) -> Result<(), EnterError> {
        if self.is_paused() {
            self.in_pause = self.in_pause.checked_add(1).ok_or(EnterError::TooDeep)?;
            return Ok(());
        }
        if self.depth > 0 && self.profile == Profile::Strict {
            return Err(EnterError::Nested);
        }
        self.enter_nested()
    }

    /// One level deeper, whatever the profile.
    pub(crate) fn enter_nested(&mut self) -> Result<(), EnterError> {
        self.depth = self.depth.checked_add(1).ok_or(EnterError::TooDeep)?;
        Ok(())
    }

    /// Opens a region for a guard. It is never refused: inside a region of the dynamic interface it is
    /// one more level, whatever the profile.
    #[inline]
    pub(crate) fn begin_guard(&mut self) {
        match self.depth.checked_add(1) {
            Some(deeper) if self.pauses == 0 => {
                self.depth = deeper;
                self.guard = Some(Opened::Region);
            }
            _ => self.begin_without_effect(),
        }
    }

    /// In a pause, or at the limit.
    #[cold]
    fn begin_without_effect(&mut self) {
        let deeper = if self.is_paused() { self.in_pause.checked_add(1) } else { None };
        self.guard = Some(match deeper {
            Some(deeper) => {
                self.in_pause = deeper;
                Opened::InPause
            }
            None => Opened::Nothing,
        });
    }

    /// Closes what the guard has opened; `false` where there is no guard any more.
    #[inline]
    pub(crate) const fn end_guard(&mut self) -> bool {
        match self.guard.take() {
            Some(Opened::Region) => self.depth = self.depth.saturating_sub(1),
            Some(Opened::InPause) => self.in_pause = self.in_pause.saturating_sub(1),
            Some(Opened::Nothing) => {}
            None => return false,
        }
        true
    }

    /// Whether a guard is alive or was leaked.
    #[inline]
    pub(crate) const fn has_guard(&self) -> bool {
        self.guard.is_some()
    }

    /// Whether a leave is due, and whether it is the outermost; `None` for one within a pause,
    /// which is done with this.
    pub(crate) fn begin_leave(&mut self) -> Result<Option<bool>, LeaveError> {
        if self.is_paused() {
            self.in_pause = self.in_pause.checked_sub(1).ok_or(LeaveError::NotEntered)?;
            return Ok(None);
        }
        if self.depth == 0 { Err(LeaveError::NotEntered) } else { Ok(Some(self.depth == 1)) }
    }

    pub(crate) const fn end_leave(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    pub(crate) fn pause(&mut self) -> Result<(), PauseError> {
        self.pauses = self.pauses.checked_add(1).ok_or(PauseError::TooDeep)?;
        Ok(())
    }

    pub(crate) fn resume(&mut self) -> Result<(), ResumeError> {
        self.pauses = self.pauses.checked_sub(1).ok_or(ResumeError::NotPaused)?;
        if self.pauses > 0 {
            return Ok(());
        }
        match core::mem::take(&mut self.in_pause) {
            0 => Ok(()),
            regions => Err(ResumeError::OpenRegions(regions)),
        }
    }

    /// Ends whatever is open and answers with the depth it had; 0 where nothing was.
    pub(crate) const fn abandon(&mut self) -> u8 {
        let depth = if self.depth == 0 { self.in_pause } else { self.depth };
        (self.depth, self.pauses, self.in_pause) = (0, 0, 0);
        self.guard = None;
        depth
    }

    /// Keeps a failure for the leave; gives it back when there is no room.
    pub(crate) fn keep(&mut self, failure: Failure) -> Result<(), Failure> {
        self.failures.add(failure)
    }
}
