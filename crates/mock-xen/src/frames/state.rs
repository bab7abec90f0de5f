//! One frame's type and counts, and the only ways they change.
//!
//! Two counts, as in Xen's frame table (`struct page_info`): the *general* count is one for the
//! allocation and one for every use; the *type* count is one for every use that needs the frame to
//! be what its type says. A frame changes its type only while the type count is 0. A page table
//! loses `validated` with its last type reference and keeps its type; writable and descriptor
//! frames stay validated.
//!
//! Between the first type reference and `validated`, and again between the last one and 0, a table
//! is being gone through. Where that is interrupted, the frame is *partial*: one type reference
//! that nobody else has, one general reference of its own, and a [`Progress`].

use std::hash::{Hash, Hasher};

use hypercall::{ENTRIES_PER_TABLE, Level};

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
    /// Whether checking its contents, or letting them go, was interrupted.
    pub partial: bool,
    /// Of a table: how many of its entries map other tables of its own level; negative: how many
    /// entries of other tables of its level map it.
    pub linear: i16,
}

/// What asking for a type found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The reference is taken.
    Taken,
    /// The reference is taken; the contents must be checked before anybody relies on it.
    Validate,
    /// The frame was partial, and the checks go on where they stopped.
    Resume,
    /// The frame is in use as something else.
    InUse,
}

/// What giving a type reference back leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unclaim {
    /// Nothing: others hold the type, or its contents stand for nothing.
    Given,
    /// It was the last of a table: the contents must be let go.
    LetGo {
        /// Whether the table was partial, with a reference of its own.
        partial: bool,
    },
    /// Nothing was given back: the frame is not partial any more.
    NotPartial,
}

/// How far through a table's entries a check, or its undoing, has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    /// Entries that stand for references, from the first on.
    pub(crate) entries: usize,
    /// Whether the entry behind them holds a general reference on a partial table.
    pub(crate) next_held: bool,
}

impl Progress {
    /// Every entry stands for its references.
    pub(crate) const COMPLETE: Self = Self { entries: ENTRIES_PER_TABLE, next_held: false };
}

/// Type and counts of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameState {
    pub(crate) kind: FrameType,
    pub(crate) type_count: u64,
    pub(crate) general_count: u64,
    pub(crate) pinned: bool,
    pub(crate) validated: bool,
    pub(crate) partial: bool,
    /// Meaningful while partial or being gone through.
    pub(crate) progress: Progress,
    /// See [`FrameView::linear`].
    pub(crate) linear: i16,
    /// References that Xen has lost sight of: no one will ever give them back.
    pub(crate) lost: u64,
    /// When the type count last became 0, by the clock of TLB flushes.
    pub(crate) unused_since: u64,
}

impl FrameState {
    /// A frame just given to the guest.
    pub(crate) const ALLOCATED: Self = Self {
        kind: FrameType::None,
        type_count: 0,
        general_count: 1,
        pinned: false,
        validated: false,
        partial: false,
        progress: Progress { entries: 0, next_held: false },
        linear: 0,
        lost: 0,
        unused_since: 0,
    };

    /// A frame Xen shares with the guest for writing (`shared_info`).
    pub(crate) const SHARED: Self =
        Self { kind: FrameType::Writable, type_count: 1, validated: true, ..Self::ALLOCATED };

    /// A frame Xen shares with the guest for reading (the machine-to-physical table).
    pub(crate) const SHARED_READ_ONLY: Self = Self { kind: FrameType::None, ..Self::SHARED };

    /// Takes a type reference.
    ///
    /// Where the frame changes its type by it, the second answer is since when it was not in use:
    /// a processor that has not flushed its TLB since may still have it as what it was.
    pub(crate) fn claim(&mut self, kind: FrameType) -> (Claim, Option<u64>) {
        if self.type_count > 0 {
            return (self.claim_again(kind), None);
        }
        let stale = (self.kind != kind).then_some(self.unused_since);
        if stale.is_some() {
            (self.kind, self.validated) = (kind, kind == FrameType::Writable);
        }
        self.type_count = 1;
        if self.validated {
            return (Claim::Taken, stale);
        }
        (self.progress, self.linear) = (Progress::default(), 0);
        (Claim::Validate, stale)
    }

    fn claim_again(&mut self, kind: FrameType) -> Claim {
        if self.kind != kind {
            return Claim::InUse;
        }
        if self.partial {
            self.partial = false;
            return Claim::Resume;
        }
        self.type_count += 1;
        Claim::Taken
    }

    /// Gives a type reference back at time `now`; `partial` says that what is given back is the
    /// one of a partial table, if the frame still is one.
    pub(crate) fn unclaim(&mut self, partial: bool, now: u64) -> Unclaim {
        if partial && !self.partial {
            return Unclaim::NotPartial;
        }
        if self.type_count == 1 && matches!(self.kind, FrameType::Table(_)) {
            if !self.partial {
                self.progress = Progress::COMPLETE;
            }
            self.validated = false;
            return Unclaim::LetGo { partial: std::mem::take(&mut self.partial) };
        }
        self.give(now);
        Unclaim::Given
    }

    /// Takes the last step of giving a type reference back.
    ///
    /// There is always one to give back, except where a fault has been planted.
    pub(crate) const fn give(&mut self, now: u64) {
        debug_assert!(self.type_count > 0 || cfg!(feature = "planted"), "a type reference given back twice");
        self.type_count = self.type_count.saturating_sub(1);
        if self.type_count == 0 {
            self.unused_since = now;
        }
    }

    /// Leaves the table partial: what goes on with it finds it so, and it holds itself.
    pub(crate) const fn interrupt(&mut self) {
        self.partial = true;
        self.general_count += 1;
    }

    /// Takes the type away from a frame whose contents were refused and of which nothing is left
    /// to be let go.
    pub(crate) const fn forget_type(&mut self) {
        (self.kind, self.type_count, self.validated, self.pinned) = (FrameType::None, 0, false, false);
    }

    /// Whether the frame is in use as a page table now.
    pub(crate) const fn table(&self) -> Option<Level> {
        match self.kind {
            FrameType::Table(level) if self.validated && self.type_count > 0 => Some(level),
            _ => None,
        }
    }

    /// Feeds everything but the time it was last in use, which means nothing by itself.
    pub(crate) fn digest(&self, hasher: &mut impl Hasher) {
        let flags = [self.pinned, self.validated, self.partial];
        (self.kind, self.type_count, self.general_count, flags, self.linear, self.lost).hash(hasher);
        // Meaningless elsewhere, and different for different ways to the same end.
        if self.partial {
            self.progress.hash(hasher);
        }
    }

    /// The frame as others may see it.
    pub(crate) const fn view(&self, owner: Owner) -> FrameView {
        FrameView {
            owner,
            kind: self.kind,
            type_count: self.type_count,
            general_count: self.general_count,
            pinned: self.pinned,
            validated: self.validated,
            partial: self.partial,
            linear: self.linear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const L1: FrameType = FrameType::Table(Level::L1);
    const L3: FrameType = FrameType::Table(Level::L3);

    #[test]
    fn a_type_changes_only_at_count_zero() {
        let mut state = FrameState::ALLOCATED;
        assert_eq!(state.claim(FrameType::Writable), (Claim::Taken, Some(0)));
        assert_eq!(state.claim(L1), (Claim::InUse, None));
        assert_eq!(state.unclaim(false, 7), Unclaim::Given);
        assert_eq!(state.claim(L1), (Claim::Validate, Some(7)));
        assert_eq!(state.type_count, 1);
    }

    #[test]
    fn a_table_loses_its_validation_with_the_last_reference_and_descriptors_keep_it() {
        let mut table = FrameState::ALLOCATED;
        table.claim(L1);
        table.validated = true;
        assert_eq!(table.claim(L1), (Claim::Taken, None));
        assert_eq!(table.unclaim(false, 1), Unclaim::Given);
        assert_eq!(table.unclaim(false, 1), Unclaim::LetGo { partial: false });
        assert_eq!((table.kind, table.validated, table.progress), (L1, false, Progress::COMPLETE));

        let mut descriptors = FrameState::ALLOCATED;
        descriptors.claim(FrameType::Descriptors);
        descriptors.validated = true;
        assert_eq!(descriptors.unclaim(false, 1), Unclaim::Given);
        assert_eq!(descriptors.claim(FrameType::Descriptors), (Claim::Taken, None));
    }

    #[test]
    fn a_partial_table_is_resumed_or_let_go_once() {
        let mut table = FrameState::ALLOCATED;
        table.claim(L3);
        table.progress.entries = 5;
        table.interrupt();
        assert_eq!((table.type_count, table.general_count, table.table()), (1, 2, None));
        assert_eq!(table.claim(FrameType::Writable), (Claim::InUse, None));
        assert_eq!(table.claim(L3), (Claim::Resume, None));
        assert_eq!((table.type_count, table.progress.entries), (1, 5));
        assert_eq!(table.unclaim(true, 1), Unclaim::NotPartial);
        table.partial = true;
        assert_eq!(table.unclaim(true, 1), Unclaim::LetGo { partial: true });
        assert_eq!(table.progress.entries, 5);
    }

    #[test]
    fn refused_contents_leave_no_type() {
        let mut state = FrameState::ALLOCATED;
        state.claim(L1);
        state.forget_type();
        assert_eq!((state.kind, state.type_count, state.general_count), (FrameType::None, 0, 1));
    }
}
