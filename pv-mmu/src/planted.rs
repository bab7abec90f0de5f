//! Rules broken on purpose, one at a time, to show that a checker finds it.
//!
//! Only where the feature `planted` is on can a fault be planted: in a queue
//! (`VcpuQueue::plant`) and by a platform (`Platform::planted`). Without it [`Planted`] has no size and
//! [`Planted::has`] is `false` at compile time: the faults cost nothing and cannot happen.

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A broken rule; each variant says what happens instead of what ought to.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

faults! {
    /// R1: what is asked outside a region waits too.
    OutsideWaits,
    /// R2: the outermost leave hands nothing over.
    LeaveKeeps,
    /// R3: a write joins an older one of its entry across whatever lies between.
    JoinsAcross,
    /// R4: a region nests whatever the profile.
    StrictNests,
    /// R5: a pause hands nothing over.
    PauseKeeps,
    /// R6: what a handler asks for waits.
    HandlerWaits,
    /// R7: the switch hands nothing over.
    SwitchKeeps,
    /// R8: of two updates that the switch hands over, the second stays in the queue too.
    SwitchLeavesOne,
    /// R13: what a full queue hands over is handed over twice.
    CapacityRepeats,
    /// R9: a batch is handed over in one step and forgotten in the next.
    DividedStep,
    /// R10: a read-modify-write does not look at what is pending for its entry.
    PendingOverlooked,
    /// R11: reads do not look at the queue.
    ReadsMemory,
    /// R12: a TLB flush is dropped when any other is pending, writes between them or not.
    FlushDropped,
    /// R12: a table is unpinned while other vCPUs may be on it.
    OthersStay,
    /// R13: a batch of more than one call is handed over twice.
    BatchTwice,
    /// R14: refusals are forgotten.
    RefusalForgotten,
    /// R14: completion callbacks do not run.
    CallbacksForgotten,
    /// R15: a range goes out chunk by chunk without opening upcalls.
    RangeUndivided,
    /// R16: an operation outside any region looks at the queue in a step of its own.
    OutsideLooks,
    /// R17: joined writes are not counted.
    JoinUncounted,
    /// R18: switching counting off empties the queue.
    CountingEmpties,
}

/// Which rule is broken, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "planted")]
    pub(crate) fault: Option<Fault>,
}

impl Planted {
    /// None.
    pub(crate) const NONE: Self = Self {
        #[cfg(feature = "planted")]
        fault: None,
    };

    /// Whether the rule is broken in this way.
    #[cfg(feature = "planted")]
    #[inline]
    pub(crate) fn has(self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Whether the rule is broken in this way: never.
    #[cfg(not(feature = "planted"))]
    #[inline]
    pub(crate) const fn has(self, _fault: Fault) -> bool {
        false
    }
}
