//! What Xen does to an entry's flags, and which changes it lets through unchecked.
//!
//! The hardware domain may set any flag of an L1 entry, another domain none that selects a cache
//! attribute (*unproved*, see [`crate::domain`]); an entry of a higher level must not set one, nor
//! `PSE` or `GLOBAL`.

use hypercall::{Level, Pte, PteFlags};

use crate::frames::CACHE_ATTRIBUTE;
use crate::planted::{Fault, Planted};

/// What an update does with the accessed and dirty flags the entry held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessedDirty {
    /// The new value replaces them.
    Replace,
    /// They are merged into the new value, even where that is not present.
    Preserve,
}

impl AccessedDirty {
    /// What is stored where `new` replaces `old`.
    pub(crate) fn merge(self, old: Pte, new: Pte) -> Pte {
        match self {
            Self::Replace => new,
            Self::Preserve => new.with_flags(new.flags() | (old.flags() & PteFlags::ACCESSED_DIRTY)),
        }
    }

    /// As [`AccessedDirty::merge`], with what is planted.
    pub(super) fn merge_entry(self, old: Pte, new: Pte, planted: Planted) -> Pte {
        let mut preserved = old;
        if planted.has(Fault::DirtyNotPreserved) {
            preserved = old.with_flags(old.flags().without(PteFlags::DIRTY));
        } else if planted.has(Fault::AccessedNotPreserved) {
            preserved = old.with_flags(old.flags().without(PteFlags::ACCESSED));
        } else if planted.has(Fault::AbsentNotPreserved) && !new.is_present() {
            return new;
        }
        self.merge(preserved, new)
    }
}

const UPPER_REFUSED: PteFlags = PteFlags::PWT.union(PteFlags::PCD).union(PteFlags::PSE).union(PteFlags::GLOBAL);
/// Bits 9 to 11 and 52 to 62, which the processor ignores.
const AVAILABLE: PteFlags = PteFlags::from_bits_truncate(0x7ff0_0000_0000_0e00);
/// Flags that may change without the entry's references being looked at again. RW is not among
/// them, nor is it for upper levels (XSA-182).
const UNCHECKED: PteFlags =
    AVAILABLE.union(PteFlags::NX).union(PteFlags::GLOBAL).union(PteFlags::ACCESSED_DIRTY).union(PteFlags::USER);

/// Whether an entry of level 2 to 4 has a flag Xen refuses there.
pub(crate) fn refused_in_upper(entry: Pte, planted: Planted) -> bool {
    let refused =
        if planted.has(Fault::UpperGlobalAccepted) { UPPER_REFUSED.without(PteFlags::GLOBAL) } else { UPPER_REFUSED };
    entry.flags() & refused != PteFlags::NONE
}

/// Whether an L1 entry has a flag that only a domain with I/O memory may set.
pub(super) fn refused_without_io(entry: Pte) -> bool {
    entry.flags() & CACHE_ATTRIBUTE != PteFlags::NONE
}

/// The flags under which Xen stores a present entry of `level`.
///
/// An L1 entry of the guest's kernel (no `USER`) is marked by bit 52 and made reachable from user
/// mode, in which the kernel of a 64-bit guest runs; one that is not so marked is `GLOBAL`.
pub(crate) fn adjusted(entry: Pte, level: Level, planted: Planted) -> Pte {
    let flags = entry.flags();
    let unless = |fault, set: PteFlags| if planted.has(fault) { PteFlags::NONE } else { set };
    let set = match level {
        Level::L1 if !flags.contains(PteFlags::USER) => {
            unless(Fault::UserNotSet, PteFlags::USER) | unless(Fault::KernelNotMarked, PteFlags::GUEST_KERNEL)
        }
        Level::L1 if flags.contains(PteFlags::GUEST_KERNEL) => PteFlags::NONE,
        Level::L1 => unless(Fault::GlobalNotSet, PteFlags::GLOBAL),
        Level::L2 | Level::L3 => unless(Fault::UpperUserNotSet, PteFlags::USER),
        Level::L4 => PteFlags::USER | unless(Fault::RootAccessedNotSet, PteFlags::ACCESSED),
    };
    entry.with_flags(flags | set)
}

/// Whether two entries differ in nothing that references depend on.
pub(crate) fn same_references(old: Pte, new: Pte, write_unchecked: bool) -> bool {
    let unchecked = if write_unchecked { UNCHECKED | PteFlags::RW } else { UNCHECKED };
    (old.bits() ^ new.bits()) & !unchecked.bits() == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l1_entries_read_back_as_measured() {
        let bit52 = PteFlags::GUEST_KERNEL.bits();
        for (asked, stored) in
            [(0x63, bit52 | 0x67), (0x67, 0x167), (bit52 | 0x67, bit52 | 0x67), (0x163, bit52 | 0x167)]
        {
            let adjusted = adjusted(Pte::from_bits(asked), Level::L1, Planted::default());
            assert_eq!(adjusted.bits(), stored);
        }
    }

    #[test]
    fn rw_and_frame_changes_are_checked() {
        let old = Pte::from_bits(0x1067);
        for unchecked in [0x1007, 0x1e67, 0x7ff0_0000_0000_1067, 0x8000_0000_0000_1063] {
            assert!(same_references(old, Pte::from_bits(unchecked), false), "{unchecked:#x}");
        }
        for checked in [0x1065, 0x2067, 0x1066, 0x1077, 0x10e7] {
            assert!(!same_references(old, Pte::from_bits(checked), false), "{checked:#x}");
        }
    }
}
