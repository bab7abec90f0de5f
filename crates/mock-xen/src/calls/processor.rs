//! Calls about the processor state that goes with a context switch.

use hypercall::{Errno, Operation, SegmentBase, VcpuId, VirtAddr};

use super::Args;
use crate::MockXen;

impl MockXen {
    /// `stack_switch`: the stack on which Xen enters the kernel.
    pub(super) fn stack_switch(&self, vcpu: VcpuId, [ss, sp, ..]: Args) -> Result<(), Errno> {
        let sp = VirtAddr::unchecked(sp);
        self.vcpu_state(vcpu).lock().kernel_stack = (ss, sp);
        self.tell(vcpu, || Some(Operation::StackSwitch { ss, sp }), Some(Ok(())));
        Ok(())
    }

    /// `fpu_taskswitch`: the task-switched flag.
    pub(super) fn fpu_taskswitch(&self, vcpu: VcpuId, [set, ..]: Args) -> Result<(), Errno> {
        let set = set as u32 != 0;
        self.vcpu_state(vcpu).lock().task_switched = set;
        self.tell(vcpu, || Some(Operation::FpuTaskswitch { set }), Some(Ok(())));
        Ok(())
    }

    /// `set_segment_base`.
    ///
    /// # Errors
    /// `-EINVAL` for a base that does not exist and for a non-canonical address.
    pub(super) fn set_segment_base(&self, vcpu: VcpuId, [which, base, ..]: Args) -> Result<(), Errno> {
        let which = match which as u32 {
            0 => SegmentBase::Fs,
            1 => SegmentBase::GsUser,
            2 => SegmentBase::GsKernel,
            3 => SegmentBase::GsUserSelector,
            _ => return Err(Errno::INVAL),
        };
        let usable = which == SegmentBase::GsUserSelector || VirtAddr::unchecked(base).is_canonical();
        let result = if usable { Ok(()) } else { Err(Errno::INVAL) };
        if usable {
            self.vcpu_state(vcpu).lock().segment_bases[which as usize] = base;
        }
        self.tell(vcpu, || Some(Operation::SetSegmentBase { which, base }), Some(result));
        result
    }
}
