//! Finds the newest pending update of an entry in constant time.
//!
//! Buckets are never reset: a bucket counts only while the update it names is within the current
//! batch and hashes to that bucket. Every push writes its bucket, so if any update of the batch
//! hashes to a bucket, the bucket names the newest of them.

use hypercall::{ENTRIES_PER_TABLE, MmuUpdate, PteSlot, UpdateCommand};

/// End of a chain.
const NONE: u16 = u16::MAX;

/// A chained hash over the updates of one batch, by entry.
#[derive(Debug)]
pub(crate) struct SlotIndex<const UPDATES: usize> {
    newest: [u16; ENTRIES_PER_TABLE],
    older: [u16; UPDATES],
}

/// Entries of one table fall into different buckets, whatever the order they come in.
const fn bucket(slot: PteSlot) -> usize {
    slot.index() % ENTRIES_PER_TABLE
}

impl<const UPDATES: usize> SlotIndex<UPDATES> {
    pub(crate) const fn new() -> Self {
        Self { newest: [NONE; ENTRIES_PER_TABLE], older: [NONE; UPDATES] }
    }

    /// Notes that the update at `position`, the last of the batch, is for `slot`. `updates` are
    /// those before it.
    #[inline]
    pub(crate) fn note(&mut self, updates: &[MmuUpdate], position: usize, slot: PteSlot) {
        let older = self.head(updates, slot);
        if let (Some(chain), Some(newest)) = (self.older.get_mut(position), self.newest.get_mut(bucket(slot))) {
            (*chain, *newest) = (older, position as u16);
        }
    }

    /// Position of the newest update of `slot`'s entry in `updates`. Updates of the
    /// machine-to-physical table are no entry's and never found.
    #[inline]
    pub(crate) fn newest(&self, updates: &[MmuUpdate], slot: PteSlot) -> Option<usize> {
        self.find(updates, slot, self.head(updates, slot))
    }

    /// Position of the next older update of `slot`'s entry than the one at `position`.
    pub(crate) fn next_older(&self, updates: &[MmuUpdate], slot: PteSlot, position: usize) -> Option<usize> {
        self.find(updates, slot, self.older.get(position).copied().unwrap_or(NONE))
    }

    #[inline]
    fn find(&self, updates: &[MmuUpdate], slot: PteSlot, mut position: u16) -> Option<usize> {
        while let Some(update) = updates.get(position as usize) {
            if update.slot.same_entry(slot) && update.slot.command() != Some(UpdateCommand::MachPhys) {
                return Some(position.into());
            }
            position = self.older.get(position as usize).copied().unwrap_or(NONE);
        }
        None
    }

    fn head(&self, updates: &[MmuUpdate], slot: PteSlot) -> u16 {
        let position = self.newest.get(bucket(slot)).copied().unwrap_or(NONE);
        let live = updates.get(position as usize).is_some_and(|update| bucket(update.slot) == bucket(slot));
        if live { position } else { NONE }
    }
}

#[cfg(test)]
mod tests {
    use hypercall::{Mfn, Pte};

    use super::*;

    #[test]
    fn stale_buckets_of_an_earlier_batch_are_not_believed() {
        let mut index = SlotIndex::<4>::new();
        let update = |table, entry| MmuUpdate::new(PteSlot::of(Mfn::new(table), entry), Pte::EMPTY);
        let first = [update(1, 3), update(2, 3), update(1, 4)];
        for position in 0..first.len() {
            index.note(&first[..position], position, first[position].slot);
        }
        assert_eq!(index.newest(&first, first[0].slot), Some(0));
        assert_eq!(index.newest(&first, first[1].slot), Some(1));
        let second = [update(7, 9)];
        index.note(&second[..0], 0, second[0].slot);
        assert_eq!(index.newest(&second, first[0].slot), None);
        assert_eq!(index.newest(&second, second[0].slot), Some(0));
    }
}
