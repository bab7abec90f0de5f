//! Hypercall numbers that page tables do not need and conformance cases do
//! (`xen/include/public/xen.h`).

/// `console_io(command, count, buffer)`.
pub const CONSOLE_IO: u32 = 18;
/// `vm_assist(command, type)`.
pub const VM_ASSIST: u32 = 21;
/// `vcpu_op(command, vcpu, argument)`.
pub const VCPU_OP: u32 = 24;
/// `sched_op(command, argument)`.
pub const SCHED_OP: u32 = 29;

/// Whether Xen has no hypercall of this number.
pub(crate) const fn is_unknown(number: u32) -> bool {
    matches!(number, 11 | 38) || number >= 64
}
