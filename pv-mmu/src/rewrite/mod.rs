//! Operations that read an entry and change it, without a trap and without losing what the hardware notes.
//!
//! On bare metal these are atomic instructions. In a PV guest tables are read-only, so Xen would trap and
//! emulate each, at three to four times the cost of an update in an array, and past the queue. Here they
//! are updates like any other: queued, in order (R3), in one array for a range. Xen's
//! `MMU_PT_UPDATE_PRESERVE_AD` merges accessed and dirty of the old entry into the new one in one atomic
//! step, whatever other vCPUs touch meanwhile, even into one that is not present.
//!
//! Protocol. The caller holds the lock that keeps others from the entry, from the call until the region
//! is left, as it would for the atomic. Frame and flags are [`Known`] when the operation is asked for;
//! accessed and dirty are final once the hypervisor has emptied the entry and are gathered then, as
//! [`Held`]. They stay in the entry: what `pte_none` must ignore is said at
//! [`Pte::is_none`](hypercall::Pte::is_none). None of it flushes a TLB.

mod harvest;
mod sources;
mod values;

use hypercall::{Pte, PteSlot};

use self::sources::{Age, Modify, Thaw, replacing};
pub use self::{
    harvest::{Harvest, HarvestError},
    values::{Held, HeldBuffer, Known, Modification, NotCleared, Young},
};
pub(crate) use self::{private::Reach, sources::SetEntries};
use crate::{
    Mmu, Platform, RangeError,
    caller::Caller,
    mmu::{Mode, Told},
    queue::Request,
    stats::FlushReason,
};

pub(crate) mod private {
    use super::{Mmu, Mode, Platform, Told};

    /// The library as a context reaches it: whether operations may wait, and who is told of failures.
    pub struct Reach<'r, P: Platform> {
        pub(crate) mmu: Mmu<'r, P>,
        pub(crate) mode: Mode,
        pub(crate) told: Told<'r>,
    }

    /// A context in which entries may be changed. Not for callers: the trait cannot be named outside.
    pub trait Reaches {
        /// The kernel.
        type Platform: Platform;

        /// The library as this context reaches it.
        fn reach(&mut self) -> Reach<'_, Self::Platform>;
    }

    /// A context whose operations ask nothing of the caller but to be made.
    pub trait Rewrites: Reaches {}
}

/// A task, in a region or outside: whoever may take a table into use and out of it
/// ([`table`](crate::table)). Handlers may not, because giving up a table may wait for other vCPUs.
pub trait Asks: private::Reaches {}

/// Read-modify-write operations on L1 entries of the caller's own tables.
///
/// In a region they may wait, unless said otherwise; elsewhere they are effective when the call returns.
/// Failures are told as those of a range are: by the leave of the region, to the platform elsewhere.
pub trait ReadModifyWrite: private::Rewrites {
    /// Empties an entry and answers with what it held last. Flushes: to empty several, use
    /// [`ReadModifyWrite::harvest`].
    ///
    /// # Errors
    /// [`NotCleared`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn get_and_clear(&mut self, slot: PteSlot) -> Result<Held, NotCleared> {
        self.reach().get_and_clear(slot, Caller::here())
    }

    /// Begins to empty entries; what they held is put into `buffer`.
    fn harvest<'h, 'b, const N: usize>(&'h mut self, buffer: &'b mut HeldBuffer<N>) -> Harvest<'h, 'b, Self::Platform> {
        Harvest::new(self.reach(), buffer)
    }

    /// Takes from an entry the right to store; accessed and dirty stay. One that has none stays as it is.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn wrprotect(&mut self, slot: PteSlot) {
        self.reach().modify(slot, 1, write_protect, Caller::here());
    }

    /// The same for `count` consecutive entries of one table.
    ///
    /// # Errors
    /// [`RangeError`]; nothing has been done then.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn wrprotect_range(&mut self, slot: PteSlot, count: usize) -> Result<(), RangeError> {
        RangeError::check(slot, count)?;
        self.reach().modify(slot, count, write_protect, Caller::here());
        Ok(())
    }

    /// Begins a change of an entry. What the hardware notes in it until the commit is kept.
    fn modify_start(&mut self, slot: PteSlot) -> Modification {
        Modification { slot, known: Known::new(self.reach().mmu.read(slot)) }
    }

    /// Sets the entry to `pte`, with the notes of the hardware. Where `pte` is not present they stay in the
    /// entry, so bits 5 and 6 of it mean nothing then.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn modify_commit(&mut self, change: Modification, pte: Pte) {
        let Modification { slot, known } = change;
        let Reach { mmu, mode, mut told } = self.reach();
        let request = Request::leaf(replacing(slot, known, pte), Caller::here());
        if let Err(failure) = mmu.submit(request, mode, told.reborrow()) {
            mmu.tell(&mut told, failure);
        }
    }

    /// Start and commit for `count` consecutive entries of one table: `pte_of` gives the new entry for each
    /// number from 0, or `None` to leave it as it is.
    ///
    /// `pte_of` runs with upcalls masked and must not use the library.
    ///
    /// # Errors
    /// [`RangeError`]; nothing has been done then.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn modify_range(
        &mut self,
        slot: PteSlot,
        count: usize,
        pte_of: impl FnMut(usize, Known) -> Option<Pte>,
    ) -> Result<(), RangeError> {
        RangeError::check(slot, count)?;
        self.reach().modify(slot, count, pte_of, Caller::here());
        Ok(())
    }

    /// Whether the page was used through an entry; from now on it counts as not used. Dirty stays.
    ///
    /// An entry that is used, writable and not dirty is read-only for a moment: a store of another vCPU in
    /// that moment faults, and the entry is writable again when the fault's handler has its lock. Such an
    /// entry flushes.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn test_and_clear_young(&mut self, slot: PteSlot) -> bool {
        !self.reach().age(slot, 1, Caller::here()).is_empty()
    }

    /// The same for `count` consecutive entries of one table, with one flush at most.
    ///
    /// # Errors
    /// [`RangeError`]; nothing has been done then.
    #[cfg_attr(feature = "caller-location", track_caller)]
    fn test_and_clear_young_range(&mut self, slot: PteSlot, count: usize) -> Result<Young, RangeError> {
        RangeError::check(slot, count)?;
        Ok(self.reach().age(slot, count, Caller::here()))
    }
}

impl<R: private::Rewrites> ReadModifyWrite for R {}

pub(crate) fn write_protect(_: usize, known: Known) -> Option<Pte> {
    known.is_writable().then(|| known.write_protected())
}

impl<P: Platform> Reach<'_, P> {
    pub(crate) fn get_and_clear(self, slot: PteSlot, caller: Caller) -> Result<Held, NotCleared> {
        let mut buffer = HeldBuffer::<1>::new();
        let platform = self.mmu.platform();
        let mut harvest = Harvest::new(self, &mut buffer);
        // There is room for one.
        let _ = harvest.clear(slot, 1, caller);
        match harvest.finish() {
            [held] => Ok(*held),
            _ if platform.read_pte(slot).is_none() => Ok(Held { slot, pte: Pte::EMPTY }),
            _ => Err(NotCleared { slot }),
        }
    }

    pub(crate) fn modify(
        mut self,
        first: PteSlot,
        count: usize,
        pte_of: impl FnMut(usize, Known) -> Option<Pte>,
        caller: Caller,
    ) {
        let mut source = Modify { read: self.mmu.platform().read_table(first.table()), first, pte_of };
        self.mmu.submit_range(&mut source, count, self.mode, &mut self.told, caller);
    }

    pub(crate) fn age(mut self, first: PteSlot, count: usize, caller: Caller) -> Young {
        let (mut young, mut frozen) = (Young::NONE, Young::NONE);
        let platform = self.mmu.platform();
        let mut source = Age { platform, first, young: &mut young, frozen: &mut frozen };
        self.mmu.submit_range(&mut source, count, self.mode, &mut self.told, caller);
        if !frozen.is_empty() {
            if let Mode::Lazy = self.mode {
                self.mmu.flush(FlushReason::Harvest, &mut self.told);
            }
            let mut source = Thaw { platform, first, frozen: &frozen };
            self.mmu.submit_range(&mut source, count, self.mode, &mut self.told, caller);
        }
        young
    }
}
