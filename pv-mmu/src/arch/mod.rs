//! The contract on architectures that defer invalidations or barriers instead of the writes themselves.
//!
//! An entry is written by a plain store, at once; what waits is what has to follow it before nobody sees the old
//! entry any more. [`Deferral`] is all that an architecture says: what waits, how it is grouped, and what a region
//! does to preemption. [`Lazy`], written once, keeps R1 to R8 for each of them.
//!
//! **Where the deferral lives** decides what a switch owes. A region that disables preemption may keep it with the
//! vCPU: nobody else runs there before the leave, so a switch finds nothing (R7, R8). One that may be preempted keeps it
//! with the task: it travels along. Either way an interrupt handler never looks at it, and its own work is done at once
//! (R6): invalidations and barriers may be repeated and commute, so nothing that waits is overtaken by it (R10).
//!
//! Xen is not one of these: there the writes themselves wait, and [`Mmu`](crate::Mmu) is its way in.

pub mod arm64;
pub mod powerpc64;
mod region;
pub mod sparc64;

pub use region::{Lazy, Refused, Region, SleepError, Unfinished};

/// What a region does to preemption (R7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preemption {
    /// Nothing: a lazy task may be preempted, and may sleep. What waits is the task's.
    Allowed,
    /// It is off while the task is lazy, and so is sleeping. What waits is the vCPU's.
    Disabled,
}

/// What waits on an architecture, and how it is carried out on its hardware `H`.
///
/// What could not be carried out is told to `refused`, once each; the rest is attempted (R14).
pub trait Deferral<H: ?Sized> {
    /// What has to follow one write.
    type Work: Copy;
    /// Why it was not done.
    type Refusal;
    /// What a region does to preemption.
    const PREEMPTION: Preemption;

    /// Keeps `work` for later. What it cannot be grouped with is carried out first.
    fn defer(&mut self, work: Self::Work, hardware: &H, refused: &mut dyn FnMut(Self::Refusal));

    /// Carries out what waits, and forgets it.
    fn flush(&mut self, hardware: &H, refused: &mut dyn FnMut(Self::Refusal));

    /// Carries out `work` alone, now.
    fn at_once(work: Self::Work, hardware: &H, refused: &mut dyn FnMut(Self::Refusal));

    /// Whether nothing waits.
    fn is_empty(&self) -> bool;
}

/// A kernel on such an architecture.
///
/// ```
/// use std::cell::{Cell, RefCell};
/// use std::convert::Infallible;
///
/// use hypercall::TaskContext;
/// use pv_mmu::{TaskState, arch::{Machine, Region, arm64::{Barriers, Pending}}};
///
/// /// An arm64 of one task, which counts its barriers.
/// #[derive(Default)]
/// struct Arm { pending: RefCell<Pending>, barriers: Cell<u32> }
///
/// impl Barriers for Arm {
///     fn dsb_ishst(&self) {
///         self.barriers.set(self.barriers.get() + 1);
///     }
///
///     fn isb(&self) {
///         self.barriers.set(self.barriers.get() + 1);
///     }
/// }
///
/// impl Machine for Arm {
///     type Deferral = Pending;
///     type Hardware = Self;
///
///     fn hardware(&self) -> &Self {
///         self
///     }
///
///     fn with_deferral<T>(&self, step: impl FnOnce(&mut Pending) -> T) -> T {
///         step(&mut self.pending.borrow_mut())
///     }
///
///     fn preempt_disable(&self) {}
///
///     fn preempt_enable(&self) {}
///
///     fn refused(&self, never: Infallible) {
///         match never {}
///     }
/// }
///
/// let (arm, mut task, context) = (Arm::default(), TaskState::new(), TaskContext::in_user_space());
/// let mut region = Region::enter(&arm, &mut task, &context).unwrap();
/// for _ in 0..512 {
///     region.after_write(()).unwrap(); // the entry has been made valid by a store
/// }
/// assert_eq!(arm.barriers.get(), 0);
/// region.leave().unwrap();
/// assert_eq!(arm.barriers.get(), 2, "one `dsb` and one `isb`, for all of them");
/// ```
pub trait Machine {
    /// What waits; see [`Preemption`] for whose it is.
    type Deferral: Deferral<Self::Hardware>;
    /// The hardware, or the hypervisor under the kernel. It is called with interrupts as they are: handlers may
    /// call it in between.
    type Hardware: ?Sized;

    /// The hardware under the present vCPU.
    fn hardware(&self) -> &Self::Hardware;

    /// Gives what waits on this vCPU, or for this task, to `step`. Not called by handlers, nor within itself.
    fn with_deferral<T>(&self, step: impl FnOnce(&mut Self::Deferral) -> T) -> T;

    /// The task stays on its vCPU until [`Machine::preempt_enable`]; nests.
    fn preempt_disable(&self);

    /// Undoes one [`Machine::preempt_disable`].
    fn preempt_enable(&self);

    /// Is told of each piece of work that was not done (R14).
    fn refused(&self, refusal: <Self::Deferral as Deferral<Self::Hardware>>::Refusal);
}
