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
        let mut source = Clear { platform: mmu.platform(), first, cells: self.cells, len: &mut self.len };
        mmu.submit_range(&mut source, count, *mode, told, caller);
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
        let mut kept = 0;
        for at in 0..self.len {
            let Some(mut cell) = self.cells.get(at).copied() else { break };
            let left = platform.read_pte(cell.slot);
            if !left.is_none() {
                continue;
            }
            if cell.pte.is_present() {
                cell.pte = with_notes(cell.pte, left);
            }
            if let Some(place) = self.cells.get_mut(kept) {
                *place = cell;
                kept += 1;
            }
        }
        self.len = kept;
    }
}

fn with_notes(pte: Pte, left: Pte) -> Pte {
    pte.with_flags(pte.flags() | (left.flags() & PteFlags::ACCESSED_DIRTY))
}
