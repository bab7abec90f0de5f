//! A hypervisor that writes down what passes and hands it on.

use crate::{Errno, Hypervisor, MmuUpdate, Operation, Outcome, PreparedCall, PreparedCalls, Subject};

/// What a [`Recorder`] tells its listener, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A hypercall begins that carries `operations` operations in `calls` calls: 1 unless it is a
    /// multicall.
    Hypercall {
        /// Calls in it.
        calls: usize,
        /// Operations in all of them.
        operations: u32,
    },
    /// One of its operations, as read back from the words.
    Operation {
        /// The operation.
        operation: Operation,
        /// Whether it was done, refused, or never got to (behind a refused one).
        result: Option<Result<(), Errno>>,
    },
    /// The multicall itself was refused.
    Refused(Errno),
}

/// A [`Hypervisor`] around another that tells a listener each hypercall and, once it has returned,
/// each operation and what became of it. It changes nothing on the way (R18).
///
/// ```
/// use hypercall::{Hypervisor, Mfn, MmuUpdate, Null, Operation, Pte, PteSlot, Record, Recorder, Subject};
///
/// let mut records = Vec::new();
/// let update = MmuUpdate::new(PteSlot::of(Mfn::new(7), 0), Pte::EMPTY);
/// Recorder::new(Null::new(), |record| records.push(record)).mmu_update(&[update], Subject::SELF);
///
/// let operation = Operation::Update { update, subject: Subject::SELF };
/// assert_eq!(records, [
///     Record::Hypercall { calls: 1, operations: 1 },
///     Record::Operation { operation, result: Some(Ok(())) },
/// ]);
/// ```
#[derive(Debug)]
pub struct Recorder<H, F> {
    inner: H,
    listener: F,
}

impl<H: Hypervisor, F: FnMut(Record)> Recorder<H, F> {
    /// Records what passes to `inner`.
    pub const fn new(inner: H, listener: F) -> Self {
        Self { inner, listener }
    }

    /// The hypervisor behind it.
    pub const fn inner(&mut self) -> &mut H {
        &mut self.inner
    }

    /// Gives back the hypervisor and the listener.
    pub fn into_parts(self) -> (H, F) {
        (self.inner, self.listener)
    }

    fn tell(&mut self, call: &PreparedCall<'_>, outcome: Option<Outcome>) {
        for item in 0..call.count() {
            if let Ok(operation) = call.operation(item) {
                (self.listener)(Record::Operation { operation, result: item_result(outcome, item) });
            }
        }
    }
}

fn item_result(outcome: Option<Outcome>, item: u32) -> Option<Result<(), Errno>> {
    let Outcome { done, result } = outcome?;
    match item.cmp(&done) {
        core::cmp::Ordering::Less => Some(Ok(())),
        core::cmp::Ordering::Equal => result.err().map(Err),
        core::cmp::Ordering::Greater => None,
    }
}

impl<H: Hypervisor, F: FnMut(Record)> Hypervisor for Recorder<H, F> {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        (self.listener)(Record::Hypercall { calls: 1, operations: updates.len() as u32 });
        let outcome = self.inner.mmu_update(updates, subject);
        for (item, update) in (0..).zip(updates) {
            let operation = Operation::Update { update: *update, subject };
            (self.listener)(Record::Operation { operation, result: item_result(Some(outcome), item) });
        }
        outcome
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        (self.listener)(Record::Hypercall { calls: 1, operations: call.count() });
        let outcome = self.inner.call(call);
        self.tell(call, Some(outcome));
        outcome
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let operations = (0..calls.len()).filter_map(|index| calls.call(index).map(|call| call.count())).sum();
        (self.listener)(Record::Hypercall { calls: calls.len(), operations });
        let result = self.inner.multicall(calls);
        for index in 0..calls.len() {
            let outcome = calls.outcome(index);
            if let Some(call) = calls.call(index) {
                self.tell(&call, outcome);
            }
        }
        if let Err(errno) = result {
            (self.listener)(Record::Refused(errno));
        }
        result
    }
}
