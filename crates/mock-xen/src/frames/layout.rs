//! What the machine has where no guest frame lies: devices, Xen's own memory, nothing.

use std::ops::Range;

use hypercall::{Errno, Mfn, Pte, PteFlags};

use super::Owner;
use crate::domain::FrameOwner;

/// The processor's physical address width in bits.
const PHYSICAL_BITS: u32 = 40;
/// Legacy video memory and firmware: owned by `DOMID_IO` although there is memory.
const LOW_MEBIBYTE: Range<u64> = 0..0x100;
/// I/O APIC and firmware below 4 GiB: no memory.
const DEVICES: Range<u64> = 0xfec00..0x10_0000;
/// The local APICs and the addresses message interrupts are sent to: Xen's alone.
const LOCAL_APIC: Range<u64> = 0xfee00..0xfef00;
/// Readable but not writable for the guest: the I/O APIC.
const IO_APIC: Range<u64> = 0xfec00..0xfec01;
/// All bits of a frame number that an entry can hold.
const HIGHEST: u64 = 0xff_ffff_ffff;
/// Frames of each kind of Xen's own memory.
const XEN_KIND: u64 = 16;

/// Where the machine's frames lie, as far as they are not the guest's: a PC with a 40-bit address
/// bus whose memory ends behind Xen's own frames, which follow the guest's highest.
#[derive(Clone, Debug)]
pub struct Layout {
    /// First of Xen's frames: `shared_info`, then the machine-to-physical table, then its heap.
    xen: u64,
}

impl Layout {
    /// The machine whose guest's frames all lie below `end`.
    pub(crate) fn behind(end: Mfn) -> Self {
        Self { xen: memory_from(end.number(), 1 + 2 * XEN_KIND) }
    }

    /// The first run of `count` frame numbers from `first` on at which the machine can have memory.
    pub(crate) fn first_memory(first: Mfn, count: u64) -> Mfn {
        Mfn::new(memory_from(first.number(), count))
    }

    /// Whether `mfn` can be a frame of the guest.
    pub(crate) fn can_be_memory(mfn: Mfn) -> bool {
        mfn.number() >> (PHYSICAL_BITS - 12) == 0
            && !LOW_MEBIBYTE.contains(&mfn.number())
            && !DEVICES.contains(&mfn.number())
    }

    /// The frame in which Xen and the guest share event and time data.
    #[must_use]
    pub const fn shared_info(&self) -> Mfn {
        Mfn::new(self.xen)
    }

    /// A frame of the machine-to-physical table.
    #[must_use]
    pub const fn machine_to_physical(&self) -> Mfn {
        Mfn::new(self.xen + 1)
    }

    /// A frame of Xen's heap.
    #[must_use]
    pub const fn heap(&self) -> Mfn {
        Mfn::new(self.xen + 1 + XEN_KIND)
    }

    /// The first number at which there is no memory and never was.
    #[must_use]
    pub const fn end(&self) -> Mfn {
        Mfn::new(self.xen + 1 + 2 * XEN_KIND)
    }

    /// Who owns `mfn`, given that the guest does not; `None` where there is no memory.
    pub(crate) fn owner(&self, mfn: Mfn) -> Option<Owner> {
        let number = mfn.number();
        if number >= self.end().number() || DEVICES.contains(&number) {
            None
        } else if LOW_MEBIBYTE.contains(&number) {
            Some(Owner::Io)
        } else if (self.machine_to_physical()..self.heap()).contains(&mfn) {
            Some(Owner::Xen)
        } else {
            Some(Owner::Nobody)
        }
    }

    /// The frames of the machine-to-physical table.
    pub(crate) fn machine_to_physical_frames(&self) -> impl Iterator<Item = Mfn> + use<> {
        (self.machine_to_physical().number()..self.heap().number()).map(Mfn::new)
    }

    /// Whether `mfn` may be read by the hardware domain but not written: its stores are dropped.
    pub(crate) fn is_read_only_io(mfn: Mfn) -> bool {
        IO_APIC.contains(&mfn.number())
    }

    /// The present L1 entry under which a domain gets a frame that is no memory, or `DOMID_IO`'s.
    /// `permitted` says whether the domain may have I/O frames at all.
    ///
    /// A cacheable attribute becomes uncacheable, and a frame that may only be read loses RW.
    ///
    /// # Errors
    /// `-EPERM` where the domain may not have it, `-EINVAL` for the highest number there is.
    pub(crate) fn io_entry(entry: Pte, owner: FrameOwner, permitted: bool) -> Result<Pte, Errno> {
        let number = entry.frame().number();
        if number == HIGHEST {
            return Err(Errno::INVAL);
        }
        let on_the_bus = number >> (PHYSICAL_BITS - 12) == 0;
        if !permitted || owner == FrameOwner::Xen || !on_the_bus || LOCAL_APIC.contains(&number) {
            return Err(Errno::PERM);
        }
        let mut flags = uncached(entry.flags());
        if IO_APIC.contains(&number) {
            flags = flags.without(PteFlags::RW);
        }
        Ok(entry.with_flags(flags))
    }
}

/// The three flags of an L1 entry that together name a cache attribute.
pub(crate) const CACHE_ATTRIBUTE: PteFlags = PteFlags::PWT.union(PteFlags::PCD).union(PteFlags::PAT);
const WRITE_PROTECT: PteFlags = PteFlags::PWT.union(PteFlags::PAT);
const UNCACHEABLE: PteFlags = PteFlags::PWT.union(PteFlags::PCD);

/// Write-back, write-through and write-protect become uncacheable; the others stay (XSA-154).
fn uncached(flags: PteFlags) -> PteFlags {
    match flags & CACHE_ATTRIBUTE {
        PteFlags::NONE | PteFlags::PWT | WRITE_PROTECT => flags.without(CACHE_ATTRIBUTE).union(UNCACHEABLE),
        _ => flags,
    }
}

fn memory_from(first: u64, count: u64) -> u64 {
    let first = first.max(LOW_MEBIBYTE.end);
    if first < DEVICES.end && first + count > DEVICES.start { DEVICES.end } else { first }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xen_keeps_clear_of_devices() {
        assert_eq!(Layout::behind(Mfn::new(0x2000)).shared_info(), Mfn::new(0x2000));
        assert_eq!(Layout::behind(Mfn::new(0xfebff)).shared_info(), Mfn::new(0x10_0000));
        assert_eq!(Layout::first_memory(Mfn::new(0), 1), Mfn::new(0x100));
    }

    #[test]
    fn every_frame_has_one_owner() {
        let layout = Layout::behind(Mfn::new(0x2000));
        assert_eq!(layout.owner(Mfn::new(0xb8)), Some(Owner::Io));
        assert_eq!(layout.owner(layout.machine_to_physical()), Some(Owner::Xen));
        assert_eq!(layout.owner(layout.heap()), Some(Owner::Nobody));
        assert_eq!(layout.owner(Mfn::new(0x1000)), Some(Owner::Nobody));
        assert_eq!(layout.owner(layout.end()), None);
        assert_eq!(layout.owner(Mfn::new(0xfee00)), None);
    }
}
