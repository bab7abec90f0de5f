//! What was found.

use std::ffi::c_char;
use std::fmt::Write as _;

use crate::{Guest, known};

/// A verdict. All zeros but `asked` and `arrived`: nothing is wrong.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Verdict {
    /// Rules broken.
    pub violations: u64,
    /// Operations that have not arrived.
    pub pending: u64,
    /// Refusals of which the guest has not been told.
    pub untold: u64,
    /// Tasks that are inside a region or a pause.
    pub open: u64,
    /// Things the mock was asked for and does not model.
    pub not_modelled: u64,
    /// 1: the machine's reference counts are wrong.
    pub miscounted: u64,
    /// Operations asked for.
    pub asked: u64,
    /// Operations that arrived.
    pub arrived: u64,
    /// Bit n: rule Rn was broken.
    pub rules: u64,
}

/// What the referee found so far; a text of it goes to `text`, of which there are `bytes` bytes: cut to fit, and ended
/// by a zero. Each violation is a line that names rule, operation, task, vCPU and moments.
///
/// # Safety
/// 1. `guest` was made by `mockxen_new` and not freed. 2. `text` is null or has `bytes` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_judge(guest: *const Guest, text: *mut c_char, bytes: usize) -> Verdict {
    // SAFETY: 1. the caller's promise.
    let guest = unsafe { known(guest) };
    let found = guest.test.verdict();
    let missing = guest.test.xen().not_modelled();
    let audit = guest.test.xen().audit();
    let mut told = format!("{found}");
    missing.iter().for_each(|event| _ = write!(told, "\n  not modelled: {event:?}"));
    let _ = audit.as_ref().map_err(|failure| write!(told, "\n  miscounted: {failure}"));
    // SAFETY: 2. the caller's promise.
    unsafe { put_text(&told, text, bytes) };
    let rule = |violation: &mock_xen::referee::Violation| 1_u64 << violation.rule.number();
    Verdict {
        violations: found.found,
        pending: found.pending as u64,
        untold: found.untold as u64,
        open: found.open as u64,
        not_modelled: missing.len() as u64,
        miscounted: audit.is_err().into(),
        asked: found.counters.asked,
        arrived: found.counters.arrivals,
        rules: found.violations.iter().map(rule).fold(0, |all, bit| all | bit),
    }
}

/// # Safety
/// 1. `text` is null or has `bytes` bytes.
unsafe fn put_text(told: &str, text: *mut c_char, bytes: usize) {
    let Some(room) = bytes.checked_sub(1).filter(|_| !text.is_null()) else { return };
    let len = told.floor_char_boundary(room);
    // SAFETY: 1. the caller's promise; at most `bytes` - 1 bytes and a zero.
    unsafe {
        text.cast::<u8>().copy_from_nonoverlapping(told.as_ptr(), len);
        text.add(len).write(0);
    }
}
