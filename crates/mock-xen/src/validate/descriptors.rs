//! Descriptors: which Xen lets a guest have, and in which form.
//!
//! These rules are Xen's source as known, not measured. A present code or data descriptor is
//! brought to privilege level 3, in which a 64-bit guest's kernel runs. A call gate is brought to
//! level 0 instead, so that every use of it traps and Xen emulates it, and remembers its own level,
//! 3 too, in its selector. What is neither, and not the empty second half of a gate, is refused.

use hypercall::{ENTRIES_PER_TABLE, Errno};

use crate::frames::Frame;
use crate::planted::{Fault, Planted};

const PRESENT: u64 = 1 << 47;
const PRIVILEGE: u64 = 3 << 45;
/// Set for code and data, clear for gates and system segments.
const CODE_OR_DATA: u64 = 1 << 44;
const TYPE_SHIFT: u32 = 40;
const CALL_GATE: u64 = 0xc;
const SELECTOR_SHIFT: u32 = 16;
const SELECTOR_LEVEL: u64 = 3;
/// In a selector: the local table's.
const LOCAL: u64 = 4;
/// What must be clear in a gate beside its offset and selector.
const GATE_RESERVED: u64 = 0xff << 32;
/// The selector of Xen's own 64-bit code segment for guests' kernels.
const KERNEL_CODE: u64 = 0xe033;
/// The first selector of the entries that are Xen's.
const FIRST_RESERVED: u64 = 7168 << 3;

/// The form in which Xen stores a descriptor.
///
/// # Errors
/// `-EINVAL` for a system segment, a gate other than a call gate, and a call gate into one of Xen's
/// segments or with parameters.
pub(crate) fn accepted(descriptor: u64, planted: Planted) -> Result<u64, Errno> {
    if descriptor & PRESENT == 0 {
        return Ok(descriptor);
    }
    if descriptor & CODE_OR_DATA != 0 {
        return Ok(if planted.has(Fault::DescriptorPrivilegeKept) { descriptor } else { descriptor | PRIVILEGE });
    }
    match descriptor >> TYPE_SHIFT & 0xf {
        0 => Ok(descriptor),
        CALL_GATE => call_gate(descriptor),
        _ if planted.has(Fault::SystemSegmentAccepted) => Ok(descriptor),
        _ => Err(Errno::INVAL),
    }
}

fn call_gate(gate: u64) -> Result<u64, Errno> {
    let selector = gate >> SELECTOR_SHIFT & 0xffff;
    let reachable = selector & !7 < FIRST_RESERVED || selector == KERNEL_CODE || selector & LOCAL != 0;
    if !reachable || gate & GATE_RESERVED != 0 {
        return Err(Errno::INVAL);
    }
    Ok(gate & !PRIVILEGE | SELECTOR_LEVEL << SELECTOR_SHIFT)
}

/// Checks a frame that is to become a page of descriptors, and changes those that are accepted in
/// another form.
///
/// # Errors
/// As [`accepted`]. The descriptors before the refused one keep their new form.
pub(super) fn validate(frame: &Frame, planted: Planted) -> Result<(), Errno> {
    for index in 0..ENTRIES_PER_TABLE {
        let descriptor = frame.load(index);
        let stored = accepted(descriptor, planted)?;
        if stored != descriptor {
            frame.store(index, stored);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(descriptor: u64) -> Result<u64, Errno> {
        accepted(descriptor, Planted::default())
    }

    #[test]
    fn only_absent_and_unprivileged_descriptors_pass() {
        let kernel_code = 0x00af_9b00_0000_ffff;
        assert_eq!(stored(0), Ok(0));
        assert_eq!(stored(0x0000_6b00_1234_5678), Ok(0x0000_6b00_1234_5678));
        assert_eq!(stored(kernel_code), Ok(kernel_code | PRIVILEGE));
        assert_eq!(stored(PRESENT | 0x9 << TYPE_SHIFT), Err(Errno::INVAL));
        assert_eq!(stored(PRESENT), Ok(PRESENT), "the second half of a gate stays as it is");
    }

    #[test]
    fn call_gates_always_trap_and_lead_into_no_segment_of_xen() {
        let gate = |selector: u64| PRESENT | PRIVILEGE | CALL_GATE << TYPE_SHIFT | selector << SELECTOR_SHIFT | 0x1234;
        assert_eq!(stored(gate(0x10)), Ok(gate(0x13) & !PRIVILEGE));
        assert_eq!(stored(gate(0xe033)), Ok(gate(0xe033) & !PRIVILEGE));
        assert_eq!(stored(gate(0xe00c)), Ok(gate(0xe00f) & !PRIVILEGE));
        assert_eq!(stored(gate(0xe008)), Err(Errno::INVAL));
        assert_eq!(stored(gate(0x10) | 1 << 32), Err(Errno::INVAL));
    }
}
