//! A queue as those see it who only look: debuggers, pictures, explorers.
//!
//! An explorer of interleavings merges equal states, so what is left out must decide nothing: the
//! counts; where a hashed index keeps what the batch itself says; places behind the end of what is in
//! use.

use core::hash::{Hash, Hasher};

use hypercall::Operation;

use super::VcpuQueue;
use crate::stats::Stats;

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> Hash for VcpuQueue<UPDATES, CALLS, WORDS> {
    /// Feeds all that decides what the queue does from now on: two that feed the same do the same. The
    /// [counts](crate::Stats) are not among it.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.batch.len().hash(hasher);
        for call in 0..self.batch.len() {
            self.digest_call(call, hasher);
        }
        (self.run_start, self.writes_unnamed, self.collecting, self.multicall_refused, self.counting).hash(hasher);
        self.callbacks.digest(hasher);
    }
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> VcpuQueue<UPDATES, CALLS, WORDS> {
    /// Operations waiting to be handed over.
    #[must_use]
    pub fn pending(&self) -> u64 {
        if self.collecting.is_some() { 0 } else { self.operations() }
    }

    /// The operations waiting to be handed over, in order: for debuggers and pictures.
    pub fn waiting(&self) -> impl Iterator<Item = Operation> {
        let calls = if self.collecting.is_some() { 0 } else { self.batch.len() };
        let of_call = move |call| {
            let len = self.batch.entry(call).map_or(0, |entry| entry.len);
            (0..len).filter_map(move |item| self.batch.operation(call, item))
        };
        (0..calls).flat_map(of_call)
    }

    /// The counts (R17), for whoever holds the queue; the guest's own code asks [`Mmu::stats`](crate::Mmu::stats).
    #[must_use]
    pub fn counts(&self) -> Stats {
        let pending = if self.counting { self.pending() } else { 0 };
        Stats { pending, queued: self.stats.queued + self.uncounted(), ..self.stats }
    }

    fn digest_call<H: Hasher>(&self, call: usize, hasher: &mut H) {
        let Some(entry) = self.batch.entry(call) else { return };
        (entry.start, entry.len, self.upper.get(call)).hash(hasher);
        for item in 0..entry.len {
            self.batch.operation(call, item).hash(hasher);
            if self.collecting.is_some() {
                self.statuses.get(entry, call, item).hash(hasher);
            }
        }
    }
}
