//! Virtual processors and sets of them.

use core::fmt;

/// A vCPU's number within its domain.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VcpuId(u32);

impl VcpuId {
    /// The vCPU with this number.
    #[must_use]
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vcpu {}", self.0)
    }
}

impl fmt::Display for VcpuId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// A set of vCPUs, as the bitmap that `TLB_FLUSH_MULTI`, `INVLPG_MULTI` and `update_va_mapping`
/// read. It has room for vCPUs 0 to [`VcpuMask::CAPACITY`] - 1; Xen reads as many words as the
/// domain has vCPUs, so a domain with more cannot use it.
///
/// ```
/// use hypercall::{VcpuId, VcpuMask};
///
/// let set = VcpuMask::EMPTY.with(VcpuId::new(0)).with(VcpuId::new(65));
/// assert_eq!(set.words(), &[0b1, 0b10]);
/// assert!(set.iter().eq([0, 65].map(VcpuId::new)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(transparent)]
pub struct VcpuMask([u64; Self::WORDS]);

impl VcpuMask {
    /// Words of the bitmap.
    pub const WORDS: usize = 2;
    /// vCPUs it has room for.
    pub const CAPACITY: u32 = 64 * Self::WORDS as u32;
    /// No vCPU.
    pub const EMPTY: Self = Self([0; Self::WORDS]);

    /// The set with these words.
    #[must_use]
    pub const fn from_words(words: [u64; Self::WORDS]) -> Self {
        Self(words)
    }

    /// The words, vCPU 0 in bit 0 of the first.
    #[must_use]
    pub const fn words(&self) -> &[u64; Self::WORDS] {
        &self.0
    }

    /// The set with `vcpu` added; one beyond [`VcpuMask::CAPACITY`] leaves it unchanged.
    #[must_use]
    pub const fn with(mut self, vcpu: VcpuId) -> Self {
        if vcpu.0 < Self::CAPACITY {
            self.0[(vcpu.0 / 64) as usize] |= 1 << (vcpu.0 % 64);
        }
        self
    }

    /// Whether `vcpu` is in the set.
    #[must_use]
    pub const fn contains(&self, vcpu: VcpuId) -> bool {
        vcpu.0 < Self::CAPACITY && self.0[(vcpu.0 / 64) as usize] & 1 << (vcpu.0 % 64) != 0
    }

    /// Whether every vCPU of `other` is in the set.
    #[must_use]
    pub const fn contains_all(&self, other: &Self) -> bool {
        other.0[0] & !self.0[0] == 0 && other.0[1] & !self.0[1] == 0
    }

    /// The vCPUs in both sets.
    #[must_use]
    pub const fn intersection(&self, other: &Self) -> Self {
        Self([self.0[0] & other.0[0], self.0[1] & other.0[1]])
    }

    /// The vCPUs in either set.
    #[must_use]
    pub const fn union(&self, other: &Self) -> Self {
        Self([self.0[0] | other.0[0], self.0[1] | other.0[1]])
    }

    /// Whether no vCPU is in the set.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0[0] | self.0[1] == 0
    }

    /// The vCPUs in the set, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = VcpuId> + use<> {
        let mask = *self;
        (0..Self::CAPACITY).map(VcpuId).filter(move |vcpu| mask.contains(*vcpu))
    }
}

impl FromIterator<VcpuId> for VcpuMask {
    fn from_iter<I: IntoIterator<Item = VcpuId>>(vcpus: I) -> Self {
        vcpus.into_iter().fold(Self::EMPTY, Self::with)
    }
}
