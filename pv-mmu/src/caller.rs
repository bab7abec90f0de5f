//! Where an operation was asked for: kept with the feature `caller-location`, free without.

use core::panic::Location;

use hypercall::Entry;
#[cfg(feature = "caller-location")]
use hypercall::{EntryKind, MmuextWords};

/// A place in the caller's source, or nothing at all.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    #[cfg(feature = "caller-location")]
    location: &'static Location<'static>,
}

impl Caller {
    /// The caller of the function this is called in.
    #[inline(always)]
    #[cfg_attr(feature = "caller-location", track_caller)]
    pub(crate) const fn here() -> Self {
        Self {
            #[cfg(feature = "caller-location")]
            location: Location::caller(),
        }
    }

    pub(crate) const fn location(self) -> Option<&'static Location<'static>> {
        #[cfg(feature = "caller-location")]
        return Some(self.location);
        #[cfg(not(feature = "caller-location"))]
        None
    }
}

/// Who asked for each update, and for each other operation, by its place in the batch's arena.
#[derive(Debug)]
pub(crate) struct Callers<const UPDATES: usize, const WORDS: usize> {
    #[cfg(feature = "caller-location")]
    updates: [Option<Caller>; UPDATES],
    #[cfg(feature = "caller-location")]
    words: [Option<Caller>; WORDS],
}

impl<const UPDATES: usize, const WORDS: usize> Callers<UPDATES, WORDS> {
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(feature = "caller-location")]
            updates: [None; UPDATES],
            #[cfg(feature = "caller-location")]
            words: [None; WORDS],
        }
    }

    #[inline(always)]
    pub(crate) fn of_update(&mut self, _position: usize, _caller: Caller) {
        #[cfg(feature = "caller-location")]
        if let Some(place) = self.updates.get_mut(_position) {
            *place = Some(_caller);
        }
    }

    /// Operation `item` of the call `entry`, which holds no updates, was asked for by `caller`.
    pub(crate) fn of_other(&mut self, _entry: Entry, _item: u16, _caller: Caller) {
        #[cfg(feature = "caller-location")]
        if let Some(place) = self.words.get_mut(word(_entry, _item)) {
            *place = Some(_caller);
        }
    }

    pub(crate) fn get(&self, _entry: Entry, _item: u16) -> Option<&'static Location<'static>> {
        #[cfg(feature = "caller-location")]
        let _caller = match _entry.kind {
            EntryKind::Updates(_) => self.updates.get(_entry.start as usize + _item as usize),
            EntryKind::Mmuext(_) | EntryKind::Registers => self.words.get(word(_entry, _item)),
        };
        #[cfg(feature = "caller-location")]
        return _caller.copied().flatten().and_then(Caller::location);
        #[cfg(not(feature = "caller-location"))]
        None
    }
}

/// Where an operation that is no update begins in the arena.
#[cfg(feature = "caller-location")]
const fn word(entry: Entry, item: u16) -> usize {
    entry.start as usize + item as usize * MmuextWords::WORDS
}
