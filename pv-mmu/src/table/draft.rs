//! A table before and after its life: memory.

use core::fmt;

use hypercall::{ENTRIES_PER_TABLE, Level, Mfn, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, PteSlot, Subject};

use super::{Live, TableMemory, describe, live::Hold, own, remap};
use crate::{Asks, Failure, Platform, caller::Caller, rewrite::Reach};

/// A table that nothing reaches: plain memory, with what was stored in it or what it held when it was
/// given up.
///
/// Of a table that was given up, accessed and dirty bits are final: nothing walks it any more.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::{Level, Pte, TaskContext};
/// use pv_mmu::{Mmu, Operations, TaskState, table::Draft};
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut region = Mmu::new(&kernel).enter(&mut task, &context);
///
/// let mut draft = Draft::new(Page::new(&guest, 15), Level::L1);
/// draft.fill(|n| if n < 8 { guest.pte(n) } else { Pte::EMPTY }); // plain stores
/// let live = draft.validate(&mut region).unwrap();
/// region.set_pte(live.slot(0), Pte::EMPTY); // operations from here on
///
/// let draft = live.retire(&mut region).unwrap();
/// assert_eq!(draft.entries().count(), 7);
/// region.leave()?;
/// # Ok::<(), pv_mmu::Failures>(())
/// ```
#[must_use = "a draft is a page; make it live or take its memory back"]
pub struct Draft<M> {
    memory: M,
    level: Level,
}

impl<M: TableMemory> fmt::Debug for Draft<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, "draft of an", self.memory.frame(), self.level)
    }
}

/// A table was not made live: it comes back as it was.
#[derive(Debug)]
pub struct NotValidated<M: TableMemory> {
    /// The table.
    pub draft: Draft<M>,
    /// The hypervisor's refusal of the pin, or of the entry that was to point to it.
    pub failure: Failure,
}

impl<M: TableMemory> fmt::Display for NotValidated<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} was not made live: {}", self.draft, self.failure)
    }
}

impl<M: TableMemory> core::error::Error for NotValidated<M> {}

impl<M: TableMemory> Draft<M> {
    /// A table of `level` in `memory`, whose alias is writable, with what is stored there.
    pub const fn new(memory: M, level: Level) -> Self {
        Self { memory, level }
    }

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

    /// Entry `index`, 0 to 511.
    #[must_use]
    pub fn load(&self, index: usize) -> Pte {
        self.memory.load(index)
    }

    /// Stores entry `index`, 0 to 511.
    pub fn store(&mut self, index: usize, pte: Pte) {
        self.memory.store(index, pte);
    }

    /// Stores every entry; `pte_of` gives each.
    pub fn fill(&mut self, mut pte_of: impl FnMut(usize) -> Pte) {
        (0..ENTRIES_PER_TABLE).for_each(|index| self.memory.store(index, pte_of(index)));
    }

    /// The entries that are not none, with their numbers.
    pub fn entries(&self) -> impl Iterator<Item = (usize, Pte)> {
        (0..ENTRIES_PER_TABLE).map(|index| (index, self.load(index))).filter(|(_, pte)| !pte.is_none())
    }

    /// Empties the entry by which this table, when it was live, pointed to `table`, which nothing holds then but
    /// its pin, if it has one. `false` where no entry of this table did.
    pub fn unlink(&mut self, table: &mut Live<M>) -> bool {
        let Some((at, _)) = table.hold.at.take_if(|(at, _)| at.table() == self.memory.frame()) else { return false };
        self.store(at.index(), Pte::EMPTY);
        true
    }

    /// Takes the page back.
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// Makes it live by a pin: alias read-only and pin, in one hypercall with what is queued.
    ///
    /// # Errors
    /// [`NotValidated`]: Xen does not accept an entry, or some other mapping of the page is writable.
    /// Entries before the refused one may have gained `USER`, `GLOBAL` or bit 52, as in a live table.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn validate(self, by: &mut impl Asks) -> Result<Live<M>, NotValidated<M>> {
        let pin = own(MmuextOp::Pin { level: self.level, table: self.frame() });
        self.enliven(&mut by.reach(), pin, Hold::PINNED, Caller::here())
    }

    /// Makes it live by the entry `at`, one level above, with `flags`: alias read-only and entry, in one
    /// hypercall with what is queued. It ends with that entry.
    ///
    /// # Errors
    /// As [`Draft::validate`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn attach(self, by: &mut impl Asks, at: PteSlot, flags: PteFlags) -> Result<Live<M>, NotValidated<M>> {
        let entry = pointing(at, Pte::new(self.frame(), flags));
        let hold = Hold { pinned: false, at: Some((at, flags)) };
        self.enliven(&mut by.reach(), entry, hold, Caller::here())
    }

    /// Makes it live by what held it before it was given up.
    pub(super) fn revive<P: Platform>(
        self,
        reach: &mut Reach<'_, P>,
        hold: Hold,
        caller: Caller,
    ) -> Result<Live<M>, NotValidated<M>> {
        let pin = own(MmuextOp::Pin { level: self.level, table: self.frame() });
        let entry = hold.at.map(|(at, flags)| pointing(at, Pte::new(self.frame(), flags)));
        match entry {
            Some(entry) if !hold.pinned => self.enliven(reach, entry, hold, caller),
            entry => {
                let live = self.enliven(reach, pin, hold, caller)?;
                entry.into_iter().for_each(|entry| reach.undo(entry, caller));
                Ok(live)
            }
        }
    }

    fn enliven<P: Platform>(
        self,
        reach: &mut Reach<'_, P>,
        last: Operation,
        hold: Hold,
        caller: Caller,
    ) -> Result<Live<M>, NotValidated<M>> {
        let Self { memory, level } = self;
        let alias = memory.alias();
        match reach.together([remap(alias, false)], last, caller) {
            Ok(()) => Ok(Live { memory, level, hold }),
            Err(failure) => {
                reach.undo(remap(alias, true), caller);
                Err(NotValidated { draft: Self { memory, level }, failure })
            }
        }
    }
}

/// The update that lets `at` point to a table.
pub(super) const fn pointing(at: PteSlot, pte: Pte) -> Operation {
    let slot = at.with_command(hypercall::UpdateCommand::Normal);
    Operation::Update { update: MmuUpdate::new(slot, pte), subject: Subject::SELF }
}
