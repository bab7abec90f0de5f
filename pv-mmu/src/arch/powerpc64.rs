//! powerpc64 with a hashed page table on a PAPR hypervisor: entries of the hash table are removed late.
//!
//! The kernel's own tables are memory; the hypervisor keeps a hash table of what has been used, and the TLBs are its
//! affair. So what a write owes is the removal of the hash entry that was made of the old value. A batch is of one address space, one
//! page size and one segment size; the region keeps preemption off, so it is the vCPU's. Handlers do their own at once.
//!
//! Which call removes is the firmware's to say: one entry each (`H_REMOVE`), four (`H_BULK_REMOVE`), or those of an aligned block of
//! eight pages (`H_BLOCK_REMOVE`), for which the batch is sorted, so that blocks fill.
//!
//! With radix tables nothing is owed: [`Radix`].

use core::convert::Infallible;

use super::{Deferral, Preemption};

/// Removals a batch holds (Linux's `PPC64_TLB_BATCH_NR`).
pub const CAPACITY: usize = 192;
/// Pages of a block of `H_BLOCK_REMOVE`.
pub const BLOCK: usize = 8;
/// Removals in one `H_BULK_REMOVE`.
const BULK: usize = 4;

/// How often a removal is asked for again that the hypervisor is too busy for.
const PATIENCE: u32 = 1000;

/// An address space, by the kernel's own number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Space(pub u32);

/// The place of an entry in the hash table (PAPR's PTEX).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ptex(pub u64);

/// What is grouped together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Whose.
    pub space: Space,
    /// The page's size, as the number of address bits within it.
    pub page_shift: u8,
    /// The segment's, 28 or 40.
    pub segment_shift: u8,
}

/// A hash entry to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Removal {
    /// What it is grouped with.
    pub group: Group,
    /// The number of the virtual page.
    pub page: u64,
    /// Where its entry is.
    pub place: Ptex,
    /// What the entry has to be of to be removed, with the segment's size: the first doubleword of the entry without its low seven
    /// bits (PAPR's AVPN).
    pub tag: u64,
}

/// Why a removal was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// Which.
    pub removal: Removal,
    /// What the hypervisor answered: a return code of PAPR's, or the response code of one of several removals.
    pub status: i64,
}

/// Which call removes pages of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// `H_REMOVE`.
    Single,
    /// `H_BULK_REMOVE`.
    Bulk,
    /// `H_BLOCK_REMOVE` on blocks of eight pages, and `H_BULK_REMOVE` where blocks are so empty that it takes fewer calls.
    Block,
}

/// A PAPR machine under the kernel.
pub trait Pseries {
    /// One hypercall: its number, and r4 to r12, which hold its results afterwards; answers with r3.
    fn call(&self, number: u64, registers: &mut [u64; 9]) -> i64;

    /// What the firmware reports of pages of this size (`ibm,hypertas-functions`, and for blocks the system parameter
    /// of TLB block invalidation).
    fn way(&self, group: Group) -> Way;
}

/// Numbers and words of PAPR's calls.
mod papr {
    pub(super) const H_REMOVE: u64 = 0x04;
    pub(super) const H_BULK_REMOVE: u64 = 0x124;
    pub(super) const H_BLOCK_REMOVE: u64 = 0x328;
    /// Flag of `H_REMOVE`: only what has this tag.
    pub(super) const AVPN: u64 = 1 << 31;
    pub(super) const SUCCESS: i64 = 0;
    pub(super) const PARTIAL: i64 = 5;
    pub(super) const NOT_FOUND: i64 = -7;
    /// The range of answers "later".
    pub(super) const LONG_BUSY: core::ops::RangeInclusive<i64> = 9900..=9905;
    /// A request in a word of several, with the place below, for an entry of the tag.
    pub(super) const BULK_REQUEST: u64 = 0x42 << 56;
    pub(super) const BLOCK_REQUEST: u64 = 0x41 << 56;
    /// No more requests.
    pub(super) const END: u64 = 0xc0 << 56;
    /// Type and code of a response to one of several.
    pub(super) const BULK_CODE: u64 = 0xf0 << 56;
    pub(super) const BLOCK_CODE: u64 = 0xf8 << 56;
    pub(super) const DONE: u64 = 0x80 << 56;
    pub(super) const BULK_NOT_FOUND: u64 = 0x90 << 56;
    pub(super) const BLOCK_NOT_FOUND: u64 = 0x88 << 56;
    pub(super) const BLOCK_BUSY: u64 = 0xa0 << 56;
}

/// What waits on a vCPU.
#[derive(Clone, Debug, Hash)]
pub struct Batch<const ROOM: usize = CAPACITY> {
    removals: [Removal; ROOM],
    count: usize,
}

const NONE: Removal =
    Removal { group: Group { space: Space(0), page_shift: 0, segment_shift: 0 }, page: 0, place: Ptex(0), tag: 0 };

impl<const ROOM: usize> Default for Batch<ROOM> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const ROOM: usize> Batch<ROOM> {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { removals: [NONE; ROOM], count: 0 }
    }

    /// Whether the next one has the others carried out first.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count == ROOM
    }

    fn group(&self) -> Option<Group> {
        self.removals.get(..self.count)?.first().map(|removal| removal.group)
    }
}

impl<H: Pseries, const ROOM: usize> Deferral<H> for Batch<ROOM> {
    type Work = Removal;
    type Refusal = Refusal;
    const PREEMPTION: Preemption = Preemption::Disabled;

    fn defer(&mut self, work: Removal, hardware: &H, refused: &mut dyn FnMut(Refusal)) {
        if self.count == ROOM || self.group().is_some_and(|group| group != work.group) {
            self.flush(hardware, refused);
        }
        if let Some(room) = self.removals.get_mut(self.count) {
            (*room, self.count) = (work, self.count + 1);
        }
    }

    fn flush(&mut self, hardware: &H, refused: &mut dyn FnMut(Refusal)) {
        let count = core::mem::take(&mut self.count);
        if let Some(removals) = self.removals.get_mut(..count) {
            remove(hardware, removals, refused);
        }
    }

    fn at_once(work: Removal, hardware: &H, refused: &mut dyn FnMut(Refusal)) {
        remove(hardware, &mut [work], refused);
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}

/// Removes entries of one group, whichever way the firmware has.
fn remove<H: Pseries>(hardware: &H, removals: &mut [Removal], refused: &mut dyn FnMut(Refusal)) {
    let Some(first) = removals.first() else { return };
    match hardware.way(first.group) {
        Way::Single => removals.iter().for_each(|removal| single(hardware, removal, refused)),
        Way::Bulk => removals.chunks(BULK).for_each(|some| bulk(hardware, some, refused)),
        Way::Block => {
            removals.sort_unstable_by_key(|removal| (removal.page, removal.place.0));
            let blocks = || removals.chunk_by(in_one_block).flat_map(|run| run.chunks(BLOCK));
            if blocks().count() > removals.len().div_ceil(BULK) {
                removals.chunks(BULK).for_each(|some| bulk(hardware, some, refused));
            } else {
                blocks().for_each(|some| block(hardware, some, refused));
            }
        }
    }
}

const fn in_one_block(one: &Removal, other: &Removal) -> bool {
    one.page / BLOCK as u64 == other.page / BLOCK as u64
}

/// One call, again as long as the hypervisor says "later".
fn call<H: Pseries>(hardware: &H, number: u64, arguments: &[u64; 9]) -> (i64, [u64; 9]) {
    let mut patience = PATIENCE;
    loop {
        let mut registers = *arguments;
        let status = hardware.call(number, &mut registers);
        patience = patience.saturating_sub(1);
        if patience == 0 || !papr::LONG_BUSY.contains(&status) {
            return (status, registers);
        }
    }
}

/// An entry that is not there, or is another's meanwhile, owes nothing any more.
fn single<H: Pseries>(hardware: &H, removal: &Removal, refused: &mut dyn FnMut(Refusal)) {
    let arguments = [papr::AVPN, removal.place.0, removal.tag, 0, 0, 0, 0, 0, 0];
    let (status, _) = call(hardware, papr::H_REMOVE, &arguments);
    if status != papr::SUCCESS && status != papr::NOT_FOUND {
        refused(Refusal { removal: *removal, status });
    }
}

/// At most four. What has no response has not been looked at, and is asked for alone.
fn bulk<H: Pseries>(hardware: &H, removals: &[Removal], refused: &mut dyn FnMut(Refusal)) {
    let mut arguments = [0; 9];
    for (words, removal) in arguments.chunks_exact_mut(2).zip(removals) {
        words.copy_from_slice(&[papr::BULK_REQUEST | removal.place.0, removal.tag]);
    }
    if let Some(end) = arguments.get_mut(2 * removals.len()).filter(|_| removals.len() < BULK) {
        *end = papr::END;
    }
    let (_, answers) = call(hardware, papr::H_BULK_REMOVE, &arguments);
    for (words, removal) in answers.chunks_exact(2).zip(removals) {
        match words.first().map(|word| word & papr::BULK_CODE) {
            Some(papr::DONE | papr::BULK_NOT_FOUND) => {}
            _ => single(hardware, removal, refused),
        }
    }
}

/// At most eight, of one block. What is busy is asked for again, what was not removed for another reason alone.
fn block<H: Pseries>(hardware: &H, removals: &[Removal], refused: &mut dyn FnMut(Refusal)) {
    let mut waiting = [NONE; BLOCK];
    let mut count = removals.len().min(BLOCK);
    waiting.iter_mut().zip(removals).for_each(|(room, removal)| *room = *removal);
    for _ in 0..PATIENCE {
        let some = waiting;
        let Some(some) = some.get(..count).filter(|some| !some.is_empty()) else { return };
        let answers = block_once(hardware, some);
        count = 0;
        for (removal, answer) in some.iter().zip(answers) {
            match answer {
                papr::DONE | papr::BLOCK_NOT_FOUND => {}
                papr::BLOCK_BUSY => {
                    if let Some(room) = waiting.get_mut(count) {
                        (*room, count) = (*removal, count + 1);
                    }
                }
                _ => single(hardware, removal, refused),
            }
        }
    }
    waiting.iter().take(count).for_each(|removal| single(hardware, removal, refused));
}

/// The codes of the answers.
fn block_once<H: Pseries>(hardware: &H, removals: &[Removal]) -> [u64; BLOCK] {
    let mut arguments = [0; 9];
    let Some((tag, words)) = arguments.split_first_mut() else { return [0; BLOCK] };
    // The tag of any of them says which block.
    *tag = removals.first().map_or(0, |removal| removal.tag);
    words.iter_mut().zip(removals).for_each(|(word, removal)| *word = papr::BLOCK_REQUEST | removal.place.0);
    if let Some(end) = words.get_mut(removals.len()) {
        *end = papr::END;
    }
    let (status, answers) = call(hardware, papr::H_BLOCK_REMOVE, &arguments);
    if status != papr::SUCCESS && status != papr::PARTIAL {
        return [0; BLOCK];
    }
    core::array::from_fn(|number| answers.get(number).map_or(0, |word| word & papr::BLOCK_CODE))
}

/// Radix tables: the hardware walks the kernel's own, and nothing is owed to a hash table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Radix;

impl<H: ?Sized> Deferral<H> for Radix {
    type Work = ();
    type Refusal = Infallible;
    const PREEMPTION: Preemption = Preemption::Allowed;

    fn defer(&mut self, (): (), _: &H, _: &mut dyn FnMut(Infallible)) {}

    fn flush(&mut self, _: &H, _: &mut dyn FnMut(Infallible)) {}

    fn at_once((): (), _: &H, _: &mut dyn FnMut(Infallible)) {}

    fn is_empty(&self) -> bool {
        true
    }
}
