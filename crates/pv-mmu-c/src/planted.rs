//! Faults of the face, to show that who checks it finds them.
//!
//! Protocol. [`plant`] breaks every face in the program from the next call on, so one test at a time plants.

use core::sync::atomic::{AtomicU8, Ordering};

/// Something that the face gets wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Fault {
    /// Updates that are asked for as operations lose the command to keep accessed and dirty (R11).
    CommandDropped = 1,
    /// `failed` counts only the failures that are named (R14).
    FailuresCut,
    /// Storage that is too small is taken.
    SizeUnchecked,
    /// A call that a busy task refuses releases the vCPU twice (R9).
    ReleasedTwice,
    /// `flush_others` is not called (R12).
    OthersForgotten,
    /// The second word of a set of vCPUs is that of the first.
    VcpusDoubled,
    /// Reports of leaked regions are not passed on (R2).
    LeakUntold,
    /// A switch leaves out its last operation (R7).
    SwitchCut,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CommandDropped,
        Self::FailuresCut,
        Self::SizeUnchecked,
        Self::ReleasedTwice,
        Self::OthersForgotten,
        Self::VcpusDoubled,
        Self::LeakUntold,
        Self::SwitchCut,
    ];
}

static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants `fault`, or none.
pub fn plant(fault: Option<Fault>) {
    PLANTED.store(fault.map_or(0, |fault| fault as u8), Ordering::SeqCst);
}

pub(crate) fn has(fault: Fault) -> bool {
    PLANTED.load(Ordering::SeqCst) == fault as u8
}
