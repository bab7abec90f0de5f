//! One frame's type and counts, and the only ways they change.
//!
//! Two counts, as in Xen's frame table (`struct page_info`): the *general* count is one for the
//! allocation and one for every use; the *type* count is one for every use that needs the frame to
//! be what its type says. A frame changes its type only while the type count is 0. A page table
//! loses `validated` with its last type reference and keeps its type; writable and descriptor
//! frames stay validated.

use hypercall::Level;

/// What a frame is used as (`PGT_*` of Xen's `asm/mm.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FrameType {
    /// Nothing that restricts its contents.
    None,
    /// A page table of this level.
    Table(Level),
    /// A page of descriptors.
    Descriptors,
    /// Mapped writable.
    Writable,
}

/// Who owns a frame that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Owner {
    /// The guest.
    Domain,
    /// `DOMID_IO`.
    Io,
    /// `DOMID_XEN`: the machine-to-physical table.
    Xen,
    /// Nobody: Xen's own memory and what is free.
    Nobody,
}

/// A frame as Xen's frame table describes it at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameView {
    /// Its owner.
    pub owner: Owner,
    /// Its type.
    pub kind: FrameType,
    /// References that rely on the type.
    pub type_count: u64,
    /// All references, the allocation included.
    pub general_count: u64,
    /// Whether one of the references is a pin.
    pub pinned: bool,
    /// Whether its contents have been checked for its type.
    pub validated: bool,
}

/// What asking for a type found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The reference is taken.
    Taken,
    /// The reference is taken; the contents must be checked before anybody relies on it.
    ToValidate,
    /// The frame is in use as something else.
    InUse,
}

/// Type and counts of a frame the guest owns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameState {
    pub(crate) kind: FrameType,
    pub(crate) type_count: u64,
    pub(crate) general_count: u64,
    pub(crate) pinned: bool,
    pub(crate) validated: bool,
}

impl FrameState {
    /// A frame just given to the guest.
    pub(crate) const ALLOCATED: Self =
        Self { kind: FrameType::None, type_count: 0, general_count: 1, pinned: false, validated: false };

    /// A frame Xen shares with the guest for writing (`shared_info`).
    pub(crate) const SHARED: Self =
        Self { kind: FrameType::Writable, type_count: 1, general_count: 1, pinned: false, validated: true };

    /// Takes a general and a type reference.
    pub(crate) fn claim(&mut self, kind: FrameType) -> Claim {
        if self.type_count > 0 && self.kind != kind {
            return Claim::InUse;
        }
        if self.kind != kind {
            (self.kind, self.validated) = (kind, kind == FrameType::Writable);
        }
        self.type_count += 1;
        self.general_count += 1;
        if self.validated { Claim::Taken } else { Claim::ToValidate }
    }

    /// Gives a general and a type reference back; whether a table's contents are now to be let go.
    pub(crate) fn unclaim(&mut self) -> bool {
        self.type_count -= 1;
        self.general_count -= 1;
        let table = matches!(self.kind, FrameType::Table(_));
        let last = table && self.type_count == 0;
        self.validated &= !last;
        last
    }

    /// Takes back a claim whose contents were refused: the frame has no type afterwards.
    pub(crate) const fn abandon(&mut self) {
        self.general_count -= 1;
        (self.kind, self.type_count, self.validated) = (FrameType::None, 0, false);
    }

    /// Whether the frame is in use as a page table now.
    pub(crate) const fn table(&self) -> Option<Level> {
        match self.kind {
            FrameType::Table(level) if self.validated && self.type_count > 0 => Some(level),
            _ => None,
        }
    }

    /// The frame as others may see it.
    pub(crate) const fn view(&self) -> FrameView {
        FrameView {
            owner: Owner::Domain,
            kind: self.kind,
            type_count: self.type_count,
            general_count: self.general_count,
            pinned: self.pinned,
            validated: self.validated,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L1: FrameType = FrameType::Table(Level::L1);

    #[test]
    fn a_type_changes_only_at_count_zero() {
        let mut state = FrameState::ALLOCATED;
        assert_eq!(state.claim(FrameType::Writable), Claim::Taken);
        assert_eq!(state.claim(L1), Claim::InUse);
        assert!(!state.unclaim());
        assert_eq!(state.claim(L1), Claim::ToValidate);
        assert_eq!((state.type_count, state.general_count), (1, 2));
    }

    #[test]
    fn a_table_loses_its_validation_with_the_last_reference_and_descriptors_keep_it() {
        let mut table = FrameState::ALLOCATED;
        table.claim(L1);
        table.validated = true;
        assert_eq!(table.claim(L1), Claim::Taken);
        assert!(!table.unclaim());
        assert!(table.unclaim());
        assert_eq!((table.kind, table.validated), (L1, false));

        let mut descriptors = FrameState::ALLOCATED;
        descriptors.claim(FrameType::Descriptors);
        descriptors.validated = true;
        assert!(!descriptors.unclaim());
        assert_eq!(descriptors.claim(FrameType::Descriptors), Claim::Taken);
    }

    #[test]
    fn refused_contents_leave_no_type() {
        let mut state = FrameState::ALLOCATED;
        state.claim(L1);
        state.abandon();
        assert_eq!((state.kind, state.type_count, state.general_count), (FrameType::None, 0, 1));
    }
}
