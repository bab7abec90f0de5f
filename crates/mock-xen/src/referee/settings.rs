//! What a referee has to know of the guest it judges.

use hypercall::{Level, Operation, VcpuMask};

/// How regions nest (R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Profile {
    /// A region never nests.
    Strict,
    /// Enter and leave count up to 255; every leave flushes, the outermost ends laziness.
    Nested,
}

/// A referee's settings.
///
/// ```
/// use hypercall::VcpuId;
/// use mock_xen::{referee::{Profile, Settings}, testing::TestGuest};
///
/// // Regions nest, and at most 64 operations are handed over in one stretch with upcalls masked (R15).
/// let settings = Settings::new(Profile::Nested).masked_bound(64);
/// let guest = TestGuest::with_settings(settings);
/// guest.task(1, VcpuId::new(0)).enter(|| true);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(super) profile: Profile,
    pub(super) masked_bound: Option<u32>,
    pub(super) online: Option<VcpuMask>,
    pub(super) remembered: usize,
}

impl Settings {
    /// Arrivals remembered on each vCPU unless [`Settings::remembering`] says otherwise.
    pub const REMEMBERED: usize = 4096;

    /// The rules of `profile`, without a bound on masked operations (R15) and with every vCPU that
    /// a mask names taken for online.
    #[must_use]
    pub const fn new(profile: Profile) -> Self {
        Self { profile, masked_bound: None, online: None, remembered: Self::REMEMBERED }
    }

    /// At most `operations` may arrive in one stretch with upcalls masked (R15).
    #[must_use]
    pub const fn masked_bound(self, operations: u32) -> Self {
        Self { masked_bound: Some(operations), ..self }
    }

    /// Only these vCPUs have TLBs: the others may be left out of a flush, and a flush of others
    /// alone need not arrive.
    #[must_use]
    pub const fn online(self, vcpus: VcpuMask) -> Self {
        Self { online: Some(vcpus), ..self }
    }

    /// Only these vCPUs have TLBs, unless [`Settings::online`] has said which.
    pub(crate) const fn online_by_default(self, vcpus: VcpuMask) -> Self {
        match self.online {
            Some(_) => self,
            None => self.online(vcpus),
        }
    }

    /// Remembers the last `arrivals` of each vCPU: how far back an operation that arrives without
    /// having been asked for is known to be a repetition (R13).
    #[must_use]
    pub const fn remembering(self, arrivals: usize) -> Self {
        Self { remembered: arrivals, ..self }
    }
}

/// An operation together with what its words do not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    pub(super) operation: Operation,
    pub(super) level: Level,
    pub(super) is_immediate: bool,
}

impl Wish {
    /// `operation`; an update is taken for one of an L1 entry, and it may wait if its asker is lazy.
    #[must_use]
    pub const fn new(operation: Operation) -> Self {
        Self { operation, level: Level::L1, is_immediate: false }
    }

    /// The operation.
    #[must_use]
    pub const fn operation(&self) -> &Operation {
        &self.operation
    }

    /// The updated entry is in a table of `level`.
    #[must_use]
    pub const fn at_level(self, level: Level) -> Self {
        Self { level, ..self }
    }

    /// It may not wait, even inside a region: a synchronous call (R10).
    #[must_use]
    pub const fn immediate(self) -> Self {
        Self { is_immediate: true, ..self }
    }
}

impl From<Operation> for Wish {
    fn from(operation: Operation) -> Self {
        Self::new(operation)
    }
}

impl From<&Operation> for Wish {
    fn from(operation: &Operation) -> Self {
        Self::new(*operation)
    }
}
