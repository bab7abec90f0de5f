//! Names for the trace's frames, and back.
//!
//! The lab's kernel lies at low addresses, so entry 0 of every L4 is its own. What a trace has there is led as another
//! entry of user mode's half instead, which is the same to Xen; a frame has such entries from the moment it is going to be
//! an L4 until it is filled with zeros.

use std::collections::{HashMap, HashSet};

use hypercall::{Mfn, Pfn, PteSlot, VirtAddr};
use mmu_replay::{DEVICE, DIRECT_MAP_PAGE, Names, OWN_ENTRY};

use crate::replay::frames::Frames;
use crate::replay::request::{address_of, frame_at};

/// The entry that stands for entry 0 of an L4: Linux gives the half terabyte behind the first to nobody, unless asked to.
const STAND_IN: usize = 1;

/// All names of a trace's frames.
pub(super) struct Naming {
    /// By name, from name 1 on.
    frames: Vec<(Pfn, Mfn)>,
    names: HashMap<Mfn, Mfn>,
    places: HashMap<Pfn, Mfn>,
    devices: HashSet<Mfn>,
    /// Frames that are or are going to be L4s.
    roots: HashSet<Mfn>,
}

impl Naming {
    pub(super) fn of(frames: &Frames) -> Self {
        let devices = frames.devices().collect();
        let frames: Vec<_> = frames.memory().collect();
        let named = || frames.iter().zip(1..).map(|(frame, name)| (*frame, Mfn::new(name)));
        let names = named().map(|((_, mfn), name)| (mfn, name)).collect();
        let places = named().map(|((pfn, _), name)| (pfn, name)).collect();
        Self { frames, names, places, devices, roots: HashSet::new() }
    }

    /// How many frames have names.
    pub(super) fn count(&self) -> u64 {
        self.frames.len() as u64
    }

    /// A frame is an L4 from now on, or is not any more.
    pub(super) fn root(&mut self, frame: Mfn, is_root: bool) {
        if is_root {
            self.roots.insert(frame);
        } else {
            self.roots.remove(&frame);
        }
    }
}

/// From the trace's frames to names.
impl Names for Naming {
    fn frame(&self, frame: Mfn) -> Option<Mfn> {
        let device = || self.devices.contains(&frame).then(|| Mfn::new(DEVICE + frame.number()));
        self.names.get(&frame).copied().or_else(device)
    }

    fn direct_map(&self, address: VirtAddr) -> Option<VirtAddr> {
        let name = self.places.get(&frame_at(address.value())?)?;
        Some(VirtAddr::unchecked(name.number() * DIRECT_MAP_PAGE))
    }

    fn slot(&self, slot: PteSlot) -> Option<PteSlot> {
        let index = match slot.index() {
            index if !self.roots.contains(&slot.table()) => index,
            OWN_ENTRY => STAND_IN,
            STAND_IN => return None,
            index => index,
        };
        Some(PteSlot::of(self.names.get(&slot.table()).copied()?, index).with_command(slot.command()?))
    }
}

/// From names to the trace's frames.
pub(super) struct Back<'a>(pub(super) &'a Naming);

impl Names for Back<'_> {
    fn frame(&self, name: Mfn) -> Option<Mfn> {
        match name.number().checked_sub(DEVICE) {
            Some(device) => Some(Mfn::new(device)),
            None => Some(self.0.frames.get(name.number().checked_sub(1)? as usize)?.1),
        }
    }

    fn direct_map(&self, address: VirtAddr) -> Option<VirtAddr> {
        let name = (address.value() / DIRECT_MAP_PAGE).checked_sub(1)?;
        Some(address_of(self.0.frames.get(name as usize)?.0))
    }

    fn slot(&self, slot: PteSlot) -> Option<PteSlot> {
        let table = self.frame(slot.table())?;
        let index = if self.0.roots.contains(&table) && slot.index() == STAND_IN { OWN_ENTRY } else { slot.index() };
        Some(PteSlot::of(table, index).with_command(slot.command()?))
    }
}
