//! Updates of many entries, worked out while the queue is held.
//!
//! A range is added in one step as far as there is room, so the entries before and behind it in the batch
//! are those of one array. What an entry is changed to may depend on what it holds: the step reads it, the
//! queue being what nothing else can reach meanwhile. It is worked out in the step that queues it, and so only
//! where its update fits: between two steps an interrupt may ask for what has to come behind it (R10, R12).

use core::slice;

use hypercall::{MmuUpdate, PteSlot, Subject};

use super::{CLOSED, QueueSteps, Reading, VcpuQueue};
use crate::{caller::Caller, planted::Fault, stats::FlushReason};

/// What is to become of an entry.
pub enum Change {
    /// Nothing.
    Keep,
    /// This update.
    Set(MmuUpdate),
    /// To be asked again once nothing is pending.
    AfterFlush,
}

/// Where a range's updates come from.
pub trait Source {
    /// Entry `n` of the range.
    fn slot(&self, n: usize) -> PteSlot;

    /// What becomes of it; `reading` tells where its present value is found. Asked for once for each
    /// entry, but for [`Change::AfterFlush`].
    fn change(&mut self, n: usize, slot: PteSlot, reading: impl FnOnce() -> Reading) -> Change;

    /// Puts the updates of the entries from `n` on into `places`, all of them, where what becomes of an entry depends on
    /// nothing; `false` where it does, and nothing has been done.
    fn write(&mut self, _n: usize, _places: &mut [MmuUpdate]) -> bool {
        false
    }
}

/// Entries `next..end` of a source, still to be added.
pub struct Range<'s, S> {
    pub(crate) source: &'s mut S,
    pub(crate) next: usize,
    pub(crate) end: usize,
    pub(crate) immediate: bool,
    pub(crate) reason: FlushReason,
    pub(crate) caller: Caller,
}

impl<S: Source> Range<'_, S> {
    fn change(&mut self, reading: impl FnOnce(PteSlot) -> Reading) -> Change {
        let slot = self.source.slot(self.next);
        self.source.change(self.next, slot, || reading(slot))
    }

    /// Writes as many updates as fit, where they need no working out.
    #[inline]
    fn write(&mut self, room: &mut [MmuUpdate]) -> Option<usize> {
        let count = room.len().min(self.end - self.next);
        let is_written = self.source.write(self.next, room.get_mut(..count)?);
        is_written.then(|| {
            self.next += count;
            count
        })
    }

    /// Works out entries whose updates fit whatever they are. All entries are as memory has them.
    #[inline]
    fn work_out(&mut self, places: &mut slice::IterMut<'_, MmuUpdate>) -> Option<FlushReason> {
        let mut stopped = (places.len() == 0).then_some(FlushReason::Capacity);
        let (mut at, end) = (self.next, self.end.min(self.next + places.len()));
        while at < end {
            match self.source.change(at, self.source.slot(at), || Reading::Memory) {
                Change::Keep => {}
                Change::Set(update) => places.next().into_iter().for_each(|place| *place = update),
                Change::AfterFlush => {
                    stopped = Some(FlushReason::ReadHazard);
                    break;
                }
            }
            at += 1;
        }
        self.next = at;
        stopped
    }
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> VcpuQueue<UPDATES, CALLS, WORDS> {
    fn reading_unless_planted(&mut self, slot: PteSlot) -> Reading {
        if self.planted.has(Fault::PendingOverlooked) { Reading::Memory } else { self.reading(slot) }
    }

    /// Adds what there is room for. Answers why the batch is to be handed over now, if it is.
    #[inline]
    pub(super) fn fill<S: Source>(&mut self, range: &mut Range<'_, S>) -> Option<FlushReason> {
        // With nothing pending every entry is as memory has it, and a range has no entry twice.
        let stopped = if self.batch.is_empty() { self.fill_empty(range) } else { self.fill_each(range) };
        stopped.or(range.immediate.then_some(range.reason))
    }

    #[inline]
    fn fill_empty<S: Source>(&mut self, range: &mut Range<'_, S>) -> Option<FlushReason> {
        let mut stopped = None;
        let write = |room: &mut [MmuUpdate]| {
            if let Some(written) = range.write(room) {
                stopped = (range.next < range.end).then_some(FlushReason::Capacity);
                return written;
            }
            let most = room.len();
            let mut places = room.iter_mut();
            while stopped.is_none() && range.next < range.end {
                stopped = range.work_out(&mut places);
            }
            most - places.len()
        };
        if self.batch.write_updates(Subject::SELF, write).is_err() {
            return Some(FlushReason::Capacity);
        }
        let added = self.batch.updates().len();
        self.highest = CLOSED;
        self.counted = added;
        if let Some(upper) = self.upper.first_mut() {
            *upper = false;
        }
        (0..added).for_each(|position| self.callers.of_update(position, range.caller));
        self.stats.queued += if self.counting { added as u64 } else { 0 };
        stopped
    }

    fn fill_each<S: Source>(&mut self, range: &mut Range<'_, S>) -> Option<FlushReason> {
        while range.next < range.end {
            if !self.batch.takes_update(Subject::SELF) {
                return Some(FlushReason::Capacity);
            }
            match range.change(|slot| self.reading_unless_planted(slot)) {
                Change::Keep => {}
                Change::AfterFlush => return Some(FlushReason::ReadHazard),
                Change::Set(update) => {
                    let caller = range.caller;
                    let placed = if range.immediate {
                        self.append_leaf(update, caller)
                    } else {
                        self.place_leaf(update, caller)
                    };
                    if placed.is_err() {
                        return Some(FlushReason::Capacity);
                    }
                    self.asked();
                }
            }
            range.next += 1;
        }
        None
    }
}
