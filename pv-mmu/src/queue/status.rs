//! What became of each operation of a batch in which something was refused.
//!
//! Written only then: a batch that went through whole leaves this untouched.

use hypercall::{Entry, EntryKind, Errno, MmuextWords};

use crate::Status;

const APPLIED: u16 = 0;
const NOT_ATTEMPTED: u16 = u16::MAX;

/// A status per update, per word of the arena (at an operation's first), and per call in registers.
#[derive(Debug)]
pub(crate) struct Statuses<const UPDATES: usize, const CALLS: usize, const WORDS: usize> {
    updates: [u16; UPDATES],
    words: [u16; WORDS],
    calls: [u16; CALLS],
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> Statuses<UPDATES, CALLS, WORDS> {
    pub(crate) const fn new() -> Self {
        Self { updates: [APPLIED; UPDATES], words: [APPLIED; WORDS], calls: [APPLIED; CALLS] }
    }

    /// Everything applied.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    pub(crate) fn get(&self, entry: Entry, call: usize, item: u16) -> Status {
        match self.place(entry, call, item).copied().unwrap_or(APPLIED) {
            APPLIED => Status::Applied,
            NOT_ATTEMPTED => Status::NotAttempted,
            number => Errno::new(number).map_or(Status::Applied, Status::Refused),
        }
    }

    pub(crate) fn set(&mut self, entry: Entry, call: usize, item: u16, status: Status) {
        let number = match status {
            Status::Applied => APPLIED,
            Status::NotAttempted => NOT_ATTEMPTED,
            Status::Refused(errno) => errno.number(),
        };
        if let Some(place) = self.place_mut(entry, call, item) {
            *place = number;
        }
    }

    fn place(&self, entry: Entry, call: usize, item: u16) -> Option<&u16> {
        match entry.kind {
            EntryKind::Updates(_) => self.updates.get(entry.start as usize + item as usize),
            EntryKind::Mmuext(_) => self.words.get(entry.start as usize + item as usize * MmuextWords::WORDS),
            EntryKind::Registers => self.calls.get(call),
        }
    }

    fn place_mut(&mut self, entry: Entry, call: usize, item: u16) -> Option<&mut u16> {
        match entry.kind {
            EntryKind::Updates(_) => self.updates.get_mut(entry.start as usize + item as usize),
            EntryKind::Mmuext(_) => self.words.get_mut(entry.start as usize + item as usize * MmuextWords::WORDS),
            EntryKind::Registers => self.calls.get_mut(call),
        }
    }
}
