//! Who is told what arrives at the hypervisor.

use hypercall::{Errno, Operation, VcpuId};

use crate::referee::Referee;

/// A listener at the mock's gate.
///
/// It is called from the thread that plays the vCPU, after the operation has taken effect and with
/// no lock of the mock held but the vCPU's own; it must not make a hypercall itself. Operations of one vCPU come in
/// the order in which they were applied.
pub trait Witness: Send + Sync {
    /// An operation was applied or refused, or (`None`) lies in an array behind a refused one, so
    /// that the hypervisor never looked at it.
    ///
    /// Words that are no [`Operation`], such as an unknown command, are not told.
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>);

    /// A hypercall begins; a multicall is one.
    fn hypercall_begins(&self, _vcpu: VcpuId) {}

    /// That hypercall has ended.
    fn hypercall_ends(&self, _vcpu: VcpuId) {}
}

impl Witness for Referee {
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>) {
        Self::arrived(self, vcpu, operation, result);
    }

    fn hypercall_begins(&self, vcpu: VcpuId) {
        Self::hypercall_begins(self, vcpu);
    }

    fn hypercall_ends(&self, vcpu: VcpuId) {
        Self::hypercall_ends(self, vcpu);
    }
}
