//! Page-table entries: the 64-bit word, its flags, the four levels.

use core::fmt;
use core::ops::{BitAnd, BitOr};

use crate::{Mfn, PAGE_SHIFT};

/// Entries in a table of any level.
pub const ENTRIES_PER_TABLE: usize = 512;
/// Bits 51 to 12: the frame number's place.
const FRAME_MASK: u64 = 0x000f_ffff_ffff_f000;

/// Flag bits of an entry: everything that is not the frame number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct PteFlags(u64);

impl PteFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// The entry translates.
    pub const PRESENT: Self = Self(1 << 0);
    /// Writable.
    pub const RW: Self = Self(1 << 1);
    /// Reachable from user mode. Xen sets it in every present PV entry.
    pub const USER: Self = Self(1 << 2);
    /// Write-through; with `PCD` and `PAT` it selects the cache attribute.
    pub const PWT: Self = Self(1 << 3);
    /// Cache disabled.
    pub const PCD: Self = Self(1 << 4);
    /// Set by the processor when it used the entry.
    pub const ACCESSED: Self = Self(1 << 5);
    /// Set by the processor when it wrote through an L1 entry.
    pub const DIRTY: Self = Self(1 << 6);
    /// In an L1 entry: the third bit of the cache attribute.
    pub const PAT: Self = Self(1 << 7);
    /// In an L2 or L3 entry: a superpage, which Xen refuses to a PV guest.
    pub const PSE: Self = Self(1 << 7);
    /// Survives a base-pointer load.
    pub const GLOBAL: Self = Self(1 << 8);
    /// Bit 52, by which Xen marks an L1 entry that the guest wrote as a kernel's own.
    pub const GUEST_KERNEL: Self = Self(1 << 52);
    /// Not executable.
    pub const NX: Self = Self(1 << 63);
    /// What the processor sets by itself.
    pub const ACCESSED_DIRTY: Self = Self(Self::ACCESSED.0 | Self::DIRTY.0);

    /// Whatever of `bits` lies outside the frame number's place.
    #[must_use]
    pub const fn from_bits_truncate(bits: u64) -> Self {
        Self(bits & !FRAME_MASK)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These flags without those of `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl BitOr for PteFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitAnd for PteFlags {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Debug for PteFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flags {:#x}", self.0)
    }
}

/// A page-table entry of any level, as the 64-bit word in memory.
///
/// Not every value is one Xen accepts, and any value without `PRESENT` is stored as it is.
///
/// ```
/// use hypercall::{Mfn, Pte, PteFlags};
///
/// let pte = Pte::new(Mfn::new(0x103), PteFlags::PRESENT | PteFlags::RW);
/// assert_eq!((pte.bits(), pte.frame()), (0x10_3003, Mfn::new(0x103)));
///
/// let read_only = pte.with_flags(pte.flags().without(PteFlags::RW));
/// assert!(read_only.is_present() && !read_only.flags().contains(PteFlags::RW));
///
/// // What an update that preserves them leaves of an entry that it empties.
/// assert!(Pte::from_bits(PteFlags::ACCESSED_DIRTY.bits()).is_none());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct Pte(u64);

impl Pte {
    /// The empty entry.
    pub const EMPTY: Self = Self(0);

    /// The entry that maps `frame` with `flags`; bits of the frame number above 39 are cut off.
    #[must_use]
    pub const fn new(frame: Mfn, flags: PteFlags) -> Self {
        Self((frame.number() << PAGE_SHIFT) & FRAME_MASK | flags.0)
    }

    /// The entry with this word.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The word.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The frame it names; meaningful in a present entry.
    #[must_use]
    pub const fn frame(self) -> Mfn {
        Mfn::new((self.0 & FRAME_MASK) >> PAGE_SHIFT)
    }

    /// Its flags.
    #[must_use]
    pub const fn flags(self) -> PteFlags {
        PteFlags::from_bits_truncate(self.0)
    }

    /// Whether it translates.
    #[must_use]
    pub const fn is_present(self) -> bool {
        self.flags().contains(PteFlags::PRESENT)
    }

    /// Whether nothing is in it but accessed and dirty bits: what an update that preserves them leaves of
    /// an entry it empties. The processor looks at neither in an entry that is not present, so to a
    /// kernel such an entry is as good as [`Pte::EMPTY`]; one that compares with 0 takes it for a swap entry.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 & !PteFlags::ACCESSED_DIRTY.0 == 0
    }

    /// The same frame with other flags.
    #[must_use]
    pub const fn with_flags(self, flags: PteFlags) -> Self {
        Self(self.0 & FRAME_MASK | flags.0)
    }
}

impl fmt::Debug for Pte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pte {:#x}", self.0)
    }
}

impl fmt::Display for Pte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Level of a table, counted from the one that maps pages.
///
/// ```
/// use hypercall::Level;
///
/// assert_eq!(Level::L2.below(), Some(Level::L1));
/// assert_eq!(Level::ALL.map(Level::number), [1, 2, 3, 4]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Maps 4 KiB pages.
    L1 = 1,
    /// Points to L1 tables.
    L2 = 2,
    /// Points to L2 tables.
    L3 = 3,
    /// The root.
    L4 = 4,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Self; 4] = [Self::L1, Self::L2, Self::L3, Self::L4];

    /// The level of the tables an entry of this level points to; `None` for L1.
    #[must_use]
    pub const fn below(self) -> Option<Self> {
        match self {
            Self::L1 => None,
            Self::L2 => Some(Self::L1),
            Self::L3 => Some(Self::L2),
            Self::L4 => Some(Self::L3),
        }
    }

    /// 1 to 4.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.number())
    }
}
