//! What Xen does to an entry's flags, and which changes it lets through unchecked.
//!
//! A privileged domain may set any flag of an L1 entry; an entry of a higher level must not set a
//! cache attribute, `PSE` or `GLOBAL`.

use hypercall::{Level, Pte, PteFlags};

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
}

const UPPER_REFUSED: PteFlags = PteFlags::PWT.union(PteFlags::PCD).union(PteFlags::PSE).union(PteFlags::GLOBAL);
/// Bits 9 to 11 and 52 to 62, which the processor ignores.
const AVAILABLE: PteFlags = PteFlags::from_bits_truncate(0x7ff0_0000_0000_0e00);
/// Flags that may change without the entry's references being looked at again. RW is not among
/// them, nor is it for upper levels (XSA-182).
const UNCHECKED: PteFlags =
    AVAILABLE.union(PteFlags::NX).union(PteFlags::GLOBAL).union(PteFlags::ACCESSED_DIRTY).union(PteFlags::USER);

/// Whether an entry of level 2 to 4 has a flag Xen refuses there.
pub(crate) fn refused_in_upper(entry: Pte) -> bool {
    entry.flags() & UPPER_REFUSED != PteFlags::NONE
}

/// The flags under which Xen stores a present entry of `level`.
///
/// An L1 entry of the guest's kernel (no `USER`) is marked by bit 52 and made reachable from user
/// mode, in which the kernel of a 64-bit guest runs; one that is not so marked is `GLOBAL`.
pub(crate) fn adjusted(entry: Pte, level: Level) -> Pte {
    let flags = entry.flags();
    entry.with_flags(match level {
        Level::L1 if !flags.contains(PteFlags::USER) => flags | PteFlags::USER | PteFlags::GUEST_KERNEL,
        Level::L1 if flags.contains(PteFlags::GUEST_KERNEL) => flags,
        Level::L1 => flags | PteFlags::GLOBAL,
        Level::L2 | Level::L3 => flags | PteFlags::USER,
        Level::L4 => flags | PteFlags::USER | PteFlags::ACCESSED,
    })
}

/// Whether two entries differ in nothing that references depend on.
pub(crate) fn same_references(old: Pte, new: Pte) -> bool {
    (old.bits() ^ new.bits()) & !UNCHECKED.bits() == 0
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
            assert_eq!(adjusted(Pte::from_bits(asked), Level::L1).bits(), stored);
        }
    }

    #[test]
    fn rw_and_frame_changes_are_checked() {
        let old = Pte::from_bits(0x1067);
        for unchecked in [0x1007, 0x1e67, 0x7ff0_0000_0000_1067, 0x8000_0000_0000_1063] {
            assert!(same_references(old, Pte::from_bits(unchecked)), "{unchecked:#x}");
        }
        for checked in [0x1065, 0x2067, 0x1066, 0x1077, 0x10e7] {
            assert!(!same_references(old, Pte::from_bits(checked)), "{checked:#x}");
        }
    }
}
