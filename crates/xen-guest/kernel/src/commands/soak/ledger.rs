//! What has been asked for each entry of one table, and what has been handed to Xen.
//!
//! Every write of an entry has a number, one above that of the entry's write before, and the number is in the value.
//! An entry has one owner, a worker or a vCPU's interrupt handler, which alone asks for writes of it and notes the number
//! before it asks. Numbers that reach Xen have to rise: one that does not was handed over twice or too late. Some
//! may be left out, where the library has merged writes; the owner says when none may be missing any longer.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hypercall::{ENTRIES_PER_TABLE, Mfn, MmuextOp, Operation, Pte, PteFlags, PteSlot, Record, VirtAddr};

use crate::mmu::FLAGS;

/// Owners: six workers and two vCPUs' handlers.
pub(super) const OWNERS: usize = 8;
/// Entries of each.
pub(super) const OWNED: usize = ENTRIES_PER_TABLE / OWNERS;
/// Numbers that a present entry can tell apart: nine bits that nobody else uses. No more than half as many writes of an
/// entry may be between what was asked and what was issued.
const CYCLE: u64 = 512;
/// An owner's page in the TLB flushes it asks for: nobody maps anything there.
const FLUSHED_PAGES: u64 = 0x7f00_0000_0000;

/// What can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Wrong {
    /// Is not effective where it has to be.
    Lost,
    /// Was handed over twice.
    Duplicated,
    /// Was handed over behind a newer one.
    Reordered,
    /// Was handed over, and nobody has asked for it.
    Invented,
    /// A TLB flush was handed over before a write that was asked before it.
    Overtaken,
    /// A TLB flush was not handed over.
    FlushLost,
    /// The library's accessor told something else than was asked.
    Misread,
    /// Memory holds something else than was handed over.
    Differs,
}

impl Wrong {
    pub(super) const ALL: [(Self, &'static str); 8] = [
        (Self::Lost, "lost"),
        (Self::Duplicated, "duplicated"),
        (Self::Reordered, "reordered"),
        (Self::Invented, "invented"),
        (Self::Overtaken, "overtaken"),
        (Self::FlushLost, "flush_lost"),
        (Self::Misread, "misread"),
        (Self::Differs, "differs"),
    ];
}

/// How often something was wrong, and the first time: entry, number expected, number found.
pub(super) struct Findings {
    pub(super) count: AtomicU64,
    pub(super) first: [AtomicU64; 3],
}

/// A TLB flush that an owner has asked for and that has not been handed over.
struct OwedFlush {
    is_owed: AtomicBool,
    /// The numbers its writes had when it was asked for.
    behind: [AtomicU64; OWNED],
}

pub(super) struct Ledger {
    table: AtomicU64,
    /// The frame that present entries lead to.
    data: AtomicU64,
    asked: [AtomicU64; ENTRIES_PER_TABLE],
    issued: [AtomicU64; ENTRIES_PER_TABLE],
    flushes: [OwedFlush; OWNERS],
    pub(super) asked_in_all: AtomicU64,
    pub(super) issued_in_all: AtomicU64,
    pub(super) refused: AtomicU64,
    findings: [Findings; Wrong::ALL.len()],
}

pub(super) static LEDGER: Ledger = Ledger::new();

/// What hears of everything that is handed to Xen, on the vCPU that hands it over and with upcalls masked.
pub(super) fn watch(record: &Record) {
    LEDGER.hears(record);
}

/// The number in the entry `pte`, which is near `last`.
fn number_in(pte: Pte, last: u64) -> u64 {
    if !pte.is_present() {
        return pte.bits() >> 12;
    }
    let bits = pte.bits() >> 9 & 7 | (pte.bits() >> 53 & 63) << 3;
    let ahead = bits.wrapping_sub(last) % CYCLE;
    if ahead < CYCLE / 2 { last + ahead } else { last.saturating_sub(CYCLE - ahead) }
}

impl Ledger {
    /// Nothing asked for, nothing handed over.
    pub(super) const fn new() -> Self {
        Self {
            table: AtomicU64::new(0),
            data: AtomicU64::new(0),
            asked: [const { AtomicU64::new(0) }; ENTRIES_PER_TABLE],
            issued: [const { AtomicU64::new(0) }; ENTRIES_PER_TABLE],
            flushes: [const { OwedFlush { is_owed: AtomicBool::new(false), behind: [const { AtomicU64::new(0) }; OWNED] } };
                OWNERS],
            asked_in_all: AtomicU64::new(0),
            issued_in_all: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            findings: [const { Findings { count: AtomicU64::new(0), first: [const { AtomicU64::new(0) }; 3] } };
                Wrong::ALL.len()],
        }
    }

    pub(super) fn hears(&self, record: &Record) {
        let Record::Operation { operation, result } = record else { return };
        match (operation, result) {
            (_, Some(Err(_)) | None) => drop(self.refused.fetch_add(1, SeqCst)),
            (Operation::Update { update, .. }, _) => self.updated(update.slot, Pte::from_bits(update.value)),
            (Operation::Mmuext { op: MmuextOp::InvlpgLocal { address }, .. }, _) => self.flushed(*address),
            _ => {}
        }
    }

    pub(super) fn begin(&self, table: Mfn, data: Mfn) {
        self.table.store(table.number(), SeqCst);
        self.data.store(data.number(), SeqCst);
    }

    /// The slot of an entry.
    pub(super) fn slot(&self, entry: usize) -> PteSlot {
        PteSlot::of(Mfn::new(self.table.load(SeqCst)), entry)
    }

    /// What an entry holds behind write `number`: one in four is present.
    pub(super) fn value(&self, number: u64) -> Pte {
        if number == 0 || !number.is_multiple_of(4) {
            return Pte::from_bits(number << 12);
        }
        let flags = PteFlags::from_bits_truncate((number & 7) << 9 | (number >> 3 & 63) << 53);
        Pte::new(Mfn::new(self.data.load(SeqCst)), FLAGS | flags)
    }

    /// Notes that its owner is about to ask for another write of `entry`, and answers with the value to ask for.
    pub(super) fn ask(&self, entry: usize) -> Pte {
        self.asked_in_all.fetch_add(1, SeqCst);
        self.value(self.asked[entry].fetch_add(1, SeqCst) + 1)
    }

    /// Notes that `owner` is about to ask for a TLB flush, and answers with the page; `None` where one is still owed.
    pub(super) fn ask_flush(&self, owner: usize) -> Option<VirtAddr> {
        let flush = &self.flushes[owner];
        if flush.is_owed.load(SeqCst) {
            return None;
        }
        for (behind, asked) in flush.behind.iter().zip(&self.asked[owner * OWNED..]) {
            behind.store(asked.load(SeqCst), SeqCst);
        }
        flush.is_owed.store(true, SeqCst);
        Some(VirtAddr::unchecked(FLUSHED_PAGES + ((owner as u64) << 12)))
    }

    fn updated(&self, slot: PteSlot, pte: Pte) {
        if slot.table().number() != self.table.load(SeqCst) {
            return;
        }
        let entry = slot.index();
        self.issued_in_all.fetch_add(1, SeqCst);
        let (last, asked) = (self.issued[entry].load(SeqCst), self.asked[entry].load(SeqCst));
        let number = number_in(pte, last);
        match number {
            _ if number == last => self.find(Wrong::Duplicated, entry, last, number),
            _ if number < last => self.find(Wrong::Reordered, entry, last, number),
            _ if number > asked || pte != self.value(number) => self.find(Wrong::Invented, entry, asked, number),
            _ => self.issued[entry].store(number, SeqCst),
        }
    }

    fn flushed(&self, address: VirtAddr) {
        let page = address.value().wrapping_sub(FLUSHED_PAGES) >> 12;
        let Some(flush) = self.flushes.get(page as usize) else { return };
        if !flush.is_owed.swap(false, SeqCst) {
            return;
        }
        for (n, behind) in flush.behind.iter().enumerate() {
            let entry = page as usize * OWNED + n;
            let (behind, issued) = (behind.load(SeqCst), self.issued[entry].load(SeqCst));
            if issued < behind {
                self.find(Wrong::Overtaken, entry, behind, issued);
            }
        }
    }

    /// The owner of `entry` says that what it has asked for is effective now.
    pub(super) fn is_effective(&self, entry: usize, memory: Pte) {
        let (asked, issued) = (self.asked[entry].load(SeqCst), self.issued[entry].load(SeqCst));
        if issued != asked {
            self.find(Wrong::Lost, entry, asked, issued);
        } else if memory != self.value(issued) {
            self.find(Wrong::Differs, entry, issued, number_in(memory, issued));
        }
    }

    /// The same of the TLB flush it has asked for.
    pub(super) fn flush_is_effective(&self, owner: usize) {
        if self.flushes[owner].is_owed.swap(false, SeqCst) {
            self.find(Wrong::FlushLost, owner * OWNED, 1, 0);
        }
    }

    /// The library's accessor answers with `pte` for `entry`, of which its owner asks.
    pub(super) fn is_read(&self, entry: usize, pte: Pte) {
        let asked = self.asked[entry].load(SeqCst);
        if pte != self.value(asked) {
            self.find(Wrong::Misread, entry, asked, number_in(pte, asked));
        }
    }

    fn find(&self, wrong: Wrong, entry: usize, expected: u64, found: u64) {
        let findings = self.findings(wrong);
        if findings.count.fetch_add(1, SeqCst) == 0 {
            let values = [entry as u64, expected, found];
            findings.first.iter().zip(values).for_each(|(first, value)| first.store(value, SeqCst));
        }
    }

    pub(super) fn findings(&self, wrong: Wrong) -> &Findings {
        &self.findings[wrong as usize]
    }
}
