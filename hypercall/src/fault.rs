//! A hypervisor that refuses one operation.

use crate::{Errno, Hypervisor, MmuUpdate, Outcome, PreparedCall, PreparedCalls, Subject};

/// A [`Hypervisor`] around another that refuses operation number `at`, counted from 0 over
/// everything that passes. What comes before and after reaches the other hypervisor.
///
/// As Xen does, an array stops at the refused operation and a multicall goes on with its next call.
/// The calls of the multicall in which the fault falls are handed on one by one.
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

    /// The number of the refused operation among `count` that pass now, if it is one of them.
    /// Those that follow it in an array do not pass: the hypervisor never looks at them.
    fn pass(&mut self, count: u32) -> Option<u32> {
        let offset = self.at.checked_sub(self.seen).filter(|offset| *offset < count.into());
        self.seen += offset.map_or(count.into(), |offset| offset + 1);
        offset.map(|offset| offset as u32)
    }
}

impl<H: Hypervisor> Hypervisor for FaultAt<H> {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let Some(offset) = self.pass(updates.len() as u32) else { return self.inner.mmu_update(updates, subject) };
        let before = updates.get(..offset as usize).unwrap_or(&[]);
        let outcome = if before.is_empty() { Outcome::all(0) } else { self.inner.mmu_update(before, subject) };
        outcome.result.map_or(outcome, |()| Outcome::refused(offset, self.errno))
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let Some(offset) = self.pass(call.count()) else { return self.inner.call(call) };
        let outcome = match call.shortened(offset) {
            Some(mut before) => self.inner.call(&mut before),
            None => Outcome::all(0),
        };
        let refused = outcome.result.map_or(outcome, |()| Outcome::refused(offset, self.errno));
        call.set_done(refused.done);
        refused
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let count = (0..calls.len()).filter_map(|index| calls.call(index).map(|call| u64::from(call.count()))).sum();
        if self.at.checked_sub(self.seen).is_none_or(|offset| offset >= count) {
            self.seen += count;
            return self.inner.multicall(calls);
        }
        for index in 0..calls.len() {
            let Some(mut call) = calls.call(index) else { break };
            let outcome = self.call(&mut call);
            calls.set_result(index, outcome.result.map_or_else(Errno::as_return, |()| 0));
        }
        Ok(())
    }
}
