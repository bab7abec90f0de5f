//! A program in the making, and what its pages are believed to be.

use fastrand::Rng;
use hypercall::abi::{HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_UPDATE_VA_MAPPING};
use hypercall::{DomId, Level, PteFlags};
use xen_program::arena::{FIRST_PAGE, FIRST_WINDOW, address_under};
use xen_program::numbers::UNTOUCHED;
use xen_program::{Buffer, Frame, PageId, Program, Step, Table, Value};

use super::pools::{self, chance, one_of};

/// Windows that gestures map something into; the others stay empty.
const WINDOWS: usize = 8;
/// Steps from which on a program gets no new gestures.
const STEPS: usize = 60;

/// What a page is believed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belief {
    /// Mapped writable.
    Plain,
    /// Not mapped writable, and of no use yet.
    ReadOnly,
    /// A table in use.
    Table(Level),
    /// A page of descriptors in use.
    Descriptors,
}

/// The draft.
pub(super) struct Draft {
    pub(super) rng: Rng,
    steps: Vec<Step>,
    /// The pages this program works on, with what they are believed to be.
    pages: Vec<(PageId, Belief)>,
}

impl Draft {
    pub(super) fn new(mut rng: Rng) -> Self {
        let mut all: Vec<PageId> = PageId::all().collect();
        rng.shuffle(&mut all);
        all.truncate(rng.usize(3..=7));
        Self { rng, steps: Vec::new(), pages: all.into_iter().map(|page| (page, Belief::Plain)).collect() }
    }

    pub(super) fn finish(self) -> Program {
        Program { steps: self.steps }
    }

    pub(super) const fn is_long(&self) -> bool {
        self.steps.len() >= STEPS
    }

    /// Adds a step, unless its arguments are too large to be shipped.
    pub(super) fn push(&mut self, step: Step) {
        let alone = Program { steps: vec![step] };
        if Program::from_bytes(&alone.to_bytes()).is_ok() {
            self.steps.extend(alone.steps);
        }
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        chance(&mut self.rng, percent)
    }

    /// Any page.
    pub(super) fn page(&mut self) -> PageId {
        self.pages[self.rng.usize(0..self.pages.len())].0
    }

    /// A page that is believed to be one of these; most of the time, where there is one.
    pub(super) fn page_that(&mut self, is: impl Fn(Belief) -> bool) -> PageId {
        let fitting: Vec<PageId> = self.pages.iter().filter(|(_, belief)| is(*belief)).map(|(page, _)| *page).collect();
        if fitting.is_empty() || self.chance(8) { self.page() } else { one_of(&mut self.rng, &fitting) }
    }

    pub(super) fn belief(&self, page: PageId) -> Belief {
        self.pages.iter().find(|(candidate, _)| *candidate == page).map_or(Belief::Plain, |(_, belief)| *belief)
    }

    pub(super) fn believe(&mut self, page: PageId, is: Belief) {
        self.pages.iter_mut().filter(|(candidate, _)| *candidate == page).for_each(|(_, belief)| *belief = is);
    }

    /// A table that is believed to be in use at `level`: a page, or the arena's.
    pub(super) fn table_of(&mut self, level: Level) -> Frame {
        let own = Frame::from(Table::ALL[level.number() as usize - 1]);
        let is_there = self.pages.iter().any(|(_, belief)| *belief == Belief::Table(level));
        if is_there && self.chance(65) { self.page_that(|belief| belief == Belief::Table(level)).into() } else { own }
    }

    /// A frame an entry may map: mostly a page.
    pub(super) fn frame(&mut self) -> Frame {
        match self.rng.u32(0..100) {
            0..78 => self.page().into(),
            78..86 => one_of(&mut self.rng, &Table::ALL).into(),
            _ => pools::special(&mut self.rng).into(),
        }
    }

    /// An entry of an L1 table.
    pub(super) fn l1_entry(&mut self) -> Value {
        if self.chance(4) {
            return pools::junk(&mut self.rng).into();
        }
        let flags = pools::l1_flags(&mut self.rng);
        Value::Page(self.frame(), flags)
    }

    /// An entry of a table of `level` (2 to 4): mostly of a page that is, or can become, a table of the
    /// level below.
    pub(super) fn upper_entry(&mut self, level: Level) -> Value {
        let mut flags = pools::upper_flags(&mut self.rng);
        if level == Level::L4 && self.chance(40) {
            // Xen sets it by itself here, and here alone.
            flags &= !PteFlags::ACCESSED.bits();
        }
        let below = level.below().unwrap_or(Level::L1);
        let frame = match self.rng.u32(0..100) {
            0..75 => {
                self.page_that(|belief| matches!(belief, Belief::ReadOnly) || belief == Belief::Table(below)).into()
            }
            75..88 => self.page().into(),
            88..95 => one_of(&mut self.rng, &Table::ALL).into(),
            _ => pools::special(&mut self.rng).into(),
        };
        Value::Page(frame, flags)
    }

    /// An entry for a table of `level`.
    pub(super) fn entry(&mut self, level: Level) -> Value {
        if level == Level::L1 { self.l1_entry() } else { self.upper_entry(level) }
    }

    /// The index of an entry of a table of `level`.
    pub(super) fn index(&mut self, level: Level) -> usize {
        match (level, self.rng.u32(0..100)) {
            (Level::L4, 0..55) => self.rng.usize(296..302),
            (Level::L4, 55..70) => self.rng.usize(256..=272),
            (Level::L4, 70..80) => self.rng.usize(0..256),
            (_, 0..75) => self.rng.usize(1..8),
            (_, 75..85) => 511,
            _ => self.rng.usize(0..512),
        }
    }

    /// The L1 entry of a window.
    pub(super) fn window(&mut self) -> usize {
        FIRST_WINDOW + self.rng.usize(0..WINDOWS)
    }

    /// A window that is mapped nowhere in any program.
    pub(super) fn empty_window(&mut self) -> u64 {
        address_under(Table::L1, FIRST_WINDOW + self.rng.usize(WINDOWS..xen_program::arena::WINDOWS))
    }

    /// The done count of a call: mostly an own one.
    pub(super) fn done(&mut self) -> Value {
        match self.rng.u32(0..100) {
            0..88 => own_done(),
            88..92 => Value::Literal(0),
            92..96 => Value::Buffer(Buffer::new(vec![self.rng.u64(0..10).into()])),
            _ => pools::bad_address(&mut self.rng),
        }
    }

    /// `mmu_update` of these (slot, value) pairs as it should be asked.
    pub(super) fn update(&mut self, pairs: Vec<(Value, Value)>) {
        self.update_for(DomId::SELF, pairs);
    }

    /// The same about frames of `owner`.
    pub(super) fn update_for(&mut self, owner: DomId, pairs: Vec<(Value, Value)>) {
        let count = pairs.len() as u64;
        let words = pairs.into_iter().flat_map(|(slot, value)| [slot, value]).collect();
        self.push(array(HYPERCALL_MMU_UPDATE, words, count, owner));
    }

    /// `mmuext_op` of these operations as it should be asked.
    pub(super) fn extended(&mut self, operations: Vec<[Value; 3]>) {
        let count = operations.len() as u64;
        self.push(array(HYPERCALL_MMUEXT_OP, operations.into_iter().flatten().collect(), count, DomId::SELF));
    }

    /// Maps a page at home with `flags` and flushes that.
    pub(super) fn map_home(&mut self, page: PageId, flags: u64) {
        const INVLPG: u64 = 2;
        let address = address_under(Table::L1, FIRST_PAGE + page.number());
        let args = vec![address.into(), Value::Page(page.into(), flags), INVLPG.into()];
        self.push(Step::Call { interrupt: None, number: HYPERCALL_UPDATE_VA_MAPPING, args });
    }

    /// Takes a page's writable mapping away.
    pub(super) fn protect(&mut self, page: PageId) {
        let flags = one_of(&mut self.rng, &pools::READ_ONLY);
        self.map_home(page, flags | PteFlags::ACCESSED_DIRTY.bits());
        if self.belief(page) == Belief::Plain {
            self.believe(page, Belief::ReadOnly);
        }
    }

    /// Maps a page writable again, if nothing needs it otherwise.
    pub(super) fn unprotect(&mut self, page: PageId) {
        let flags = one_of(&mut self.rng, &pools::WRITABLE);
        self.map_home(page, flags);
        if self.belief(page) == Belief::ReadOnly {
            self.believe(page, Belief::Plain);
        }
    }
}

/// A done count that shows whether it was written.
pub(super) fn own_done() -> Value {
    Value::Buffer(Buffer::new(vec![UNTOUCHED.into()]))
}

/// An array call.
fn array(number: u32, words: Vec<Value>, count: u64, owner: DomId) -> Step {
    let owner = u64::from(owner.number());
    let args = vec![Value::Buffer(Buffer::new(words)), count.into(), own_done(), owner.into()];
    Step::Call { interrupt: None, number, args }
}

/// The machine address of word `index` of a frame, with a command in its low bits.
pub(super) const fn slot(frame: Frame, index: usize, command: u64) -> Value {
    Value::Page(frame, 8 * index as u64 + command)
}
