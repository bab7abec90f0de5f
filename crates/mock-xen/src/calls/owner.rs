//! Whose tables and frames an array call is about.

use hypercall::{DomId, Errno};

use crate::frames::FrameOwner;

/// How `mmu_update` names the guest as table owner: its number, 0, plus one.
const OWN_TABLES: u32 = 1;

/// A refusal before the first operation, and whether the done count is stored nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotStarted {
    pub(super) errno: Errno,
    pub(super) writes_done: bool,
}

/// Looks up the fourth argument of `mmu_update`: table owner plus one in the upper half, frame
/// owner in the lower. The tables can only be the guest's own.
///
/// # Errors
/// `-ESRCH`: the done count is stored where the frame owner is unknown, not where the table owner
/// is.
pub(super) fn of_updates(word: u32) -> Result<FrameOwner, NotStarted> {
    let errno = Errno::SRCH;
    if !matches!(word >> 16, 0 | OWN_TABLES) {
        return Err(NotStarted { errno, writes_done: false });
    }
    FrameOwner::named(DomId::new(word as u16)).map_err(|errno| NotStarted { errno, writes_done: true })
}

/// Looks up the fourth argument of `mmuext_op`, a domain.
///
/// # Errors
/// `-ESRCH`; the done count is not stored.
pub(super) fn of_mmuext(word: u32) -> Result<FrameOwner, NotStarted> {
    FrameOwner::named(DomId::new(word as u16)).map_err(|errno| NotStarted { errno, writes_done: false })
}
