//! The frames that stand for those of the trace: memory of the domain that is mapped nowhere when the kernel starts.
//!
//! Name n is the n-th of them. Their direct map is where Linux has its own, and each has its place by its name.

use hypercall::{Mfn, Pfn, VirtAddr};
use mmu_replay::{DEVICE, DIRECT_MAP_PAGE, Names};
use xen_guest::memory::p2m;
use xen_guest::start_info;

use crate::error::Error;

/// Where the direct map begins.
pub(super) const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;

/// Frames with names.
#[derive(Clone, Copy)]
pub(super) struct Frames {
    /// The pfn before that of name 1.
    before: u64,
    count: u64,
}

impl Frames {
    /// As many frames as a list names.
    pub(super) fn take(count: u64) -> Result<Self, Error> {
        let before = p2m::unmapped().number() - 1;
        let there = start_info::frames().saturating_sub(before + 1);
        super::room("frames of free memory", count, there)?;
        Ok(Self { before, count })
    }

    /// All names.
    pub(super) fn names(&self) -> impl Iterator<Item = Mfn> + Clone + use<> {
        (1..=self.count).map(Mfn::new)
    }

    /// The frame with this name; `None` for a name that there is not.
    pub(super) fn named(&self, name: Mfn) -> Option<Mfn> {
        let there = 0 < name.number() && name.number() <= self.count;
        there.then(|| p2m::frame(Pfn::new(self.before + name.number()))).flatten()
    }

    /// The name of a frame; `None` for one that is none of these.
    pub(super) fn name_of(&self, frame: Mfn) -> Option<Mfn> {
        let name = p2m::pfn(frame)?.number().checked_sub(self.before)?;
        (0 < name && name <= self.count).then(|| Mfn::new(name))
    }

    /// Where the direct map has the frame with this name.
    pub(super) const fn address(name: Mfn) -> VirtAddr {
        VirtAddr::unchecked(DIRECT_MAP + name.number() * DIRECT_MAP_PAGE)
    }
}

/// From names to frames.
impl Names for Frames {
    fn frame(&self, name: Mfn) -> Option<Mfn> {
        match name.number().checked_sub(DEVICE) {
            Some(device) => Some(Mfn::new(device)),
            None => self.named(name),
        }
    }

    fn direct_map(&self, address: VirtAddr) -> Option<VirtAddr> {
        let name = Mfn::new(address.value() / DIRECT_MAP_PAGE);
        self.named(name).map(|_| Self::address(name))
    }
}

/// From frames to names.
pub(super) struct Named<'a>(pub(super) &'a Frames);

impl Names for Named<'_> {
    fn frame(&self, frame: Mfn) -> Option<Mfn> {
        Some(self.0.name_of(frame).unwrap_or(Mfn::new(DEVICE + frame.number())))
    }

    fn direct_map(&self, address: VirtAddr) -> Option<VirtAddr> {
        address.value().checked_sub(DIRECT_MAP).map(VirtAddr::unchecked)
    }
}
