//! What arm64 processors may use of a page table, by the stores, barriers and invalidations that were executed.
//!
//! A processor walks tables at any moment, remembers what it found, and may have found it long ago. What it may *not* use any more is
//! what the architecture's barriers order: `dsb` makes earlier stores visible to walkers and completes invalidations, `isb` drops
//! what was walked before, `tlbi` removes what was remembered. Everything here is a time: of each store, and of the last
//! of each barrier on each processor. [`Arm64::may_use`] answers with *all* that an access may see. Processors have neither ETS2
//! nor ETS3: code that is right on these is right on all.
//!
//! - A store of a valid entry may be seen at once; that the entry *was* invalid may be seen until `dsb` and `isb` on the accessing processor lie behind the
//!   store, on the storing one's side or by an observation of it.
//! - A valid entry may be seen for ever, until a `tlbi` that began after the `dsb` behind its overwriting has been completed by a `dsb`.
//! - Two valid entries at once that map differently are the program's mistake (break before make).
#![forbid(unsafe_code)]

use std::collections::BTreeSet;

/// What an access may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Valid entries that may be used.
    pub entries: BTreeSet<u64>,
    /// Whether it may fault.
    pub fault: bool,
}

impl Seen {
    /// Whether the program broke before make.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.entries.len() > 1
    }
}

/// A rule that is wrong on purpose, to show that tests find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A store is seen by everybody at once.
    StoresAtOnce,
    /// `dsb` does what `isb` is for.
    DsbIsIsb,
    /// `isb` does nothing.
    IsbIsNothing,
    /// `tlbi` needs no `dsb` before it.
    TlbiNeedsNoDsb,
    /// `tlbi` needs no `dsb` behind it.
    TlbiCompletes,
    /// `tlbi` reaches the processor that executes it only.
    TlbiIsLocal,
    /// `dsb ishst` waits for what was observed, as `dsb ish` does.
    StoresAndLoads,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::StoresAtOnce,
        Self::DsbIsIsb,
        Self::IsbIsNothing,
        Self::TlbiNeedsNoDsb,
        Self::TlbiCompletes,
        Self::TlbiIsLocal,
        Self::StoresAndLoads,
    ];
}

type Time = u64;

/// The latest of what a processor has done.
#[derive(Clone, Copy, Debug, Default)]
struct Processor {
    store: Time,
    observed: Time,
    /// Up to where `dsb` orders.
    dsb: Time,
    /// Up to where a walk may not lie back.
    isb: Time,
    invalidated: Time,
}

/// An invalidation, as one processor sees it.
#[derive(Clone, Copy, Debug)]
struct Invalidation {
    entry: usize,
    processor: usize,
    issuer: usize,
    /// It may have happened as early as this.
    time: Time,
    is_complete: bool,
}

/// The machine. An entry that is 0 is invalid.
#[derive(Clone, Debug)]
pub struct Arm64 {
    now: Time,
    processors: Vec<Processor>,
    /// When each entry was written, and with what.
    writes: Vec<Vec<(Time, u64)>>,
    invalidations: Vec<Invalidation>,
    planted: Option<Fault>,
}

impl Arm64 {
    /// One with so many processors and entries, all invalid.
    #[must_use]
    pub fn new(processors: usize, entries: usize) -> Self {
        Self {
            now: 0,
            processors: vec![Processor::default(); processors],
            writes: vec![vec![(0, 0)]; entries],
            invalidations: Vec::new(),
            planted: None,
        }
    }

    /// One with a rule that is wrong.
    #[must_use]
    pub fn planted(self, fault: Fault) -> Self {
        Self { planted: Some(fault), ..self }
    }

    fn has(&self, fault: Fault) -> bool {
        self.planted == Some(fault)
    }

    fn tick(&mut self) -> Time {
        self.now += 1;
        self.now
    }

    /// A processor stores an entry.
    pub fn store(&mut self, processor: usize, entry: usize, value: u64) {
        let now = self.tick();
        self.writes[entry].push((now, value));
        self.processors[processor].store = now;
    }

    /// A processor has observed that others' stores up to now are done: by a lock it took, a flag it read.
    pub fn observe(&mut self, processor: usize) {
        self.processors[processor].observed = self.now;
    }

    /// `dsb ishst`.
    pub fn dsb_ishst(&mut self, processor: usize) {
        let observes = self.has(Fault::StoresAndLoads);
        let is_isb = self.has(Fault::DsbIsIsb);
        let state = &mut self.processors[processor];
        state.dsb = state.dsb.max(state.isb).max(state.store);
        if observes {
            state.dsb = state.dsb.max(state.observed);
        }
        if is_isb {
            state.isb = state.dsb;
        }
    }

    /// `dsb ish`.
    pub fn dsb_ish(&mut self, processor: usize) {
        self.dsb_ishst(processor);
        let state = &mut self.processors[processor];
        state.dsb = state.dsb.max(state.observed).max(state.invalidated);
        let own = self.invalidations.iter_mut().filter(|invalidation| invalidation.issuer == processor);
        own.for_each(|invalidation| invalidation.is_complete = true);
    }

    /// `isb`, or the entry to an exception and the return.
    pub fn isb(&mut self, processor: usize) {
        if !self.has(Fault::IsbIsNothing) {
            let state = &mut self.processors[processor];
            state.isb = state.isb.max(state.dsb);
        }
    }

    /// `tlbi` of one entry's page, in the inner shareable domain.
    pub fn tlbi_is(&mut self, processor: usize, entry: usize) {
        let now = self.tick();
        let state = self.processors[processor];
        let time = if self.has(Fault::TlbiNeedsNoDsb) { now } else { state.isb.max(state.dsb) };
        let (is_complete, is_local) = (self.has(Fault::TlbiCompletes), self.has(Fault::TlbiIsLocal));
        let reached = (0..self.processors.len()).filter(|target| !is_local || *target == processor);
        let issue = |target| Invalidation { entry, processor: target, issuer: processor, time, is_complete };
        self.invalidations.extend(reached.map(issue));
        self.processors[processor].invalidated = now;
    }

    /// What an access of a processor may see of an entry, now.
    #[must_use]
    pub fn may_use(&self, processor: usize, entry: usize) -> Seen {
        let mut seen = Seen::default();
        let from = if self.has(Fault::StoresAtOnce) { self.now } else { self.processors[processor].isb };
        let writes = &self.writes[entry];
        for (number, (_, value)) in writes.iter().enumerate() {
            // When it was overwritten; never, for the last.
            let end = writes.get(number + 1).map(|next| next.0);
            if *value == 0 {
                seen.fault |= end.is_none_or(|end| end > from);
            } else if !end.is_some_and(|end| self.is_gone(processor, entry, end)) {
                seen.entries.insert(*value);
            }
        }
        seen
    }

    /// Whether what was overwritten at `end` has been invalidated since.
    fn is_gone(&self, processor: usize, entry: usize, end: Time) -> bool {
        let mut meant = self.invalidations.iter().filter(|it| it.entry == entry && it.processor == processor);
        meant.any(|invalidation| invalidation.is_complete && invalidation.time >= end)
    }
}
