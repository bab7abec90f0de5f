//! arm64: barriers after entries of the kernel's own tables were made valid are executed late, once for all of them.
//!
//! A store of such an entry is owed a `dsb` (walkers see it) and an `isb` (nothing walked earlier is used). Entries of user
//! tables are owed nothing here, and what is made invalid is the affair of the TLB invalidation that its caller asks for. That
//! barriers wait is one bit, and it is the task's: a region may be preempted and may sleep. A switch owes nothing, because the
//! kernel's switch executes a `dsb` for all tasks, and the `isb` comes before the task uses the address, on whichever vCPU.
//! Handlers execute their own barriers at once.

use core::convert::Infallible;

use super::{Deferral, Preemption};

/// The barriers of the present processor.
pub trait Barriers {
    /// `dsb ishst`: earlier stores of this processor are visible to every walker behind it.
    fn dsb_ishst(&self);

    /// `isb`: nothing that was walked before is used behind it.
    fn isb(&self);
}

/// What waits for a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pending(bool);

impl Pending {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self(false)
    }
}

impl<H: Barriers> Deferral<H> for Pending {
    /// An entry of a kernel table was made valid.
    type Work = ();
    type Refusal = Infallible;
    const PREEMPTION: Preemption = Preemption::Allowed;

    fn defer(&mut self, (): (), _: &H, _: &mut dyn FnMut(Infallible)) {
        self.0 = true;
    }

    fn flush(&mut self, hardware: &H, refused: &mut dyn FnMut(Infallible)) {
        if core::mem::take(&mut self.0) {
            Self::at_once((), hardware, refused);
        }
    }

    fn at_once((): (), hardware: &H, _: &mut dyn FnMut(Infallible)) {
        hardware.dsb_ishst();
        hardware.isb();
    }

    fn is_empty(&self) -> bool {
        !self.0
    }
}
