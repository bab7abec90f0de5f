//! Domains: whose tables and whose frames an operation is about.

use core::fmt;

/// A domain's number, as hypercalls take it (16 bits).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct DomId(u16);

impl DomId {
    /// The calling domain. Its own number is refused with `-ESRCH`.
    pub const SELF: Self = Self(0x7ff0);
    /// Owner of I/O frames.
    pub const IO: Self = Self(0x7ff1);
    /// The hypervisor itself.
    pub const XEN: Self = Self(0x7ff2);
    /// Owner of copy-on-write frames.
    pub const COW: Self = Self(0x7ff3);
    /// Never a domain.
    pub const INVALID: Self = Self(0x7ff4);

    /// The domain with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Debug for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::SELF => f.write_str("DOMID_SELF"),
            Self::IO => f.write_str("DOMID_IO"),
            Self::XEN => f.write_str("DOMID_XEN"),
            Self(number) => write!(f, "domain {number}"),
        }
    }
}

impl fmt::Display for DomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Whose page tables an `mmu_update` writes and whose frames the new entries map: the hypercall's
/// fourth argument (`do_mmu_update`: table owner plus one in the upper half, frame owner in the
/// lower).
///
/// ```
/// use hypercall::{DomId, Subject};
///
/// // Entries of one's own tables that map frames of domain 5.
/// let subject = Subject::frames_of(DomId::new(5));
/// assert_eq!((subject.tables(), subject.frames()), (None, DomId::new(5)));
/// assert_eq!(Subject::from_bits(subject.bits()), subject);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Subject(u32);

impl Subject {
    /// Own tables, own frames.
    pub const SELF: Self = Self::frames_of(DomId::SELF);

    /// Own tables, frames of `frames`.
    #[must_use]
    pub const fn frames_of(frames: DomId) -> Self {
        Self(frames.0 as u32)
    }

    /// Tables of `tables`, frames of `frames`. `None` for domain 0xffff, which the word has no room for.
    #[must_use]
    pub const fn foreign(tables: DomId, frames: DomId) -> Option<Self> {
        match tables.0.checked_add(1) {
            Some(owner) => Some(Self((owner as u32) << 16 | frames.0 as u32)),
            None => None,
        }
    }

    /// The subject with this word.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The table owner; `None` is the caller.
    #[must_use]
    pub const fn tables(self) -> Option<DomId> {
        match self.0 >> 16 {
            0 => None,
            number => Some(DomId((number - 1) as u16)),
        }
    }

    /// The frame owner.
    #[must_use]
    pub const fn frames(self) -> DomId {
        DomId(self.0 as u16)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tables() {
            None => write!(f, "own tables, frames of {}", self.frames()),
            Some(tables) => write!(f, "tables of {tables}, frames of {}", self.frames()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_owners_come_back() {
        assert_eq!(Subject::SELF.bits(), 0x7ff0);
        assert_eq!(Subject::SELF.tables(), None);
        assert_eq!(Subject::foreign(DomId::new(0xffff), DomId::SELF), None);
        let foreign = Subject::foreign(DomId::new(5), DomId::IO).unwrap();
        assert_eq!(foreign.bits(), 6 << 16 | 0x7ff1);
        assert_eq!((foreign.tables(), foreign.frames()), (Some(DomId::new(5)), DomId::IO));
    }
}
