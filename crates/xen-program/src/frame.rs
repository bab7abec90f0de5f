//! Frames by name.
//!
//! A program never says a frame number that differs from machine to machine: it says a name, which
//! each machine resolves, and every answer is translated back. Names stand for the program's own
//! pages, for the tables that lead to them, and for one frame of every kind that Xen treats in its
//! own way.

use hypercall::Mfn;

/// The program's own pages.
pub const PAGES: usize = 16;
/// Frames whose contents are observed: the pages and the tables of the arena.
pub const OBSERVED: usize = PAGES + 4;
/// All names.
pub const FRAMES: usize = OBSERVED + Special::ALL.len();

/// One of the program's own pages, `p0` to `p15`: memory of the guest, filled with zeros and
/// mapped writable once when a program starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageId(u8);

impl PageId {
    /// Page `number`; `None` from 16 on.
    #[must_use]
    pub const fn new(number: usize) -> Option<Self> {
        if number < PAGES { Some(Self(number as u8)) } else { None }
    }

    /// 0 to 15.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PAGES as u8).map(Self)
    }
}

/// The tables by which the arena is reached: one of each level. `Root` is the L4 the executor runs
/// on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Maps pages, windows and arguments.
    L1,
    /// Leads to the L1.
    L2,
    /// Leads to the L2.
    L3,
    /// Leads to the L3, and to the executor itself.
    Root,
}

impl Table {
    /// All of them, lowest first.
    pub const ALL: [Self; 4] = [Self::L1, Self::L2, Self::L3, Self::Root];
}

/// Frames that are not the program's, one of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Special {
    /// The page Xen shares with the guest; from Xen's heap.
    SharedInfo,
    /// Holds a part of the machine-to-physical table; `DOMID_XEN`'s.
    MachineToPhysical,
    /// Xen's own memory; nobody's.
    Hypervisor,
    /// Video memory; `DOMID_IO`'s.
    Vga,
    /// Below 1 MiB; `DOMID_IO`'s.
    LowMemory,
    /// The local APIC: Xen's alone.
    LocalApic,
    /// The I/O APIC: readable only.
    IoApic,
    /// Behind all memory, on the bus.
    BeyondMemory,
    /// Behind the bus: no processor of this machine can address it.
    BeyondBus,
    /// The highest number an entry can hold.
    Highest,
}

impl Special {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::SharedInfo,
        Self::MachineToPhysical,
        Self::Hypervisor,
        Self::Vga,
        Self::LowMemory,
        Self::LocalApic,
        Self::IoApic,
        Self::BeyondMemory,
        Self::BeyondBus,
        Self::Highest,
    ];

    /// Its number, where that is the same on every machine the project tests on: a PC with a bus
    /// of 40 bits and less than 8 GiB of memory.
    #[must_use]
    pub const fn fixed(self) -> Option<Mfn> {
        Some(Mfn::new(match self {
            Self::SharedInfo | Self::MachineToPhysical | Self::Hypervisor => return None,
            Self::Vga => 0xb8,
            Self::LowMemory => 0x50,
            Self::LocalApic => 0xfee00,
            Self::IoApic => 0xfec00,
            Self::BeyondMemory => 0x20_0000,
            Self::BeyondBus => 1 << 38,
            Self::Highest => 0xff_ffff_ffff,
        }))
    }
}

/// A frame by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Frame {
    /// A page of the program.
    Page(PageId),
    /// A table of the arena.
    Table(Table),
    /// Somebody else's.
    Special(Special),
}

impl Frame {
    /// The name's number: pages, tables, specials, in this order.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Page(page) => page.0,
            Self::Table(table) => PAGES as u8 + table as u8,
            Self::Special(special) => OBSERVED as u8 + special as u8,
        }
    }

    /// The name with this number.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        let code = usize::from(code);
        if let Some(page) = PageId::new(code) {
            return Some(Self::Page(page));
        }
        if let Some(table) = Table::ALL.get(code - PAGES) {
            return Some(Self::Table(*table));
        }
        Special::ALL.get(code - OBSERVED).copied().map(Self::Special)
    }

    /// Its place among the frames whose contents are observed.
    #[must_use]
    pub const fn observed(self) -> Option<usize> {
        let code = self.code() as usize;
        if code < OBSERVED { Some(code) } else { None }
    }

    /// The frames whose contents are observed, in order.
    pub fn all_observed() -> impl Iterator<Item = Self> {
        (0..OBSERVED as u8).filter_map(Self::from_code)
    }

    /// Every name, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..FRAMES as u8).filter_map(Self::from_code)
    }
}

impl From<PageId> for Frame {
    fn from(page: PageId) -> Self {
        Self::Page(page)
    }
}

impl From<Table> for Frame {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Special> for Frame {
    fn from(special: Special) -> Self {
        Self::Special(special)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_number() {
        let all: std::vec::Vec<Frame> = Frame::all().collect();
        assert_eq!(all.len(), FRAMES);
        for (code, frame) in all.iter().enumerate() {
            assert_eq!((usize::from(frame.code()), Frame::from_code(frame.code())), (code, Some(*frame)));
        }
        assert_eq!(Frame::from_code(FRAMES as u8), None);
        assert_eq!(Frame::all_observed().count(), OBSERVED);
    }
}
