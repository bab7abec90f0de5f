//! The domain the guest runs as: its number, what it may do, what it has switched on.
//!
//! The guest is the hardware domain, as measured on real Xen, unless it is built as an unprivileged
//! one. What the rules of an unprivileged domain say here follows from Xen's source and is
//! *unproved*: no lone guest can be one.

use std::sync::atomic::{AtomicU64, Ordering};

use hypercall::{DomId, Errno};

/// The domain whose frames an operation names, once its number has been looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameOwner {
    /// The guest itself.
    Domain,
    /// `DOMID_IO`.
    Io,
    /// `DOMID_XEN`.
    Xen,
}

/// Services a guest may switch on with `vm_assist` (`VMASST_TYPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub(crate) enum Assist {
    /// Stores to L1 tables are emulated.
    WritablePageTables = 1 << 2,
    /// The machine-to-physical table shows in kernel base pointers only.
    StrictMachineToPhysical = 1 << 32,
}

impl Assist {
    /// The services a 64-bit guest can switch at all.
    pub(crate) const KNOWN: u64 = 0x3f | Self::StrictMachineToPhysical as u64;
}

/// The domain.
#[derive(Debug)]
pub(crate) struct Domain {
    id: DomId,
    /// Whether it is the hardware and control domain.
    privileged: bool,
    assists: AtomicU64,
}

impl Domain {
    /// The hardware domain.
    pub(crate) const fn hardware() -> Self {
        Self { id: DomId::new(0), privileged: true, assists: AtomicU64::new(0) }
    }

    /// An unprivileged domain.
    pub(crate) const fn unprivileged(id: DomId) -> Self {
        Self { id, privileged: false, assists: AtomicU64::new(0) }
    }

    /// Its number.
    pub(crate) const fn id(&self) -> DomId {
        self.id
    }

    /// Whether it is the hardware and control domain.
    pub(crate) const fn is_privileged(&self) -> bool {
        self.privileged
    }

    /// The owner the guest names by `domain`.
    ///
    /// # Errors
    /// `-ESRCH` for a domain that is not there and for the guest's own number, where Xen wants
    /// `DOMID_SELF`.
    pub(crate) const fn named(domain: DomId) -> Result<FrameOwner, Errno> {
        match domain {
            DomId::SELF => Ok(FrameOwner::Domain),
            DomId::IO => Ok(FrameOwner::Io),
            DomId::XEN => Ok(FrameOwner::Xen),
            _ => Err(Errno::SRCH),
        }
    }

    /// Whether the domain may touch frames of `owner` at all.
    ///
    /// # Errors
    /// `-EPERM` for an unprivileged domain and frames of `DOMID_XEN`; those of `DOMID_IO` are open
    /// to mapping.
    pub(crate) fn may_map(&self, owner: FrameOwner) -> Result<(), Errno> {
        if self.privileged || owner != FrameOwner::Xen { Ok(()) } else { Err(Errno::PERM) }
    }

    /// Whether the domain has switched a service on.
    pub(crate) fn has(&self, assist: Assist) -> bool {
        self.assists.load(Ordering::SeqCst) & assist as u64 != 0
    }

    /// Switches the service with these bits on or off.
    pub(crate) fn switch(&self, bits: u64, on: bool) {
        if on {
            self.assists.fetch_or(bits, Ordering::SeqCst);
        } else {
            self.assists.fetch_and(!bits, Ordering::SeqCst);
        }
    }
}
