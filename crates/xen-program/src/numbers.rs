//! Numbers that page tables do not need and conformance cases do: hypercalls (`xen/include/public/xen.h`),
//! and what arguments hold.

/// `console_io(command, count, buffer)`.
pub const CONSOLE_IO: u32 = 18;
/// `vm_assist(command, type)`.
pub const VM_ASSIST: u32 = 21;
/// `vcpu_op(command, vcpu, argument)`.
pub const VCPU_OP: u32 = 24;
/// `sched_op(command, argument)`.
pub const SCHED_OP: u32 = 29;

/// Set in the count of an array of which a part is done already, as Xen sets it to continue a call.
pub const CONTINUED: u32 = 1 << 31;

/// What words hold before a call that is to write them, by custom: no done count and no answer is like it.
pub const UNTOUCHED: u64 = 0xdead_beef;

/// Whether Xen has no hypercall of this number.
pub(crate) const fn is_unknown(number: u32) -> bool {
    matches!(number, 11 | 38) || number >= 64
}
