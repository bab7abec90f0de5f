//! What may be translated how.

use std::collections::{BTreeMap, BTreeSet};

/// A page of an address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Page {
    /// The context number.
    pub context: u16,
    /// The address, on a boundary of 8 KiB.
    pub address: u64,
}

/// A translation that may still be used and is not what the page table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Where; `None` in the TSB.
    pub processor: Option<usize>,
    /// What it is.
    pub held: u64,
    /// What the page table holds; 0 for nothing.
    pub current: u64,
}

/// A rule that is wrong on purpose, to show that tests find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Demapping answers and does nothing.
    DemapDoesNothing,
    /// Demapping a context leaves other processors' way open: it takes one page only.
    ContextIsOnePage,
    /// Demapping reaches every processor.
    DemapReachesAll,
    /// Reserved arguments are not looked at.
    ReservedIgnored,
    /// A call for neither TLB is accepted.
    NoTlbAccepted,
    /// Nothing is refilled after it has gone: the order of TSB and TLB does not matter.
    NeverRefilled,
    /// A ninth permanent mapping is accepted.
    PermanentUnbounded,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::DemapDoesNothing,
        Self::ContextIsOnePage,
        Self::DemapReachesAll,
        Self::ReservedIgnored,
        Self::NoTlbAccepted,
        Self::NeverRefilled,
        Self::PermanentUnbounded,
    ];
}

type Held = BTreeMap<Page, BTreeSet<u64>>;

/// The machine. Valid entries have bit 63 (`V` of a TTE).
#[derive(Clone, Debug)]
pub struct Sun4v {
    pub(crate) table: BTreeMap<Page, u64>,
    tsb: Held,
    pub(crate) tlbs: Vec<Held>,
    pub(crate) permanent: Vec<BTreeMap<u64, u64>>,
    /// The end of real memory, in bytes.
    pub(crate) memory: u64,
    pub(crate) planted: Option<Fault>,
}

/// `V` of a TTE.
pub(crate) const VALID: u64 = 1 << 63;

impl Sun4v {
    /// One with so many processors and so much memory in bytes, in which nothing is mapped.
    #[must_use]
    pub fn new(processors: usize, memory: u64) -> Self {
        Self {
            table: BTreeMap::new(),
            tsb: Held::new(),
            tlbs: vec![Held::new(); processors],
            permanent: vec![BTreeMap::new(); processors],
            memory,
            planted: None,
        }
    }

    /// One with a rule that is wrong.
    #[must_use]
    pub fn planted(self, fault: Fault) -> Self {
        Self { planted: Some(fault), ..self }
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.planted == Some(fault)
    }

    /// The guest stores an entry of its page table; without bit 63 nothing is mapped.
    pub fn store(&mut self, page: Page, entry: u64) {
        if entry & VALID == 0 {
            self.table.remove(&page);
            return;
        }
        self.table.insert(page, entry);
        self.tsb.entry(page).or_default().insert(entry);
        self.tlbs.iter_mut().for_each(|tlb| _ = tlb.entry(page).or_default().insert(entry));
    }

    /// The guest invalidates what the TSB has of a page.
    pub fn invalidate_tsb(&mut self, page: Page) {
        let current = self.current(page);
        self.tsb.insert(page, current);
    }

    /// The guest invalidates all the TSB has of an address space.
    pub fn invalidate_tsb_of(&mut self, context: u16) {
        let pages: Vec<_> = self.tsb.keys().copied().filter(|page| page.context == context).collect();
        pages.into_iter().for_each(|page| self.invalidate_tsb(page));
    }

    /// What it may be filled with again.
    fn current(&self, page: Page) -> BTreeSet<u64> {
        self.table.get(&page).copied().into_iter().collect()
    }

    pub(crate) fn demap(&mut self, processor: usize, page: Page) {
        if self.has(Fault::DemapDoesNothing) {
            return;
        }
        let mut again = self.current(page);
        if !self.has(Fault::NeverRefilled) {
            again.extend(self.tsb.get(&page).into_iter().flatten());
        }
        let all = self.has(Fault::DemapReachesAll);
        let reached = self.tlbs.iter_mut().enumerate().filter(|(number, _)| all || *number == processor);
        reached.for_each(|(_, tlb)| _ = tlb.insert(page, again.clone()));
    }

    pub(crate) fn demap_where(&mut self, processor: usize, is_meant: impl Fn(Page) -> bool) {
        let held = self.tlbs.get(processor).into_iter().flat_map(BTreeMap::keys);
        let pages: Vec<_> = held.copied().filter(|page| is_meant(*page)).collect();
        let some = if self.has(Fault::ContextIsOnePage) { 1 } else { pages.len() };
        pages.into_iter().take(some).for_each(|page| self.demap(processor, page));
    }

    /// What a processor may use for a page; empty where it cannot but fault.
    #[must_use]
    pub fn may_use(&self, processor: usize, page: Page) -> BTreeSet<u64> {
        self.tlbs.get(processor).and_then(|tlb| tlb.get(&page)).cloned().unwrap_or_default()
    }

    /// A translation of a page that may be used and is not the present one, if there is one: the referee's question.
    #[must_use]
    pub fn stale(&self, page: Page) -> Option<Stale> {
        let current = self.table.get(&page).copied().unwrap_or(0);
        let of = |processor: Option<usize>, held: &Held| {
            let other = held.get(&page)?.iter().copied().find(|held| *held != current)?;
            Some(Stale { processor, held: other, current })
        };
        let tlbs = || self.tlbs.iter().enumerate().find_map(|(number, tlb)| of(Some(number), tlb));
        of(None, &self.tsb).or_else(tlbs)
    }
}
