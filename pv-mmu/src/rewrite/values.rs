//! What is known of an entry, and when.
//!
//! Under the lock of its table an entry's frame and flags are the kernel's alone, and known as soon as
//! they are read. Its accessed and dirty bits are the hardware's until the entry is not present any
//! more: what is read of them before is no more than a lower bound. So there are two types, and only the
//! second is made of an entry that the hypervisor has emptied.

use core::fmt;

use hypercall::{ENTRIES_PER_TABLE, Mfn, Pte, PteFlags, PteSlot};

/// An entry as the caller's own operations have left it, pending ones included (R11).
///
/// Frame and flags are certain while the caller holds the entry's lock; accessed and dirty may be set
/// by the hardware at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known(Pte);

impl Known {
    pub(crate) const fn new(pte: Pte) -> Self {
        Self(pte)
    }

    /// The entry, with the accessed and dirty bits that were set when it was read.
    #[must_use]
    pub const fn pte(self) -> Pte {
        self.0
    }

    /// The frame it names; meaningful in a present entry.
    #[must_use]
    pub const fn frame(self) -> Mfn {
        self.0.frame()
    }

    /// Its flags but for accessed and dirty.
    #[must_use]
    pub const fn flags(self) -> PteFlags {
        self.0.flags().without(PteFlags::ACCESSED_DIRTY)
    }

    /// Which of accessed and dirty were set when it was read. Either may have been set since.
    #[must_use]
    pub fn noted_so_far(self) -> PteFlags {
        self.0.flags() & PteFlags::ACCESSED_DIRTY
    }

    /// Whether it translates.
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.0.is_present()
    }

    /// Whether it translates for stores too.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.0.flags().contains(PteFlags::PRESENT.union(PteFlags::RW))
    }

    /// The entry without the right to store.
    #[must_use]
    pub const fn write_protected(self) -> Pte {
        self.0.with_flags(self.0.flags().without(PteFlags::RW))
    }
}

/// What an emptied entry held last: its accessed and dirty bits are final, because the hardware notes
/// nothing in an entry that is not present.
///
/// Stores through a translation that some vCPU's TLB still holds need no note: such a TLB has noted the
/// page as dirty already, or looks the entry up again and faults. They are over once the TLB is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub(super) slot: PteSlot,
    pub(super) pte: Pte,
}

impl Held {
    const NOTHING: Self = Self { slot: PteSlot::from_bits(0), pte: Pte::EMPTY };

    /// Where.
    #[must_use]
    pub const fn slot(self) -> PteSlot {
        self.slot
    }

    /// The entry, accessed and dirty as the hardware left them.
    #[must_use]
    pub const fn pte(self) -> Pte {
        self.pte
    }

    /// The frame it named; meaningful where it was present.
    #[must_use]
    pub const fn frame(self) -> Mfn {
        self.pte.frame()
    }

    /// Whether it translated.
    #[must_use]
    pub const fn was_present(self) -> bool {
        self.pte.is_present()
    }

    /// Whether the page was stored to through it.
    #[must_use]
    pub const fn was_dirty(self) -> bool {
        self.pte.flags().contains(PteFlags::DIRTY)
    }

    /// Whether the page was used through it.
    #[must_use]
    pub const fn was_accessed(self) -> bool {
        self.pte.flags().contains(PteFlags::ACCESSED)
    }
}

/// Room for what `N` entries held: 16 bytes for each. Nothing can be had of it but through
/// [`Harvest::finish`](super::Harvest::finish), so nothing that is not final.
#[derive(Debug)]
pub struct HeldBuffer<const N: usize = 64> {
    pub(super) cells: [Held; N],
}

impl<const N: usize> HeldBuffer<N> {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { cells: [Held::NOTHING; N] }
    }
}

impl<const N: usize> Default for HeldBuffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// An entry was not emptied: the hypervisor refused it or it was not attempted, as is told where this
/// caller's failures are told (R14). It still translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotCleared {
    /// Which.
    pub slot: PteSlot,
}

impl fmt::Display for NotCleared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} was not emptied; the failure is told with the others", self.slot)
    }
}

impl core::error::Error for NotCleared {}

/// A change of an entry under way, from [`modify_start`](super::ReadModifyWrite::modify_start) to
/// [`modify_commit`](super::ReadModifyWrite::modify_commit). Dropped, it changes nothing.
#[must_use = "nothing changes before the change is committed"]
#[derive(Debug)]
pub struct Modification {
    pub(super) slot: PteSlot,
    pub(super) known: Known,
}

impl Modification {
    /// What the entry holds.
    #[must_use]
    pub const fn known(&self) -> Known {
        self.known
    }
}

/// The entries of a range that had been used, by their number in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Young {
    words: [u64; ENTRIES_PER_TABLE / 64],
}

impl Young {
    pub(crate) const NONE: Self = Self { words: [0; ENTRIES_PER_TABLE / 64] };

    pub(crate) fn add(&mut self, n: usize) {
        if let Some(word) = self.words.get_mut(n / 64) {
            *word |= 1 << (n % 64);
        }
    }

    /// Whether entry `n` of the range had been used.
    #[must_use]
    pub fn contains(&self, n: usize) -> bool {
        self.words.get(n / 64).is_some_and(|word| word >> (n % 64) & 1 == 1)
    }

    /// How many had been.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether none had been.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }
}
