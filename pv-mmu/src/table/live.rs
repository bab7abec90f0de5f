//! A table in use.

use core::fmt;

use hypercall::{ENTRIES_PER_TABLE, Level, Mfn, MmuextOp, Operation, Pte, PteFlags, PteSlot};

use super::{
    Draft, Rewrite, TableMemory,
    draft::{NotValidated, pointing},
    own, remap,
};
use crate::{Asks, Failure, Platform, caller::Caller, rewrite::Reach};

/// What keeps a table live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) pinned: bool,
    /// The entry that points to it, and that entry's flags.
    pub(super) at: Option<(PteSlot, PteFlags)>,
}

impl Hold {
    pub(super) const PINNED: Self = Self { pinned: true, at: None };
}

/// A table that the processor may walk: read-only to the kernel, changed by queued operations on its
/// slots.
///
/// It is held by a pin, by one entry of a table above, or by both. Dropped, it stays what it is, and its page is
/// lost to the kernel.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::{Level, TaskContext};
/// use pv_mmu::{Mmu, TaskState, table::Draft};
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut outside = Mmu::new(&kernel).outside(&mut task, &context);
///
/// // A table that maps a page table writable is refused, and comes back as it was.
/// let mut draft = Draft::new(Page::new(&guest, 15), Level::L1);
/// draft.store(3, guest.refused_pte());
/// let refused = draft.validate(&mut outside).unwrap_err();
/// assert_eq!(refused.failure.errno(), Some(hypercall::Errno::BUSY));
///
/// let mut draft = refused.draft;
/// draft.store(3, guest.pte(3));
/// let live = draft.validate(&mut outside).unwrap();
/// assert_eq!(live.slot(3).table(), guest.page(15));
/// # drop(live);
/// ```
#[must_use = "a live table is a page; retire it to get that back"]
pub struct Live<M> {
    pub(super) memory: M,
    pub(super) level: Level,
    pub(super) hold: Hold,
}

impl<M: TableMemory> fmt::Debug for Live<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        super::describe(f, "live", self.memory.frame(), self.level)
    }
}

/// A table was not given up: it is live as before.
#[derive(Debug)]
pub struct NotRetired<M: TableMemory> {
    /// The table.
    pub live: Live<M>,
    /// The hypervisor's refusal: as a rule of the writable alias, because an entry that is not this
    /// table's [`Live::attach`] still points to it.
    pub failure: Failure,
}

impl<M: TableMemory> fmt::Display for NotRetired<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} was not given up: {}", self.live, self.failure)
    }
}

impl<M: TableMemory> core::error::Error for NotRetired<M> {}

/// Why a table was not rewritten.
#[derive(Debug)]
pub enum NotRewritten<M: TableMemory> {
    /// It was not given up; nothing has changed.
    Retired(NotRetired<M>),
    /// It has been rewritten, and Xen does not accept it: it is a draft with the new entries, in which the
    /// caller finds what each was made from ([`Live::rewrite`]), and nothing points to it.
    Validated(NotValidated<M>),
}

impl<M: TableMemory> fmt::Display for NotRewritten<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retired(error) => error.fmt(f),
            Self::Validated(error) => error.fmt(f),
        }
    }
}

impl<M: TableMemory> core::error::Error for NotRewritten<M> {}

impl<M: TableMemory> Live<M> {
    /// Its level.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Its frame.
    #[must_use]
    pub fn frame(&self) -> Mfn {
        self.memory.frame()
    }

    /// Its entry `index`, 0 to 511, for operations on it.
    #[must_use]
    pub fn slot(&self, index: usize) -> PteSlot {
        PteSlot::of(self.frame(), index)
    }

    /// The entry that points to it.
    #[must_use]
    pub const fn attached_at(&self) -> Option<PteSlot> {
        match self.hold.at {
            Some((at, _)) => Some(at),
            None => None,
        }
    }

    /// Lets the entry `at`, one level above, point to it with `flags`; from the entry that did so before it
    /// is taken away in a hypercall of its own, once the new one is there: so the table stays validated.
    ///
    /// # Errors
    /// The hypervisor's refusal; the entry that pointed to it before does so still.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn attach(&mut self, by: &mut impl Asks, at: PteSlot, flags: PteFlags) -> Result<(), Failure> {
        let mut reach = by.reach();
        let caller = Caller::here();
        reach.together([], pointing(at, Pte::new(self.frame(), flags)), caller)?;
        if let Some((before, _)) = self.hold.at.replace((at, flags)).filter(|(before, _)| !before.same_entry(at)) {
            reach.undo(pointing(before, Pte::EMPTY), caller);
        }
        Ok(())
    }

    /// Gives it up: entry, pin, and alias writable, in one hypercall with what is queued. It comes back with what
    /// it held last.
    ///
    /// Where other vCPUs may have its root loaded they are made to leave it before
    /// ([`Platform::flush_others`](crate::Platform::flush_others)). An access through it from then on
    /// faults; Xen flushes every TLB when the entry above goes.
    ///
    /// # Errors
    /// [`NotRetired`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn retire(self, by: &mut impl Asks) -> Result<Draft<M>, NotRetired<M>> {
        self.give_up(&mut by.reach(), Caller::here())
    }

    fn give_up<P: Platform>(self, reach: &mut Reach<'_, P>, caller: Caller) -> Result<Draft<M>, NotRetired<M>> {
        let writable = remap(self.memory.alias(), true);
        let entry = self.hold.at.map(|(at, _)| pointing(at, Pte::EMPTY));
        let unpin = self.hold.pinned.then(|| own(MmuextOp::Unpin { table: self.frame() }));
        let given_up = match (entry, unpin) {
            (Some(entry), Some(unpin)) => reach.together([entry, unpin], writable, caller),
            (Some(one), None) | (None, Some(one)) => reach.together([one], writable, caller),
            (None, None) => reach.together([], writable, caller),
        };
        match given_up {
            Ok(()) => Ok(Draft::new(self.memory, self.level)),
            Err(failure) => {
                self.held_again().into_iter().flatten().for_each(|operation| reach.undo(operation, caller));
                Err(NotRetired { live: self, failure })
            }
        }
    }

    /// What makes it live by the same holds as before.
    fn held_again(&self) -> [Option<Operation>; 2] {
        let pin = self.hold.pinned.then(|| own(MmuextOp::Pin { level: self.level, table: self.frame() }));
        let entry = self.hold.at.map(|(at, flags)| pointing(at, Pte::new(self.frame(), flags)));
        [pin, entry]
    }

    /// Changes `changes` of its entries or fewer: `pte_of` gives the new entry for each number and what it
    /// holds, or `None` to leave it as it is. Only for a table whose lock, and the one of the entry that points
    /// to it, the caller holds.
    ///
    /// Few changes of an L1 table are made by updates, as [`modify_range`](crate::ReadModifyWrite::modify_range) makes them.
    /// Where the measured costs say so ([`Rewrite::choose`]) the table is given up, written by plain stores
    /// and made live again, two hypercalls for however many changes. Meanwhile an access through it by
    /// another vCPU faults on the entry above, which is empty: the handler has to wait for that entry's lock, and look
    /// again; it must not put a new table there. Accessed and dirty bits handed to `pte_of` are final then, and
    /// it keeps them or not; with updates the hardware's are kept by Xen. `pte_of` must not use the library.
    ///
    /// # Errors
    /// [`NotRewritten`]. Updates that are refused are told as failures of the caller's context are.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn rewrite(
        self,
        by: &mut impl Asks,
        changes: usize,
        mut pte_of: impl FnMut(usize, Pte) -> Option<Pte>,
    ) -> Result<Self, NotRewritten<M>> {
        let (mut reach, caller) = (by.reach(), Caller::here());
        // The fuller the table, the dearer it is to give up: so many changes need no count.
        let full = Rewrite::choose(ENTRIES_PER_TABLE, changes) == Rewrite::Stores;
        let is_present = |index: &usize| self.memory.load(*index).is_present();
        let present = if full { ENTRIES_PER_TABLE } else { (0..ENTRIES_PER_TABLE).filter(is_present).count() };
        if self.level == Level::L1 && Rewrite::choose(present, changes) == Rewrite::Updates {
            let first = self.slot(0);
            reach.modify(first, ENTRIES_PER_TABLE, |n, known| pte_of(n, known.pte()), caller);
            return Ok(self);
        }
        let hold = self.hold;
        let mut draft = self.give_up(&mut reach, caller).map_err(NotRewritten::Retired)?;
        for index in 0..ENTRIES_PER_TABLE {
            if let Some(pte) = pte_of(index, draft.load(index)) {
                draft.store(index, pte);
            }
        }
        draft.revive(&mut reach, hold, caller).map_err(NotRewritten::Validated)
    }
}
