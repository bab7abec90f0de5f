//! What the benchmarks run on: a hypervisor that accepts everything at once, and one vCPU, so that
//! what is measured is the batcher.
//!
//! One thread only: a [`NullKernel`] belongs to the benchmark that made it.

#![forbid(unsafe_code)]

use std::cell::RefCell;

use hypercall::{Mfn, Null, Pte, PteSlot, TaskContext, VcpuMask};
use pv_mmu::{Mmu, Platform, Report, VcpuQueue};

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
        (vcpu.1.hypercalls(), vcpu.1.operations())
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
