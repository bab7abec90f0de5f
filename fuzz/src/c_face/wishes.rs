//! Operations that are asked for by the header's structure, whose numbers may be none there are.

use arbitrary::Arbitrary;
use hypercall::PteFlags;
use mock_xen::testing::TestGuest;
use pvmmu::operation::Operation as Wish;
use pvmmu::words::{Mfn, Pte, Slot, Va, Vcpus};

use super::PLACES;
use super::face::NO_WISH;

/// One of a task's entries, or none there is.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Place(u8, u8);

/// What an entry is to hold.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Entry {
    Empty,
    Page { page: u8, writable: bool, noted: bool },
    Refused,
}

/// An operation that nothing refuses.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Harmless {
    FlushLocal,
    FlushAll,
    FlushVcpus(u8),
    /// Vcpus there are not are flushed too.
    FlushMore(u64, u64),
    Page(u8),
    PageVcpus(u8, u8),
    PageAll(u8),
    Update {
        place: Place,
        keeps: bool,
        entry: Entry,
    },
    Stack(u8),
}

/// An operation of any numbers.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) struct Shape {
    kind: u8,
    detail: u8,
    place: Place,
    command: u8,
    entry: Entry,
    frame: u8,
    address: u8,
    value: u8,
    vcpus: [u8; 2],
}

impl Place {
    /// Where it lies in the task's share, 0 to 7.
    pub(super) const fn number(self) -> usize {
        self.0 as usize % 8
    }

    /// The machine address, or one of no slot.
    pub(super) fn bits(self, guest: &TestGuest, task: usize) -> u64 {
        let bits = guest.slot(task * PLACES + self.number()).address();
        match self.1 {
            255 => bits | 4,
            254 => bits | 1 << 52,
            _ => bits,
        }
    }
}

impl Entry {
    pub(super) fn bits(self, guest: &TestGuest, refuses: bool) -> u64 {
        match self {
            Self::Refused if refuses => guest.refused_pte().bits(),
            Self::Empty | Self::Refused => 0,
            Self::Page { page, writable, noted } => {
                let rw = if writable { PteFlags::RW } else { PteFlags::NONE };
                let noted = if noted { PteFlags::ACCESSED_DIRTY } else { PteFlags::NONE };
                let page = guest.page(usize::from(page) % TestGuest::PAGES);
                hypercall::Pte::new(page, PteFlags::PRESENT | rw | noted).bits()
            }
        }
    }
}

impl Harmless {
    pub(super) fn wish(self, guest: &TestGuest, task: usize) -> Wish {
        let of = |kind| Wish { kind, ..NO_WISH };
        let page = |page: u8| Va { address: u64::from(page % 4) << 12 };
        let few = |vcpus: u8| Vcpus { words: [u64::from(vcpus) % 4, 0] };
        match self {
            Self::FlushLocal => of(6),
            Self::FlushVcpus(vcpus) => Wish { vcpus: few(vcpus), ..of(7) },
            Self::FlushMore(low, high) => Wish { vcpus: Vcpus { words: [low | 3, high] }, ..of(7) },
            Self::FlushAll => of(8),
            Self::Page(address) => Wish { address: page(address), ..of(9) },
            Self::PageVcpus(address, vcpus) => Wish { address: page(address), vcpus: few(vcpus), ..of(10) },
            Self::PageAll(address) => Wish { address: page(address), ..of(11) },
            Self::Update { place, keeps, entry } => {
                let slot = Slot { bits: place.bits(guest, task) & !4 | if keeps { 2 } else { 0 } };
                Wish { slot, pte: Pte { bits: entry.bits(guest, false) }, ..of(1) }
            }
            Self::Stack(address) => Wish { value: 0xe02b, address: page(address), ..of(16) },
        }
    }
}

impl Shape {
    pub(super) fn wish(self, guest: &TestGuest, task: usize) -> Wish {
        let frame = match self.frame % 8 {
            0 | 1 => guest.empty_table(),
            2 => guest.table(),
            3 => guest.xen().processor(hypercall::VcpuId::new(0)).base,
            4 => hypercall::Mfn::new(u64::MAX),
            5 => hypercall::Mfn::new(0),
            page => guest.page(usize::from(page)),
        };
        let mapped = guest.xen().direct_map(guest.page(usize::from(self.address) % TestGuest::PAGES));
        let address = match (self.address % 4, mapped) {
            (0, Some(mapped)) => mapped.value(),
            (1, _) => 1 << 63,
            _ => u64::from(self.address) << 12,
        };
        Wish {
            kind: u32::from(self.kind) % 22,
            detail: u32::from(self.detail) % 9,
            slot: Slot { bits: self.place.bits(guest, task) | (u64::from(self.command) % 8) },
            pte: Pte { bits: self.entry.bits(guest, true) },
            frame: Mfn { number: frame.number() },
            address: Va { address },
            value: u64::from(self.value) % 20,
            vcpus: Vcpus { words: self.vcpus.map(u64::from) },
        }
    }
}
