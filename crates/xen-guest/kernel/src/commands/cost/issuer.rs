//! Operations on their way to Xen, laid out before the clock starts.

use hypercall::{
    Batch, DomId, Errno, Hypervisor as _, MmuUpdate, MmuextOp, Operation, Outcome, Pte, PteSlot, Subject, xen::Xen,
};
use spin::{Mutex, MutexGuard};

use super::meter::ticks;
use crate::error::Error;

/// Room for the largest array of each kind.
type Room = Batch<512, 512, 2048>;

static ISSUER: Mutex<Issuer> = Mutex::new(Issuer {
    batch: Room::new(),
    // SAFETY: 1. This is a kernel without a red zone. 2. What is issued changes pages of the pool and tables
    // made of them, and sets registers to what they are or to what nobody looks at.
    xen: unsafe { Xen::assume() },
});

/// Xen, and the room in which what goes there is laid out.
pub(super) struct Issuer {
    batch: Room,
    xen: Xen,
}

/// An `mmuext_op` of this domain's own.
pub(super) const fn mmuext(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: DomId::SELF }
}

/// An update of a table of this domain's own.
pub(super) const fn update(slot: PteSlot, pte: Pte) -> Operation {
    Operation::Update { update: MmuUpdate::new(slot, pte), subject: Subject::SELF }
}

impl Issuer {
    pub(super) fn lock() -> MutexGuard<'static, Self> {
        ISSUER.lock()
    }

    /// Issues `count` operations as one call, and tells the ticks.
    pub(super) fn array(&mut self, count: usize, operation: impl Fn(usize) -> Operation) -> Result<u64, Error> {
        self.call(count, operation, |outcome| outcome.result)
    }

    /// Issues one operation, and tells the ticks.
    pub(super) fn one(&mut self, operation: &Operation) -> Result<u64, Error> {
        self.array(1, |_| *operation)
    }

    /// Issues an operation that Xen is known to refuse, and tells the ticks.
    pub(super) fn refused(&mut self, operation: &Operation, errno: Errno) -> Result<u64, Error> {
        self.call(1, |_| *operation, |outcome| if outcome.result == Err(errno) { Ok(()) } else { Err(errno) })
    }

    fn call(
        &mut self,
        count: usize,
        operation: impl Fn(usize) -> Operation,
        verdict: impl Fn(Outcome) -> Result<(), Errno>,
    ) -> Result<u64, Error> {
        self.batch.clear();
        (0..count).try_for_each(|number| self.batch.push(&operation(number)))?;
        let only = if self.batch.len() == 1 { self.batch.prepare_call(0, 0) } else { None };
        let Some(mut call) = only else { return Err(Error::NotOneCall(count)) };
        ticks(|| verdict(self.xen.call(&mut call)))
    }
}
