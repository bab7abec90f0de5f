//! Where an operation was asked for: kept with the feature `caller-location`, free without.

use core::panic::Location;

use hypercall::{Entry, EntryKind};

/// A place in the caller's source, or nothing at all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
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

/// Who asked for each update, and for the newest operation of each other call.
#[derive(Debug)]
pub(crate) struct Callers<const UPDATES: usize, const CALLS: usize> {
    #[cfg(feature = "caller-location")]
    updates: [Option<Caller>; UPDATES],
    #[cfg(feature = "caller-location")]
    calls: [Option<Caller>; CALLS],
}

impl<const UPDATES: usize, const CALLS: usize> Callers<UPDATES, CALLS> {
    pub(crate) const fn new() -> Self {
        Self {
            #[cfg(feature = "caller-location")]
            updates: [None; UPDATES],
            #[cfg(feature = "caller-location")]
            calls: [None; CALLS],
        }
    }

    #[inline(always)]
    pub(crate) fn of_update(&mut self, _position: usize, _caller: Caller) {
        #[cfg(feature = "caller-location")]
        if let Some(place) = self.updates.get_mut(_position) {
            *place = Some(_caller);
        }
    }

    pub(crate) fn of_call(&mut self, _call: usize, _caller: Caller) {
        #[cfg(feature = "caller-location")]
        if let Some(place) = self.calls.get_mut(_call) {
            *place = Some(_caller);
        }
    }

    pub(crate) fn get(&self, entry: Entry, _call: usize, _item: u16) -> Option<&'static Location<'static>> {
        let _caller: Option<Caller> = match entry.kind {
            #[cfg(feature = "caller-location")]
            EntryKind::Updates(_) => self.updates.get(entry.start as usize + _item as usize).copied().flatten(),
            #[cfg(feature = "caller-location")]
            EntryKind::Mmuext(_) | EntryKind::Registers => self.calls.get(_call).copied().flatten(),
            #[cfg(not(feature = "caller-location"))]
            EntryKind::Updates(_) | EntryKind::Mmuext(_) | EntryKind::Registers => None,
        };
        _caller.and_then(Caller::location)
    }
}
