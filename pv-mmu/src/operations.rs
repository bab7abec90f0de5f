//! What can be asked for, in whatever context.

use hypercall::{MmuUpdate, MmuextOp, Operation, Pte, PteSlot, UpdateCommand};

use crate::{caller::Caller, queue::Request};

pub(crate) mod private {
    use hypercall::MmuUpdate;

    use crate::{caller::Caller, queue::Request};

    /// Takes an operation in. Not for callers: the trait cannot be named outside.
    pub trait Submit {
        /// What the caller gets.
        type Answer;

        /// Queues or issues an operation, as the context says.
        fn submit(&mut self, request: Request) -> Self::Answer;

        /// The same of an update of an L1 entry of the caller's own tables.
        #[inline]
        fn submit_leaf(&mut self, update: MmuUpdate, caller: Caller) -> Self::Answer {
            self.submit(Request::leaf(update, caller))
        }
    }
}

/// Operations on page tables and the processor state that goes with them.
///
/// Inside a region they may wait and the answer is `()`; elsewhere they are effective, or the
/// answer names the failure.
pub trait Operations: private::Submit {
    /// Sets an L1 entry of the caller's own tables.
    #[cfg_attr(feature = "caller-location", track_caller)]
    #[inline]
    fn set_pte(&mut self, slot: PteSlot, pte: Pte) -> Self::Answer {
        self.submit_leaf(MmuUpdate::new(slot.with_command(UpdateCommand::Normal), pte), Caller::here())
    }

    /// Sets an L1 entry and keeps what accessed and dirty bits the hardware has set in it until
    /// then, even when `pte` is not present.
    #[cfg_attr(feature = "caller-location", track_caller)]
    #[inline]
    fn commit_pte(&mut self, slot: PteSlot, pte: Pte) -> Self::Answer {
        self.submit_leaf(MmuUpdate::new(slot.with_command(UpdateCommand::PreserveAd), pte), Caller::here())
    }

    /// Sets an entry of an L2, L3 or L4 table of the caller's own.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn set_upper(&mut self, slot: PteSlot, pte: Pte) -> Self::Answer {
        self.submit(Request::upper(MmuUpdate::new(slot.with_command(UpdateCommand::Normal), pte), Caller::here()))
    }

    /// A TLB flush, pin, base pointer or other `mmuext_op` of the caller's own domain.
    ///
    /// vCPUs that are offline are left out of an immediate flush; a flush of nobody is not issued.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn mmuext(&mut self, op: MmuextOp) -> Self::Answer {
        self.submit(Request::mmuext(op, Caller::here()))
    }

    /// Any operation, as it is. An update made this way keeps its place and is never merged.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn operation(&mut self, operation: &Operation) -> Self::Answer {
        self.submit(Request::new(*operation, Caller::here()))
    }
}

impl<S: private::Submit> Operations for S {}
