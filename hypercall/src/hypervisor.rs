//! The trait through which a hypervisor is called.

use crate::{Batch, Errno, MmuUpdate, Operation, PreparedCall, PreparedCalls, Subject};

/// What became of a call.
///
/// ```
/// use hypercall::{Errno, Outcome};
///
/// // The third of an array was refused; two are done, and nobody has looked at the fourth.
/// let outcome = Outcome::refused(2, Errno::INVAL);
/// assert_eq!((outcome.done, outcome.result), (2, Err(Errno::INVAL)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Operations done, from the call's first on. What follows a refused one is not looked at.
    pub done: u32,
    /// The refusal of operation `done`, if there is one.
    pub result: Result<(), Errno>,
}

impl Outcome {
    /// All `count` operations done.
    #[must_use]
    pub const fn all(count: u32) -> Self {
        Self { done: count, result: Ok(()) }
    }

    /// Operation `done` refused.
    #[must_use]
    pub const fn refused(done: u32, errno: Errno) -> Self {
        Self { done, result: Err(errno) }
    }
}

/// A hypervisor as one vCPU sees it: the real one, a mock, or an adapter around either.
///
/// Every method is one hypercall, which completes before it returns: a hypervisor that deschedules
/// the vCPU in the middle continues by itself and applies nothing twice (R9, R13). The caller keeps
/// upcalls masked, or is prepared for one, while a call is under way.
///
/// ```
/// use hypercall::{Errno, Hypervisor, MmuUpdate, Outcome, PreparedCall, PreparedCalls, Subject};
///
/// /// Counts hypercalls on their way to another hypervisor.
/// struct Counted<H>(H, u64);
///
/// impl<H: Hypervisor> Hypervisor for Counted<H> {
///     fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
///         self.1 += 1;
///         self.0.mmu_update(updates, subject)
///     }
///
///     fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
///         self.1 += 1;
///         self.0.call(call)
///     }
///
///     fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
///         self.1 += 1;
///         self.0.multicall(calls)
///     }
/// }
///
/// let mut xen = Counted(hypercall::Null::new(), 0);
/// assert_eq!(xen.mmu_update(&[], Subject::SELF), Outcome::all(0));
/// assert_eq!(xen.1, 1);
/// ```
pub trait Hypervisor {
    /// `mmu_update`: applies `updates` in order up to the first that is refused.
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome;

    /// Any one call, directly.
    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome;

    /// `multicall`: runs every call in order, a refused one does not stop the others, and leaves
    /// each call's return value in its entry.
    ///
    /// # Errors
    /// The refusal of the multicall itself. Entries it did not get to have no outcome.
    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno>;
}

impl<H: Hypervisor + ?Sized> Hypervisor for &mut H {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        (**self).mmu_update(updates, subject)
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        (**self).call(call)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        (**self).multicall(calls)
    }
}

/// Issues one operation as one direct call.
///
/// # Errors
/// The hypervisor's refusal.
pub fn issue_operation<H: Hypervisor + ?Sized>(hypervisor: &mut H, operation: &Operation) -> Result<(), Errno> {
    if let Operation::Update { update, subject } = operation {
        return hypervisor.mmu_update(core::slice::from_ref(update), *subject).result;
    }
    let mut batch = Batch::<0, 1, { Operation::MAX_WORDS }>::new();
    batch.push(operation).map_err(|_| Errno::TOO_BIG)?;
    match batch.prepare_call(0, 0) {
        Some(mut call) => hypervisor.call(&mut call).result,
        None => Err(Errno::INVAL),
    }
}
