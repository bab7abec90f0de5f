//! Emptying entries, and gathering what they held.

use core::fmt;

use hypercall::{MmuextOp, Pte, PteFlags, PteSlot};

use super::{
    Reach,
    sources::{Clean, Clear},
    values::{Held, HeldBuffer},
};
use crate::{Platform, RangeError, caller::Caller, mmu::Mode, queue::Request, stats::FlushReason};

/// Why entries were not asked to be emptied. Nothing has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HarvestError {
    /// They are no range.
    Range(RangeError),
    /// The buffer has room for so many more.
    Full {
        /// How many.
        room: usize,
    },
}

impl fmt::Display for HarvestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(error) => error.fmt(f),
            Self::Full { room } => write!(f, "the buffer has room for {room} more entries; finish this harvest first"),
        }
    }
}

impl core::error::Error for HarvestError {}

/// Entries being emptied: from [`harvest`](super::ReadModifyWrite::harvest) to [`Harvest::finish`].
///
/// Inside a region the entries are queued as any other operation; [`Harvest::finish`] flushes. It borrows
/// the region, so none of the entries can be written again before their notes have been read:
///
/// ```compile_fail,E0499
/// # use hypercall::{Pte, PteSlot}; use pv_mmu::{HeldBuffer, Operations, Platform, ReadModifyWrite, Region};
/// fn overwrite<P: Platform>(region: &mut Region<'_, P>, slot: PteSlot, buffer: &mut HeldBuffer) {
///     let mut harvest = region.harvest(buffer);
///     harvest.get_and_clear(slot);
///     region.set_pte(slot, Pte::EMPTY);
///     harvest.finish();
/// }
/// ```
///
/// Dropped, it leaves the entries emptied, and what they held is lost.
///
/// ```
/// # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
/// # use kernel::{Kernel, Page};
/// # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
/// # let guest = TestGuest::new(Rules::Strict);
/// # let kernel = Kernel::new(&guest);
/// use hypercall::TaskContext;
/// use pv_mmu::{HeldBuffer, Mmu, Operations, ReadModifyWrite, TaskState};
///
/// let (context, mut task) = (TaskContext::in_user_space(), TaskState::new());
/// let mut region = Mmu::new(&kernel).enter(&mut task, &context);
/// region.set_ptes(guest.slot(0), 4, |n| guest.pte(n))?;
///
/// let mut buffer = HeldBuffer::<4>::new();
/// let mut harvest = region.harvest(&mut buffer);
/// harvest.get_and_clear_range(guest.slot(0), 4)?;
/// harvest.flush_tlbs();
/// // From here on nobody reaches the pages.
/// for (number, held) in harvest.finish().iter().enumerate() {
///     assert_eq!((held.frame(), held.was_dirty()), (guest.page(number), false));
/// }
/// region.leave()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "what the entries held is lost unless the harvest is finished"]
pub struct Harvest<'h, 'b, P: Platform> {
    reach: Reach<'h, P>,
    cells: &'b mut [Held],
    len: usize,
    clean: bool,
}

impl<P: Platform> fmt::Debug for Harvest<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harvest").field("entries", &self.len).field("room", &self.room()).finish_non_exhaustive()
    }
}

impl<'h, 'b, P: Platform> Harvest<'h, 'b, P> {
    pub(crate) const fn new<const N: usize>(reach: Reach<'h, P>, buffer: &'b mut HeldBuffer<N>) -> Self {
        Self { reach, cells: &mut buffer.cells, len: 0, clean: false }
    }

    /// How many more entries there is room for.
    #[must_use]
    pub const fn room(&self) -> usize {
        self.cells.len() - self.len
    }

    /// Leaves no notes behind: what would read as 0x20, 0x40 or 0x60 is set to 0 by a second update, which
    /// may wait as any other. Without it a kernel's `pte_none` must ignore these bits
    /// ([`Pte::is_none`](hypercall::Pte::is_none)).
    pub const fn cleaning(mut self) -> Self {
        self.clean = true;
        self
    }

    /// Empties an L1 entry. What is pending for it goes out before (R10); an entry that holds nothing ([`Pte::is_none`])
    /// stays as it is and is not among those of [`Harvest::finish`].
    ///
    /// # Errors
    /// [`HarvestError::Full`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn get_and_clear(&mut self, slot: PteSlot) -> Result<(), HarvestError> {
        self.clear(slot, 1, Caller::here())
    }

    /// The same for `count` consecutive entries of one table, in one step as far as the queue has room.
    ///
    /// # Errors
    /// [`HarvestError`].
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn get_and_clear_range(&mut self, slot: PteSlot, count: usize) -> Result<(), HarvestError> {
        RangeError::check(slot, count).map_err(HarvestError::Range)?;
        self.clear(slot, count, Caller::here())
    }

    pub(super) fn clear(&mut self, first: PteSlot, count: usize, caller: Caller) -> Result<(), HarvestError> {
        if count > self.room() {
            return Err(HarvestError::Full { room: self.room() });
        }
        let Reach { mmu, mode, told } = &mut self.reach;
        let read = mmu.platform().read_table(first.table());
        let cells = self.cells.get_mut(self.len..).unwrap_or(&mut []).iter_mut();
        let mut source = Clear { read, first, cells };
        mmu.submit_range(&mut source, count, *mode, told, caller);
        let free = source.cells.len();
        self.len = self.cells.len() - free;
        Ok(())
    }

    /// Flushes every TLB behind what was asked for so far, in the same batch where that waits: once the harvest is
    /// finished, nobody reaches the pages any more.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn flush_tlbs(&mut self) {
        let request = Request::mmuext(MmuextOp::TlbFlushAll, Caller::here());
        let Reach { mmu, mode, told } = &mut self.reach;
        if let Err(failure) = mmu.submit(request, *mode, told.reborrow()) {
            mmu.tell(told, failure);
        }
    }

    /// Makes the entries empty if they are not yet, and answers with what they held, in the order in which
    /// they were asked for. Entries that could not be emptied are not among them; they are told as every
    /// failure is (R14), and still translate.
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub fn finish(mut self) -> &'b [Held] {
        if self.len > 0
            && let Mode::Lazy = self.reach.mode
        {
            self.reach.mmu.flush(FlushReason::Harvest, &mut self.reach.told);
        }
        self.gather();
        let Self { reach: Reach { mmu, mode, mut told }, cells, len, clean } = self;
        let held = cells.get(..len).unwrap_or(&[]);
        if clean {
            let mut notes = Clean { cells: held };
            mmu.submit_range(&mut notes, len, mode, &mut told, Caller::here());
        }
        held
    }

    /// Reads what the hardware has noted, and drops entries that are not empty.
    fn gather(&mut self) {
        let platform = self.reach.mmu.platform();
        let cells = self.cells.get_mut(..self.len).unwrap_or(&mut []);
        let Some(mut table) = cells.first().map(|cell| cell.slot.table()) else { return };
        let mut read = platform.read_table(table);
        let mut dropped = false;
        for cell in cells {
            if cell.slot.table() != table {
                table = cell.slot.table();
                read = platform.read_table(table);
            }
            let left = read(cell.slot.index());
            if left.is_none() {
                cell.pte = with_notes(cell.pte, left);
            } else {
                (*cell, dropped) = (Held::NOTHING, true);
            }
        }
        if dropped {
            self.close_up();
        }
    }

    /// Takes out the cells of entries that were dropped.
    #[cold]
    fn close_up(&mut self) {
        let mut kept = 0;
        for at in 0..self.len {
            let cell = self.cells.get(at).copied().filter(|cell| *cell != Held::NOTHING);
            if let (Some(cell), Some(place)) = (cell, self.cells.get_mut(kept)) {
                *place = cell;
                kept += 1;
            }
        }
        self.len = kept;
    }
}

/// An entry that held something else than a translation has no notes: what is left of it is 0.
fn with_notes(pte: Pte, left: Pte) -> Pte {
    pte.with_flags(pte.flags() | (left.flags() & PteFlags::ACCESSED_DIRTY))
}
