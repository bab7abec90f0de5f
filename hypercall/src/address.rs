//! Addresses and frame numbers, one type per meaning.

use core::fmt;

/// Bits of an address below the frame number.
pub const PAGE_SHIFT: u32 = 12;
/// Bytes in a page.
pub const PAGE_SIZE: u64 = 1 << PAGE_SHIFT;
/// Bits of a machine address the architecture can express.
const MACHINE_BITS: u32 = 52;

/// Why a number is not an address of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// The virtual address is not canonical: bits 63 to 47 differ.
    NotCanonical(u64),
    /// The machine address has bits at or above 52.
    BeyondMachine(u64),
    /// A page-table entry lies at a multiple of 8.
    Unaligned(u64),
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotCanonical(value) => write!(f, "virtual address {value:#x} is not canonical"),
            Self::BeyondMachine(value) => write!(f, "machine address {value:#x} has bits above 51"),
            Self::Unaligned(value) => write!(f, "entry address {value:#x} is not a multiple of 8"),
        }
    }
}

impl core::error::Error for AddressError {}

macro_rules! frame_number {
    ($(#[$doc:meta])* $name:ident, $label:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// The frame with this number. Any number may be named; a hypervisor refuses those
            /// that are no frames.
            #[must_use]
            pub const fn new(number: u64) -> Self {
                Self(number)
            }

            /// The number.
            #[must_use]
            pub const fn number(self) -> u64 {
                self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, " {:#x}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

frame_number! {
    /// A machine frame number: what hypercalls and page-table entries name.
    ///
    /// ```
    /// use hypercall::{AddressError, MachAddr, Mfn};
    ///
    /// let frame = Mfn::new(0x103);
    /// assert_eq!((frame.base()?.value(), MachAddr::new(0x10_3ff8)?.frame()), (0x10_3000, frame));
    /// # Ok::<(), AddressError>(())
    /// ```
    Mfn, "mfn"
}
frame_number! {
    /// A pseudo-physical frame number: the guest's own, gapless count of its frames.
    Pfn, "pfn"
}

impl Mfn {
    /// The machine address of the frame's first byte.
    ///
    /// # Errors
    /// [`AddressError::BeyondMachine`] for a frame number of more than 40 bits.
    pub const fn base(self) -> Result<MachAddr, AddressError> {
        if self.0 >> (MACHINE_BITS - PAGE_SHIFT) == 0 {
            Ok(MachAddr(self.0 << PAGE_SHIFT))
        } else {
            Err(AddressError::BeyondMachine(self.0.saturating_mul(PAGE_SIZE)))
        }
    }
}

/// A machine address, below 2^52.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct MachAddr(u64);

impl MachAddr {
    /// The machine address `value`.
    ///
    /// # Errors
    /// [`AddressError::BeyondMachine`] for a value of more than 52 bits.
    pub const fn new(value: u64) -> Result<Self, AddressError> {
        if value >> MACHINE_BITS == 0 { Ok(Self(value)) } else { Err(AddressError::BeyondMachine(value)) }
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// The frame it lies in.
    #[must_use]
    pub const fn frame(self) -> Mfn {
        Mfn(self.0 >> PAGE_SHIFT)
    }
}

/// A virtual address as an operation carries it.
///
/// Xen answers a non-canonical address in some operations with success and in others with
/// `-EINVAL`, so such a value can be named: [`VirtAddr::new`] is for a guest, which has no use for
/// one, [`VirtAddr::unchecked`] for what decodes words or asks on purpose.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct VirtAddr(u64);

impl VirtAddr {
    /// The canonical address `value`.
    ///
    /// # Errors
    /// [`AddressError::NotCanonical`] where bits 63 to 47 are not all equal.
    pub const fn new(value: u64) -> Result<Self, AddressError> {
        if Self(value).is_canonical() { Ok(Self(value)) } else { Err(AddressError::NotCanonical(value)) }
    }

    /// The address `value`, canonical or not.
    #[must_use]
    pub const fn unchecked(value: u64) -> Self {
        Self(value)
    }

    /// Whether bits 63 to 47 are all equal.
    #[must_use]
    pub const fn is_canonical(self) -> bool {
        let top = (self.0 as i64) >> 47;
        top == 0 || top == -1
    }

    /// The number.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }
}

macro_rules! address_debug {
    ($name:ident, $label:literal) => {
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, " {:#x}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self, f)
            }
        }
    };
}

address_debug!(MachAddr, "machine");
address_debug!(VirtAddr, "va");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_canonical_addresses_pass_the_check() {
        for good in [0, 0x7fff_ffff_ffff, 0xffff_8000_0000_0000, u64::MAX] {
            assert_eq!(VirtAddr::new(good).map(VirtAddr::value), Ok(good));
        }
        for bad in [1 << 47, 1 << 63, 0xffff_0000_0000_0000] {
            assert_eq!(VirtAddr::new(bad), Err(AddressError::NotCanonical(bad)));
        }
    }

    #[test]
    fn a_machine_address_has_52_bits() {
        assert_eq!(MachAddr::new(0x1234_5678).unwrap().frame(), Mfn::new(0x12345));
        assert_eq!(MachAddr::new(1 << 52), Err(AddressError::BeyondMachine(1 << 52)));
        assert_eq!(Mfn::new(1 << 40).base(), Err(AddressError::BeyondMachine(1 << 52)));
        assert_eq!(Mfn::new((1 << 40) - 1).base().map(MachAddr::frame), Ok(Mfn::new((1 << 40) - 1)));
    }
}
