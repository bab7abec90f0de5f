//! A hypervisor that refuses one operation.

use crate::{Errno, Hypervisor, MmuUpdate, Outcome, PreparedCall, PreparedCalls, Subject};

/// A [`Hypervisor`] around another that refuses operation number `at`, counted from 0 over
/// everything that passes. What comes before and after reaches the other hypervisor.
///
/// As Xen does, an array stops at the refused operation and a multicall goes on with its next call.
/// The calls of the multicall in which the fault falls are handed on one by one.
///
/// ```
/// use hypercall::{Errno, FaultAt, Hypervisor, Mfn, MmuUpdate, Null, Outcome, Pte, PteSlot, Subject};
///
/// let updates = [0, 1, 2].map(|index| MmuUpdate::new(PteSlot::of(Mfn::new(7), index), Pte::EMPTY));
/// // What a guest does about every refusal: refuse each operation in turn.
/// for at in 0..3 {
///     let mut xen = FaultAt::new(Null::new(), u64::from(at), Errno::BUSY);
///     assert_eq!(xen.mmu_update(&updates, Subject::SELF), Outcome::refused(at, Errno::BUSY));
///     assert_eq!(xen.mmu_update(&updates, Subject::SELF), Outcome::all(3), "once only");
/// }
/// ```
#[derive(Debug)]
pub struct FaultAt<H> {
    inner: H,
    at: u64,
    errno: Errno,
    seen: u64,
}

impl<H: Hypervisor> FaultAt<H> {
    /// Refuses operation `at` with `errno`.
    pub const fn new(inner: H, at: u64, errno: Errno) -> Self {
        Self { inner, at, errno, seen: 0 }
    }

    /// The hypervisor behind it.
    pub const fn inner(&mut self) -> &mut H {
        &mut self.inner
    }

    /// The number of the refused operation among `count` that are to pass now, if it is one of them.
    fn due(&self, count: u32) -> Option<u32> {
        self.at.checked_sub(self.seen).filter(|offset| *offset < count.into()).map(|offset| offset as u32)
    }

    /// Counts what the hypervisor looked at: nothing behind a refused operation of an array.
    fn looked_at(&mut self, outcome: Outcome) -> Outcome {
        self.seen += u64::from(outcome.done) + u64::from(outcome.result.is_err());
        outcome
    }
}

impl<H: Hypervisor> Hypervisor for FaultAt<H> {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let Some(offset) = self.due(updates.len() as u32) else {
            let outcome = self.inner.mmu_update(updates, subject);
            return self.looked_at(outcome);
        };
        let before = updates.get(..offset as usize).unwrap_or(&[]);
        let outcome = if before.is_empty() { Outcome::all(0) } else { self.inner.mmu_update(before, subject) };
        self.looked_at(outcome.result.map_or(outcome, |()| Outcome::refused(offset, self.errno)))
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let Some(offset) = self.due(call.count()) else {
            let outcome = self.inner.call(call);
            return self.looked_at(outcome);
        };
        let outcome = match call.shortened(offset) {
            Some(mut before) => self.inner.call(&mut before),
            None => Outcome::all(0),
        };
        let refused = outcome.result.map_or(outcome, |()| Outcome::refused(offset, self.errno));
        call.set_done(refused.done);
        self.looked_at(refused)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let count = (0..calls.len()).filter_map(|index| calls.call(index).map(|call| u64::from(call.count()))).sum();
        if self.at.checked_sub(self.seen).is_none_or(|offset| offset >= count) {
            let result = self.inner.multicall(calls);
            let outcomes = (0..calls.len()).filter_map(|index| calls.outcome(index));
            outcomes.for_each(|outcome| _ = self.looked_at(outcome));
            return result;
        }
        for index in 0..calls.len() {
            let Some(mut call) = calls.call(index) else { break };
            let outcome = self.call(&mut call);
            calls.set_result(index, outcome.result.map_or_else(Errno::as_return, |()| 0));
        }
        Ok(())
    }
}
