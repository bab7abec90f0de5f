//! Descriptors: which Xen lets a guest have, and in which form.
//!
//! These rules are Xen's source as known, not measured. A present descriptor is brought to
//! privilege level 3, in which a 64-bit guest's kernel runs.

use std::sync::atomic::Ordering;

use hypercall::{ENTRIES_PER_TABLE, Errno};

use crate::frames::Frame;
use crate::not_modelled::NotModelled;

const PRESENT: u64 = 1 << 47;
const LOWEST_PRIVILEGE: u64 = 3 << 45;
/// Set for code and data, clear for gates and system segments.
const CODE_OR_DATA: u64 = 1 << 44;
const TYPE_SHIFT: u32 = 40;
const CALL_GATE: u64 = 0xc;

/// The form in which Xen stores a descriptor.
///
/// # Errors
/// `-EINVAL` for a system segment or a gate other than a call gate; call gates are not modelled.
pub(crate) fn accepted(descriptor: u64) -> Result<u64, Errno> {
    if descriptor & PRESENT == 0 {
        return Ok(descriptor);
    }
    match descriptor >> TYPE_SHIFT & 0xf {
        _ if descriptor & CODE_OR_DATA != 0 => Ok(descriptor | LOWEST_PRIVILEGE),
        0 => Ok(descriptor | LOWEST_PRIVILEGE),
        CALL_GATE => Err(NotModelled::CallGate.errno()),
        _ => Err(Errno::INVAL),
    }
}

/// Checks a frame that is to become a page of descriptors, and changes those that are accepted in
/// another form.
///
/// # Errors
/// As [`accepted`]. The descriptors before the refused one keep their new form.
pub(super) fn validate(frame: &Frame) -> Result<(), Errno> {
    for index in 0..ENTRIES_PER_TABLE {
        let descriptor = frame.load(index);
        let stored = accepted(descriptor)?;
        if stored != descriptor {
            frame.word(index).store(stored, Ordering::SeqCst);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absent_and_unprivileged_descriptors_pass() {
        let kernel_code = 0x00af_9b00_0000_ffff;
        assert_eq!(accepted(0), Ok(0));
        assert_eq!(accepted(0x0000_6b00_1234_5678), Ok(0x0000_6b00_1234_5678));
        assert_eq!(accepted(kernel_code), Ok(kernel_code | LOWEST_PRIVILEGE));
        assert_eq!(accepted(PRESENT | 0x9 << TYPE_SHIFT), Err(Errno::INVAL));
        assert_eq!(accepted(PRESENT | 0xc << TYPE_SHIFT), Err(NotModelled::CallGate.errno()));
    }
}
