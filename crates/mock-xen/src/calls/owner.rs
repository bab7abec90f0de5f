//! Whose tables and frames an array call is about.

use hypercall::{DomId, Errno};

use crate::MockXen;
use crate::domain::{Domain, FrameOwner};
use crate::planted::Fault;

/// A refusal before the first operation, and whether the done count is stored nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotStarted {
    pub(super) errno: Errno,
    pub(super) writes_done: bool,
}

impl MockXen {
    /// Looks up the fourth argument of `mmu_update`: table owner plus one in the upper half, frame
    /// owner in the lower. The tables can only be the guest's own.
    ///
    /// # Errors
    /// `-ESRCH`: the done count is stored where the frame owner is unknown, not where the table owner
    /// is.
    pub(super) fn owner_of_updates(&self, word: u32) -> Result<FrameOwner, NotStarted> {
        let own_tables = u32::from(self.machine.domain.id().number()) + 1;
        if word >> 16 != 0 && word >> 16 != own_tables {
            let writes_done = self.planted(Fault::DoneStoredForTableOwner);
            return Err(NotStarted { errno: Errno::SRCH, writes_done });
        }
        let writes_done = !self.planted(Fault::DoneMissingForFrameOwner);
        self.named(DomId::new(word as u16)).map_err(|errno| NotStarted { errno, writes_done })
    }

    /// Looks up the fourth argument of `mmuext_op`, a domain.
    ///
    /// # Errors
    /// `-ESRCH`; `-EPERM` where an unprivileged domain names another. The done count is not stored.
    pub(super) fn owner_of_extended(&self, word: u32) -> Result<FrameOwner, NotStarted> {
        let writes_done = self.planted(Fault::ExtendedDoneStored);
        let owner = self.named(DomId::new(word as u16)).map_err(|errno| NotStarted { errno, writes_done })?;
        if self.machine.domain.is_privileged() || owner == FrameOwner::Domain {
            Ok(owner)
        } else {
            Err(NotStarted { errno: Errno::PERM, writes_done })
        }
    }

    /// Looks up a domain by number.
    ///
    /// # Errors
    /// As [`Domain::named`].
    pub(super) fn named(&self, domain: DomId) -> Result<FrameOwner, Errno> {
        if domain == self.machine.domain.id() && self.planted(Fault::OwnNumberAccepted) {
            return Ok(FrameOwner::Domain);
        }
        Domain::named(domain)
    }

    /// Whether a rule is wrong on purpose.
    pub(super) fn planted(&self, fault: Fault) -> bool {
        self.machine.planted.has(fault)
    }

    /// The refusal, or another where that is the fault.
    pub(super) fn refusal(&self, fault: Fault, wrong: Errno, right: Errno) -> Errno {
        self.machine.planted.refusal(fault, wrong, right)
    }
}
