//! The world as the interpreter last saw it.
//!
//! A copy of every observed frame is kept, so that each step's changes are known, entries can be
//! followed without touching them, and the arena can be brought back to what it was. The copy is
//! exact between two steps.

use hypercall::{ENTRIES_PER_TABLE, Mfn, PAGE_SHIFT, Pte, PteFlags};

use crate::arena::{self, Target};
use crate::frame::{FRAMES, Frame, OBSERVED, PAGES, PageId, Special, Table};
use crate::list::ListError;
use crate::machine::Machine;
use crate::record::{self, Record, Word};
use crate::wire::Sink;

type Words = [u64; ENTRIES_PER_TABLE];

/// Frames whose machine-to-physical word is observed: those whose contents are, and video memory.
const TRACKED: usize = OBSERVED + 1;
/// Root entries that are Xen's.
const XEN_ENTRIES: core::ops::Range<usize> = 256..272;
/// Those of them that every machine has and that lead to no frame with a name.
const XEN_COMMON: [usize; 3] = [256, 260, 261];
/// Xen's map of the root itself, and one that Xen leaves empty.
const XEN_EXACT: [usize; 2] = [258, 259];

/// The index of a word that lies in no frame: no entry of Xen's or of the executor's has it.
pub(crate) const NO_INDEX: usize = ENTRIES_PER_TABLE;

/// A set of observed frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameSet(pub(crate) u32);

impl FrameSet {
    pub(crate) const ALL: Self = Self((1 << OBSERVED) - 1);

    pub(crate) fn add(&mut self, frame: Frame) {
        if let Some(place) = frame.observed() {
            self.0 |= 1 << place;
        }
    }

    pub(crate) fn contains(self, frame: Frame) -> bool {
        frame.observed().is_some_and(|place| self.0 & 1 << place != 0)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = Frame> {
        Frame::all_observed().filter(move |frame| self.contains(*frame))
    }

    pub(crate) fn pages(self) -> impl Iterator<Item = PageId> {
        PageId::all().filter(move |page| self.contains((*page).into()))
    }
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// To nothing: no entry, or no address.
    Nothing,
    /// To this word of an observed frame.
    Word(Frame, usize),
    /// To a frame that is not observed, or through a table that is not.
    Elsewhere,
}

/// The copy.
#[derive(Debug)]
pub(crate) struct World {
    frames: [Words; OBSERVED],
    /// The tables of the arena as the first program found them.
    first: [Words; Table::ALL.len()],
    m2p: [u64; TRACKED],
    first_m2p: [u64; TRACKED],
    mfns: [Option<Mfn>; FRAMES],
}

impl World {
    pub(crate) const fn new() -> Self {
        Self {
            frames: [[0; ENTRIES_PER_TABLE]; OBSERVED],
            first: [[0; ENTRIES_PER_TABLE]; Table::ALL.len()],
            m2p: [0; TRACKED],
            first_m2p: [0; TRACKED],
            mfns: [None; FRAMES],
        }
    }

    /// Takes the world as it is before the first program.
    pub(crate) fn start(&mut self, machine: &impl Machine) -> Result<(), ListError> {
        for (mfn, frame) in self.mfns.iter_mut().zip(Frame::all()) {
            *mfn = machine.mfn(frame);
        }
        for (words, frame) in self.frames.iter_mut().zip(Frame::all_observed()) {
            *words = [0; ENTRIES_PER_TABLE];
            let mut from = 0;
            while let Some((index, word)) = machine.next_change(frame, words, from) {
                words[index] = word;
                from = index + 1;
            }
        }
        for (word, frame) in self.m2p.iter_mut().zip(tracked()) {
            *word = machine.machine_to_physical(frame);
        }
        self.first_m2p = self.m2p;
        for (first, now) in self.first.iter_mut().zip(self.frames.iter().skip(PAGES)) {
            *first = *now;
        }
        self.check_arena()
    }

    fn check_arena(&self) -> Result<(), ListError> {
        for entry in arena::entries() {
            let frame = Frame::from(entry.table);
            let wrong = ListError::Arena { frame: frame.code(), index: entry.index };
            let Target::Frame(target) = entry.target else { continue };
            let expected = self.mfn(target).map(|mfn| entry.pte(mfn).bits());
            if expected != Some(self.load(frame, entry.index)) {
                return Err(wrong);
            }
        }
        let used = |(frame, index)| ListError::Arena { frame, index };
        let mut pages = self.frames.iter().take(PAGES).zip(0..);
        let first_used = pages.find_map(|(words, code)| Some((code, words.iter().position(|word| *word != 0)?)));
        first_used.map_or(Ok(()), |place| Err(used(place)))
    }

    /// The number of a frame.
    pub(crate) fn mfn(&self, frame: Frame) -> Option<Mfn> {
        self.mfns.get(usize::from(frame.code())).copied().flatten()
    }

    /// The name of a frame.
    pub(crate) fn named(&self, mfn: Mfn) -> Option<Frame> {
        let code = self.mfns.iter().position(|candidate| *candidate == Some(mfn))?;
        Frame::from_code(code as u8)
    }

    /// A word of an observed frame; 0 for any other.
    pub(crate) fn load(&self, frame: Frame, index: usize) -> u64 {
        let words = frame.observed().and_then(|place| self.frames.get(place));
        words.and_then(|words| words.get(index)).copied().unwrap_or(0)
    }

    /// What a word of an observed frame held before the first program.
    pub(crate) fn at_first(&self, frame: Frame, index: usize) -> u64 {
        let Frame::Table(table) = frame else { return 0 };
        self.first.get(table as usize).and_then(|words| words.get(index)).copied().unwrap_or(0)
    }

    /// The first tracked frame whose machine-to-physical word is not what it was, with that.
    pub(crate) fn changed_m2p(&self) -> Option<(Frame, u64)> {
        let mut pairs = self.m2p.iter().zip(&self.first_m2p).zip(tracked());
        pairs.find(|((now, first), _)| now != first).map(|((_, first), frame)| (frame, *first))
    }

    /// The pages that hold something.
    pub(crate) fn used_pages(&self) -> FrameSet {
        let mut used = FrameSet(0);
        for (page, words) in PageId::all().zip(&self.frames) {
            if words.iter().any(|word| *word != 0) {
                used.add(page.into());
            }
        }
        used
    }

    /// Takes it that the machine-to-physical word of a frame is what it was.
    pub(crate) fn forget_m2p(&mut self, frame: Frame) {
        if let Some(place) = tracked().position(|tracked| tracked == frame)
            && let (Some(word), Some(first)) = (self.m2p.get_mut(place), self.first_m2p.get(place))
        {
            *word = *first;
        }
    }

    /// The first word that is not what it was before the first program, as it is now. Of entries the
    /// processor sets flags in by itself those flags do not count.
    pub(crate) fn first_difference(&self) -> Option<(Frame, usize, Word)> {
        let used = PteFlags::ACCESSED_DIRTY.bits();
        for frame in Frame::all_observed() {
            let differs = |index: &usize| (self.load(frame, *index) ^ self.at_first(frame, *index)) & !used != 0;
            if let Some(index) = (0..ENTRIES_PER_TABLE).find(differs) {
                return Some((frame, index, self.translated(index, self.load(frame, index))));
            }
        }
        self.changed_m2p().map(|(frame, _)| (frame, 0, Word::Home))
    }

    /// Where the tables from the L4 `base` on lead with `address`.
    pub(crate) fn reach(&self, base: Frame, address: u64) -> Reached {
        if (address as i64) << 16 >> 16 != address as i64 {
            return Reached::Nothing;
        }
        let root_index = (address >> (PAGE_SHIFT + 27) & 0x1ff) as usize;
        if root_index != arena::ROOT_INDEX && arena::reserved(Table::Root, root_index) {
            return Reached::Elsewhere;
        }
        let mut table = base;
        for level in (1..=4).rev() {
            let index = address >> (PAGE_SHIFT + 9 * (level - 1)) & 0x1ff;
            let entry = Pte::from_bits(self.load(table, index as usize));
            if !entry.is_present() {
                return Reached::Nothing;
            }
            match self.named(entry.frame()).filter(|frame| frame.observed().is_some()) {
                Some(frame) => table = frame,
                None => return Reached::Elsewhere,
            }
        }
        Reached::Word(table, (address % hypercall::PAGE_SIZE / 8) as usize)
    }

    /// Looks at `frames` and all machine-to-physical words again, writes down what has changed, and
    /// answers whether an entry of a table of the arena or of a page has.
    pub(crate) fn observe(&mut self, machine: &impl Machine, frames: FrameSet, sink: &mut impl Sink) -> bool {
        let mut changed = false;
        for frame in frames.iter() {
            let mut from = 0;
            while let Some((index, now)) = self.next_change(machine, frame, from) {
                self.note_change(frame, index, now, sink);
                changed = true;
                from = index + 1;
            }
        }
        for (place, frame) in tracked().enumerate() {
            self.observe_m2p(place, frame, machine.machine_to_physical(frame), sink);
        }
        sink.byte(record::END);
        changed
    }

    fn next_change(&self, machine: &impl Machine, frame: Frame, from: usize) -> Option<(usize, u64)> {
        machine.next_change(frame, self.frames.get(frame.observed()?)?, from)
    }

    fn note_change(&mut self, frame: Frame, index: usize, now: u64, sink: &mut impl Sink) {
        let before = self.load(frame, index);
        let words = frame.observed().and_then(|place| self.frames.get_mut(place));
        words.and_then(|words| words.get_mut(index)).into_iter().for_each(|word| *word = now);
        let word = self.translated(index, now);
        if word != self.translated(index, before) {
            sink.bytes(&[record::CHANGE, frame.code()]);
            sink.number(index as u64);
            sink.word(word);
        }
    }

    fn observe_m2p(&mut self, place: usize, frame: Frame, now: u64, sink: &mut impl Sink) {
        let (Some(word), Some(first)) = (self.m2p.get_mut(place), self.first_m2p.get(place)) else { return };
        if *word == now {
            return;
        }
        *word = now;
        sink.bytes(&[record::CHANGE_M2P, frame.code()]);
        let word = if now == *first { Word::Home } else { self.translated(NO_INDEX, now) };
        sink.word(word);
    }

    /// Whether a word is a copy of one of the root entries that the executor has for itself. Each machine
    /// has others, so they count as empty.
    fn is_executors(&self, index: usize, word: u64) -> bool {
        let used = PteFlags::ACCESSED_DIRTY.bits();
        let own = self.at_first(Table::Root.into(), index);
        let executors = index != arena::ROOT_INDEX && arena::reserved(Table::Root, index);
        executors && Pte::from_bits(own).is_present() && (own ^ word) & !used == 0
    }

    /// Which page of the arguments a frame is.
    fn argument_page(&self, mfn: Mfn) -> Option<u8> {
        let entry = |number| self.at_first(Table::L1.into(), arena::FIRST_ARGUMENT + usize::from(number));
        (0..arena::ARGUMENT_PAGES as u8).find(|number| Pte::from_bits(entry(*number)).frame() == mfn)
    }

    /// Whether a program may use what it finds at `index` of a frame: not where machines differ.
    pub(crate) fn is_portable(&self, index: usize, word: u64) -> bool {
        let differs = matches!(self.translated(index, word), Word::Masked | Word::Xen | Word::Arguments(..));
        !differs && !self.is_executors(index, word)
    }

    /// A word found at `index` of some frame, with names for frame numbers.
    pub(crate) fn translated(&self, index: usize, word: u64) -> Word {
        let entry = Pte::from_bits(word);
        if self.is_executors(index, word) {
            return Word::Raw(0);
        }
        let xens = XEN_COMMON.contains(&index) && entry.is_present();
        match self.named(entry.frame()) {
            Some(frame) if !xens || frame.observed().is_some() => record::entry(frame, word),
            _ if xens => Word::Xen,
            None if let Some(number) = self.argument_page(entry.frame()) => Word::Arguments(number, entry.flags()),
            _ if differs_by_machine(index) && (word == 0 || entry.is_present()) => Word::Masked,
            _ => self.named(Mfn::new(word)).map_or(Word::Raw(word), Word::Mfn),
        }
    }
}

/// Whether Xen fills this root entry on one machine and leaves it empty on another.
fn differs_by_machine(index: usize) -> bool {
    XEN_ENTRIES.contains(&index) && !XEN_COMMON.contains(&index) && !XEN_EXACT.contains(&index)
}

fn tracked() -> impl Iterator<Item = Frame> {
    Frame::all_observed().chain([Frame::Special(Special::Vga)])
}
