//! Rules switched wrong on purpose, one at a time, to show that a comparison with the real thing
//! finds it.
//!
//! A guest can be built with a [`Fault`] only where the feature `planted` is on
//! (`GuestBuilder::plant`). Without it nothing can be planted, [`Planted`] has no size and
//! [`Planted::has`] is `false` at compile time: the faults cost nothing. With it, each is one
//! comparison where its rule is applied.

use hypercall::Errno;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A rule that is wrong; each variant says what happens instead of what Xen does.
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
    /// A writable mapping of a page table is refused with `-EINVAL`.
    TableWritableInvalid,
    /// A mapping of Xen's memory is refused with `-EINVAL`.
    ForeignFrameInvalid,
    /// A cache attribute on a page of Xen's heap is refused with `-EPERM`.
    CacheAttributePermission,
    /// I/O frames that are Xen's are refused with `-EINVAL`.
    LocalApicInvalid,
    /// The highest frame number is refused with `-EPERM`.
    HighestFramePermission,
    /// An unknown command of `mmu_update` is refused with `-EINVAL`.
    UnknownCommandInvalid,
    /// An unknown command of `mmuext_op` is refused with `-EINVAL`.
    UnknownExtendedInvalid,
    /// Superpage marks are refused with `-ENOSYS`.
    SuperpageMarkUnknown,
    /// A vCPU bitmap that cannot be read is answered with `-EFAULT` by `mmuext_op`.
    BitmapFault,
    /// The guest's own number stands for the guest.
    OwnNumberAccepted,
    /// Flushes in the name of another domain are done.
    ForeignFlushAccepted,
    /// A frame that is pinned may be pinned again.
    PinTwiceAccepted,
    /// A frame that is not pinned may be unpinned.
    UnpinUnpinnedAccepted,
    /// Updates of Xen's own L4 entries are refused with `-EPERM`.
    XenEntryPermission,
    /// A local descriptor table may have any length.
    LdtLengthUnchecked,
    /// A global descriptor table that is too long is refused with `-EFAULT`.
    GdtLengthFault,
    /// A multicall inside a multicall is refused with `-ENOSYS`.
    NestedMulticallUnknown,
    /// Unknown hypercalls are refused with `-EINVAL`.
    UnknownHypercallInvalid,
    /// `INVLPG` of an address that does not exist is refused with `-EINVAL`.
    InvlpgAddressChecked,
    /// `GLOBAL` is accepted in upper entries.
    UpperGlobalAccepted,
    /// `update_va_mapping` of an address without an L1 table is refused with `-EFAULT`.
    VaWithoutTableFault,
    /// Where an array starts is not looked at before it is read.
    ArrayStartUnchecked,

    /// A writable mapping takes no type reference.
    WritableUncounted,
    /// A writable mapping that goes away keeps its type reference.
    WritableKept,
    /// A read-only mapping takes a type reference as a writable one does.
    ReadOnlyCountedWritable,
    /// An upper entry that is written takes no type reference on its table.
    ChildUncounted,
    /// An upper entry that goes away keeps its type reference.
    ChildKept,
    /// A kernel base pointer takes no type reference.
    BaseUncounted,
    /// A kernel base pointer that is replaced keeps its references.
    OldBaseKept,
    /// A user base pointer takes no type reference.
    UserBaseUncounted,
    /// A pin takes no type reference.
    PinUncounted,
    /// An unpin keeps the pin's type reference.
    UnpinKept,
    /// A linear entry for another table takes no type reference.
    LinearUncounted,
    /// A table may both map others of its level and be mapped by others.
    LinearChainAccepted,
    /// A linear entry may be writable.
    LinearWritableAccepted,
    /// A linear entry that goes away still counts as one.
    LinearCountKept,
    /// An entry by which a table maps itself counts as linear.
    LinearSelfCounted,
    /// What an L1 table's entries map is not checked when it is pinned.
    ContentsUnchecked,

    /// `USER` is not added to kernel L1 entries.
    UserNotSet,
    /// Bit 52 is not added to kernel L1 entries.
    KernelNotMarked,
    /// `GLOBAL` is not added to user L1 entries.
    GlobalNotSet,
    /// `ACCESSED` is not added to L4 entries.
    RootAccessedNotSet,
    /// `USER` is not added to L2 and L3 entries.
    UpperUserNotSet,
    /// `PRESERVE_AD` loses the dirty flag.
    DirtyNotPreserved,
    /// `PRESERVE_AD` loses the accessed flag.
    AccessedNotPreserved,
    /// `PRESERVE_AD` preserves nothing in an entry that is not present.
    AbsentNotPreserved,
    /// `PRESERVE_AD` preserves in plain pages too.
    PlainPreserved,
    /// Cacheable mappings of I/O frames stay cacheable.
    IoCacheable,
    /// The I/O APIC may be mapped writable.
    IoApicWritable,
    /// A translation by the processor leaves accessed and dirty alone.
    WalkMarksNothing,

    /// A change of RW in an L1 entry is not checked.
    WriteChangeUnchecked,
    /// L1 entries that differ in harmless flags are checked like others.
    FastPathMissing,
    /// A change of RW in an upper entry is not checked.
    UpperWriteChangeUnchecked,
    /// The refused entry of an L1 table gets its flags changed.
    RefusedEntryAdjusted,
    /// The entries before a refused one are given their flags back.
    EarlierEntriesRestored,
    /// An L4's entries that are Xen's keep what the guest had there.
    XenEntriesKept,

    /// The done count is not stored where the frame owner is unknown.
    DoneMissingForFrameOwner,
    /// The done count is stored where the table owner is unknown.
    DoneStoredForTableOwner,
    /// The done count includes the refused operation.
    DoneCountsRefused,
    /// A continued call forgets what was done before.
    DoneForgotten,
    /// `mmuext_op` stores the done count where the domain is unknown.
    ExtendedDoneStored,

    /// A refused call ends its multicall.
    ErrorStopsList,
    /// A multicall writes all of every entry back, its spare argument cleared.
    EntryWrittenBack,
    /// A multicall's count has 64 bits.
    CountNotCut,
    /// The interim result of an interrupted entry is 0.
    InterimResultZero,

    /// A removal from an upper table is put away at once.
    RemovalNotContinued,
    /// A continued call's count is not marked as such.
    ContinuationUnmarked,
    /// The answer is lost when an old table is put away.
    ContinuationAnswerLost,
    /// Nothing interrupts the validation of a table.
    ValidationNotPreempted,
    /// Nothing interrupts a table's being let go.
    ReleaseNotPreempted,
    /// Nothing interrupts an array between two operations.
    ArrayNotPreempted,
    /// A table that was refused half-way is let go without its first entry.
    FirstEntryKept,
    /// The entry in front of which the validation of a table was interrupted is never validated.
    ResumeSkipsEntry,

    /// `update_va_mapping` changes nothing where its bitmap cannot be read.
    BitmapReadFirst,
    /// `update_va_mapping` succeeds where its bitmap cannot be read.
    BitmapFaultIgnored,
    /// Machine-to-physical words of the guest's frames are not stored.
    MachineWordLost,
    /// Machine-to-physical words of I/O frames cannot be stored.
    IoMachineWordRefused,
    /// A page table cannot be copied from.
    CopyFromTableRefused,
    /// Pages that are mapped read-only cannot be cleared.
    ClearReadOnlyRefused,

    /// An emulated store is checked as an update is, harmless changes not at all.
    EmulationFastPath,
    /// A store that the emulation refuses is dropped.
    EmulationRefusalIgnored,
    /// A store to an upper table is dropped.
    UpperStoreDropped,
    /// Descriptors keep their privilege level.
    DescriptorPrivilegeKept,
    /// System segments are accepted as descriptors.
    SystemSegmentAccepted,
}

/// Which rule is wrong, if any.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Planted {
    #[cfg(feature = "planted")]
    pub(crate) fault: Option<Fault>,
}

impl Planted {
    /// Whether the rule is wrong in this way.
    #[cfg(feature = "planted")]
    #[inline]
    pub(crate) fn has(self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Whether the rule is wrong in this way: never.
    #[cfg(not(feature = "planted"))]
    #[inline]
    pub(crate) const fn has(self, _fault: Fault) -> bool {
        false
    }

    /// The refusal, or another where that is the fault.
    pub(crate) fn refusal(self, fault: Fault, wrong: Errno, right: Errno) -> Errno {
        if self.has(fault) { wrong } else { right }
    }
}
