//! A hypervisor that does nothing.

use core::hint::black_box;

use crate::{Errno, Hypervisor, MmuUpdate, Outcome, PreparedCall, PreparedCalls, Subject};

/// A [`Hypervisor`] that accepts everything at once, does nothing and counts how often: what is measured on it is
/// what asking takes. To the compiler it may do anything with what it is given, as a real one may: nothing of a call is left out
/// or folded into another.
///
/// ```
/// use hypercall::{Hypervisor, Mfn, MmuUpdate, Null, Pte, PteSlot, Subject};
///
/// let mut xen = Null::new();
/// let updates = [0, 1, 2].map(|index| MmuUpdate::new(PteSlot::of(Mfn::new(7), index), Pte::EMPTY));
/// assert_eq!(xen.mmu_update(&updates, Subject::SELF).done, 3);
/// assert_eq!((xen.hypercalls(), xen.operations()), (1, 3));
/// ```
#[derive(Debug, Default)]
pub struct Null {
    hypercalls: u64,
    operations: u64,
}

impl Null {
    /// One that has received nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { hypercalls: 0, operations: 0 }
    }

    /// Hypercalls received.
    #[must_use]
    pub const fn hypercalls(&self) -> u64 {
        self.hypercalls
    }

    /// Operations received in them.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    #[inline]
    const fn take(&mut self, operations: u32) {
        self.hypercalls += 1;
        self.operations += operations as u64;
    }
}

impl Hypervisor for Null {
    #[inline]
    fn mmu_update(&mut self, updates: &[MmuUpdate], _subject: Subject) -> Outcome {
        let count = black_box(updates).len() as u32;
        self.take(count);
        Outcome::all(count)
    }

    #[inline]
    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        black_box(call.raw());
        let count = call.count();
        self.take(count);
        call.set_done(count);
        call.outcome(0)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let before = self.hypercalls;
        for index in 0..calls.len() {
            if let Some(mut call) = calls.call(index) {
                self.call(&mut call);
            }
            calls.set_result(index, 0);
        }
        self.hypercalls = before + 1;
        Ok(())
    }
}
