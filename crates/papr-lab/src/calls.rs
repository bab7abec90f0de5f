//! Hypercalls made up from a seed.
//!
//! Nothing is looked at but the generator's own numbers. Few places and few tags, and more entries made than removed: so groups
//! are full, places are occupied and tags match often.

use fastrand::Rng;
use mock_papr::abi::{
    ANDCOND, AVPN, END, EXACT, H_BULK_REMOVE, H_ENTER, H_PROTECT, H_READ, H_REMOVE, READ_4, REQUEST, RESPONSE,
};

use crate::pages;

/// A hypercall: its number, and r4 to r12. Or, with [`Call::LOAD`], a load from the address in r4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// r3.
    pub number: u64,
    /// r4 to r12.
    pub registers: [u64; 9],
}

impl Call {
    /// A number that is the guest's own: a load through the page table. r3 is 0 and r4 the value, or r3 is why not (DSISR).
    pub const LOAD: u64 = 1 << 63;
}

/// What a sequence is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Every hypercall, with arguments good and bad.
    Hypercalls,
    /// Entries of a few pages made, changed and removed, and loads from these pages.
    Loads,
}

/// Those that the machine does not have, block removal among them.
const NONE: [u64; 5] = [0x05, 0x10, 0x14, 0x328, 0x448];

/// The two groups that most calls are about.
const PLACES: std::ops::Range<u64> = 0x800..0x810;
/// The last place, the first that is none, and one with a high bit.
const FAR: [u64; 3] = [crate::TABLE - 1, crate::TABLE, 1 << 63 | 0x800];
/// Tags as they are in an entry's first doubleword, one of a segment of 1 TiB.
const TAGS: [u64; 4] = [0x3000 << 7, 0x3001 << 7, 0, 1 << 62 | 0x3000 << 7];

/// An endless sequence of calls.
#[derive(Clone, Debug)]
pub struct Calls(Rng, Kind);

impl Calls {
    /// The sequence of this kind and seed.
    #[must_use]
    pub fn new(kind: Kind, seed: u64) -> Self {
        Self(Rng::with_seed(seed), kind)
    }

    fn of<const N: usize>(&mut self, choices: [u64; N]) -> u64 {
        choices[self.0.usize(..N)]
    }

    /// One of the choices once in `rarely`, otherwise `usual`.
    fn mostly<const N: usize>(&mut self, usual: u64, rarely: usize, choices: [u64; N]) -> u64 {
        if self.0.usize(..rarely) == 0 { self.of(choices) } else { usual }
    }

    fn place(&mut self) -> u64 {
        let near = self.0.u64(PLACES);
        self.mostly(near, 12, FAR)
    }

    fn tag(&mut self) -> u64 {
        self.of(TAGS) | self.mostly(0, 4, [1, 0x10])
    }

    /// The first doubleword of an entry: valid, but sometimes not; secondary, large, bolted, reserved bits; segment sizes.
    fn first(&mut self) -> u64 {
        self.of(TAGS) | self.mostly(1, 4, [0, 3, 5, 0x11, 0x79]) | self.mostly(0, 16, [2 << 62, 3 << 62])
    }

    /// The second: in memory, at its end, beyond, and where large pages have their size; attributes, bits of use, rights.
    fn second(&mut self) -> u64 {
        let beyond = crate::MEMORY;
        let places = [beyond - 0x1000, beyond, 0x4000_0000, 0x11_1000, 0x10_7000, 0x10_f000];
        let address = self.mostly(0x10_0000, 2, places);
        let attributes = self.mostly(0x10, 3, [0, 0x20, 0x28, 0x30, 0x60, 0x18, 0x50]);
        let rights = self.of([0, 0, 1, 3, 4, 0xe00, 1 << 63, 3 << 60]);
        address | attributes | rights | self.of([0, 0x80, 0x100, 0x180])
    }

    fn enter(&mut self) -> [u64; 4] {
        [self.of([EXACT, 0, 0, 1 << 15, !0]), self.place(), self.first(), self.second()]
    }

    fn removal(&mut self) -> [u64; 3] {
        [self.of([0, AVPN, AVPN, ANDCOND, AVPN | ANDCOND, 7]), self.place(), self.tag()]
    }

    fn protection(&mut self) -> [u64; 3] {
        let rights = self.of([0, 2, 7, 0x103, 0x3e00]);
        [rights | self.of([0, AVPN, ANDCOND]), self.place(), self.tag()]
    }

    /// A word of a bulk removal: type, flags or leftovers of a response, place.
    fn word(&mut self) -> u64 {
        let kind = self.mostly(REQUEST, 5, [END, RESPONSE, 0]);
        let flags = self.of([0, 0, 2, 2, 1, 1, 3, 0x3c]) << 56;
        kind | flags | (self.place() & ((1 << 56) - 1))
    }

    fn bulk(&mut self) -> [u64; 8] {
        std::array::from_fn(|number| if number % 2 == 0 { self.word() } else { self.tag() })
    }

    /// A call with these registers, and leftovers in the others.
    fn call(&mut self, number: u64, given: &[u64]) -> Call {
        let leftover = |_| self.of([0, 1, 0x999, !0]);
        let mut registers: [u64; 9] = std::array::from_fn(leftover);
        registers[..given.len()].copy_from_slice(given);
        Call { number, registers }
    }

    fn hypercall(&mut self) -> Call {
        let (number, given) = match self.0.u8(..20) {
            0..=7 => (H_ENTER, self.enter().to_vec()),
            8..=9 => (H_READ, vec![self.of([0, READ_4, READ_4, 7]), self.place()]),
            10..=11 => (H_REMOVE, self.removal().to_vec()),
            12..=14 => (H_PROTECT, self.protection().to_vec()),
            15..=18 => (H_BULK_REMOVE, self.bulk().to_vec()),
            _ => (self.of(NONE), vec![]),
        };
        self.call(number, &given)
    }

    fn page(&mut self) -> u64 {
        self.0.u64(..pages::PAGES)
    }

    fn page_place(&mut self) -> u64 {
        pages::place(self.page())
    }

    /// A page's entry; it has been used, so that a load does not change it.
    fn enter_page(&mut self) -> [u64; 4] {
        let frame = pages::frame(self.page());
        [EXACT, self.page_place(), pages::TAG | 1, frame | 0x190 | self.0.u64(..4)]
    }

    /// Removals of pages, with what ends or fails a call among them.
    fn bulk_of_pages(&mut self) -> [u64; 8] {
        let word = |number| {
            let request = REQUEST | (2 << 56) | self.page_place();
            let bad = [END, 0, RESPONSE, REQUEST | (3 << 56), REQUEST | crate::TABLE];
            if number % 2 == 0 { self.mostly(request, 3, bad) } else { pages::TAG }
        };
        std::array::from_fn(word)
    }

    fn call_or_load(&mut self) -> Call {
        let (number, given) = match self.0.u8(..20) {
            0..=5 => (H_ENTER, self.enter_page().to_vec()),
            6 => (H_REMOVE, vec![AVPN, self.page_place(), self.of([pages::TAG, pages::TAG, 0])]),
            7 => (H_PROTECT, vec![AVPN | self.0.u64(..4), self.page_place(), self.of([pages::TAG, 0])]),
            8..=10 => (H_BULK_REMOVE, self.bulk_of_pages().to_vec()),
            _ => (Call::LOAD, vec![pages::address(self.page())]),
        };
        self.call(number, &given)
    }
}

impl Iterator for Calls {
    type Item = Call;

    fn next(&mut self) -> Option<Call> {
        Some(match self.1 {
            Kind::Hypercalls => self.hypercall(),
            Kind::Loads => self.call_or_load(),
        })
    }
}
