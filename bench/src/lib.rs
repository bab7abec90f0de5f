//! What the benchmarks run on: a hypervisor that accepts everything at once, and one vCPU, so that
//! what is measured is the batcher.
//!
//! One thread only: a [`NullKernel`] belongs to the benchmark that made it.

#![forbid(unsafe_code)]

use std::cell::RefCell;

use hypercall::{
    Errno, Hypervisor, Mfn, MmuUpdate, Outcome, PreparedCall, PreparedCalls, Pte, PteSlot, Subject, TaskContext,
    VcpuMask,
};
use pv_mmu::{Mmu, Platform, Report, VcpuQueue};

/// A hypervisor that does nothing and counts how often.
#[derive(Debug, Default)]
pub struct Null {
    /// Hypercalls received.
    pub hypercalls: u64,
    /// Operations in them.
    pub operations: u64,
}

impl Null {
    fn take(&mut self, operations: u32) {
        self.hypercalls += 1;
        self.operations += u64::from(operations);
    }
}

impl Hypervisor for Null {
    fn mmu_update(&mut self, updates: &[MmuUpdate], _subject: Subject) -> Outcome {
        self.take(updates.len() as u32);
        Outcome::all(updates.len() as u32)
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        self.take(call.count());
        let count = call.count();
        call.set_done(count);
        call.outcome(0)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        for index in 0..calls.len() {
            self.hypercalls -= u64::from(index > 0);
            if let Some(mut call) = calls.call(index) {
                self.call(&mut call);
            }
            calls.set_result(index, 0);
        }
        Ok(())
    }
}

/// One vCPU on [`Null`].
#[derive(Debug)]
pub struct NullKernel {
    vcpu: RefCell<(VcpuQueue, Null)>,
    context: TaskContext,
}

impl Default for NullKernel {
    fn default() -> Self {
        Self { vcpu: RefCell::default(), context: TaskContext::in_user_space() }
    }
}

impl NullKernel {
    /// The library on this kernel.
    pub fn mmu(&self) -> Mmu<'_, Self> {
        Mmu::new(self)
    }

    /// The token of the one task.
    pub fn context(&self) -> &TaskContext {
        &self.context
    }

    /// Hypercalls and operations received so far.
    pub fn received(&self) -> (u64, u64) {
        let vcpu = self.vcpu.borrow();
        (vcpu.1.hypercalls, vcpu.1.operations)
    }
}

impl Platform for NullKernel {
    type Hypervisor = Null;
    type Queue = VcpuQueue;

    #[inline]
    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Null) -> R) -> R {
        let mut vcpu = self.vcpu.borrow_mut();
        let (queue, hypervisor) = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, _slot: PteSlot) -> Pte {
        Pte::EMPTY
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::from_words([1, 0])
    }

    fn flush_others(&self, _table: Mfn) {}

    fn report(&self, report: &Report) {
        unreachable!("a hypervisor that accepts everything leaves nothing to report, yet: {report}");
    }
}

#[cfg(test)]
mod tests {
    use hypercall::MmuextOp;
    use pv_mmu::{Operations, TaskState};

    use super::*;

    #[test]
    fn everything_asked_for_arrives() {
        let kernel = NullKernel::default();
        let mut task = TaskState::new();
        let mut region = kernel.mmu().enter(&mut task, kernel.context());
        region.set_pte(PteSlot::of(Mfn::new(1), 0), Pte::EMPTY);
        region.set_pte(PteSlot::of(Mfn::new(1), 1), Pte::EMPTY);
        region.mmuext(MmuextOp::TlbFlushAll);
        region.leave().expect("nothing is refused");
        assert_eq!(kernel.received(), (1, 3));
    }
}
