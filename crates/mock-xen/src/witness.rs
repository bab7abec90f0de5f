//! Who is told what arrives at the hypervisor.

use hypercall::{Errno, Mfn, Operation, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};

use crate::referee::Referee;

/// A listener at the mock's gate.
///
/// It is called from the thread that plays the vCPU, after the operation has taken effect and with
/// no lock of the mock held but the vCPU's own; it must not make a hypercall itself. Operations of one vCPU come in
/// the order in which they were applied.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use hypercall::{Errno, Operation, VcpuId};
/// use mock_xen::{GuestBuilder, Witness};
///
/// #[derive(Default)]
/// struct Log(Mutex<Vec<Operation>>);
///
/// impl Witness for Log {
///     fn arrived(&self, _: VcpuId, operation: &Operation, _: Option<Result<(), Errno>>) {
///         self.0.lock().unwrap().push(*operation);
///     }
/// }
///
/// let log = Arc::new(Log::default());
/// let mut builder = GuestBuilder::new(1);
/// builder.new_frame();
/// builder.witness(log.clone());
/// let xen = builder.build().unwrap();
/// # use hypercall::{DomId, MmuextOp, issue_operation};
/// # let flush = Operation::Mmuext { op: MmuextOp::TlbFlushLocal, domain: DomId::SELF };
/// issue_operation(&mut xen.vcpu(VcpuId::new(0)), &flush).unwrap();
/// assert_eq!(*log.0.lock().unwrap(), [flush]);
/// ```
pub trait Witness: Send + Sync {
    /// An operation was applied or refused, or (`None`) lies in an array behind a refused one, so
    /// that the hypervisor never looked at it.
    ///
    /// Words that are no [`Operation`], such as an unknown command, are not told.
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>);

    /// An update of `vcpu` has replaced `old` by `new` in the L1 entry at `slot`; told before `arrived`.
    fn replaced(&self, _vcpu: VcpuId, _slot: PteSlot, _old: Pte, _new: Pte) {}

    /// `vcpu`'s processor has set `flags` in the L1 entry at `slot` for an access of the guest's kernel.
    fn noted(&self, _vcpu: VcpuId, _slot: PteSlot, _flags: PteFlags) {}

    /// `vcpu`'s kernel has reached `frame` at `address` by a translation that its TLB keeps and the tables do not
    /// give any more.
    fn used_stale(&self, _vcpu: VcpuId, _address: VirtAddr, _frame: Mfn, _is_store: bool) {}

    /// A hypercall begins; a multicall is one.
    fn hypercall_begins(&self, _vcpu: VcpuId) {}

    /// That hypercall has ended.
    fn hypercall_ends(&self, _vcpu: VcpuId) {}
}

impl Witness for Referee {
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>) {
        Self::arrived(self, vcpu, operation, result);
    }

    fn replaced(&self, vcpu: VcpuId, slot: PteSlot, old: Pte, new: Pte) {
        Self::replaced(self, vcpu, slot, old, new);
    }

    fn noted(&self, _vcpu: VcpuId, slot: PteSlot, flags: PteFlags) {
        Self::noted(self, slot, flags);
    }

    fn used_stale(&self, vcpu: VcpuId, address: VirtAddr, frame: Mfn, is_store: bool) {
        Self::used_stale(self, vcpu, address, frame, is_store);
    }

    fn hypercall_begins(&self, vcpu: VcpuId) {
        Self::hypercall_begins(self, vcpu);
    }

    fn hypercall_ends(&self, vcpu: VcpuId) {
        Self::hypercall_ends(self, vcpu);
    }
}
