//! The writes asked for one L1 entry, and which of them an arriving one stands for.
//!
//! A batcher may merge writes of one entry that no other kind of operation separates: the values in
//! between are never effective, which R1 allows. The value that may arrive instead follows from what
//! the two commands do to an entry, with AD() for the accessed and dirty bits of a value:
//!
//! | older | newer | merged |
//! |---|---|---|
//! | normal `a` | normal `b` | normal `b` |
//! | normal `a` | preserving `b` | normal `b + AD(a)` |
//! | preserving `a` | preserving `b` | preserving `b + AD(a)` |
//! | preserving `a` | normal `b` | normal `b` |
//!
//! One arrival can stand for several counts of asked writes: of 1, 2, 1 an arriving 1 is the first or
//! all three merged. So a chain keeps every count of writes that may have taken effect, and drops
//! those which the next arrival rules out.
//!
//! What has been cut is taken for as many writes as it can stand for, until one of those arrives by itself.

use core::ops::Range;
use std::hash::{Hash, Hasher};

use hypercall::{MmuUpdate, PteFlags, UpdateCommand};

use super::Moment;

/// What a write does to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Write {
    preserves: bool,
    value: u64,
}

const fn accessed_dirty(value: u64) -> u64 {
    value & PteFlags::ACCESSED_DIRTY.bits()
}

impl Write {
    /// What `update` does; `None` if it writes no entry.
    pub(super) const fn of(update: &MmuUpdate) -> Option<Self> {
        let preserves = match update.slot.command() {
            Some(UpdateCommand::Normal | UpdateCommand::NoTranslate) => false,
            Some(UpdateCommand::PreserveAd) => true,
            Some(UpdateCommand::MachPhys) | None => return None,
        };
        Some(Self { preserves, value: update.value })
    }

    /// One write that does what this and then `newer` do.
    const fn then(self, newer: Self) -> Self {
        if newer.preserves {
            Self { preserves: self.preserves, value: newer.value | accessed_dirty(self.value) }
        } else {
            newer
        }
    }

    /// What the entry holds after it.
    pub(super) const fn over(self, memory: u64) -> u64 {
        if self.preserves { self.value | accessed_dirty(memory) } else { self.value }
    }
}

/// Writes of one entry, asked on one vCPU, with no other kind of operation between them.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    /// Which barrier-free run of the vCPU's operations the writes belong to.
    pub(super) run: u64,
    writes: Vec<(Moment, Write)>,
    /// Counts of writes that may be effective, ascending, never empty.
    counts: Vec<usize>,
    /// Arrivals since the counts were last certain.
    arrivals: usize,
    /// For each of the counts, ascending, those it would have led to if what has been cut since the last
    /// arrival had arrived instead; empty if nothing has been cut.
    cut_counts: Vec<(usize, Vec<usize>)>,
}

/// Writes whose fate has become certain.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) writes: Vec<Moment>,
    pub(super) arrivals: usize,
}

impl Chain {
    pub(super) fn new(run: u64) -> Self {
        Self { run, writes: Vec::new(), counts: vec![0], arrivals: 0, cut_counts: Vec::new() }
    }

    pub(super) fn push(&mut self, moment: Moment, write: Write) {
        self.writes.push((moment, write));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    pub(super) const fn is_certain(&self) -> bool {
        self.counts.len() == 1
    }

    /// Which of the writes `write` may stand for first; `None` if it stands for none.
    pub(super) fn first_for(&self, write: Write) -> Option<Moment> {
        self.next_counts(&self.counts, write).last()?;
        self.writes.get(*self.counts.first()?).map(|(moment, _)| *moment)
    }

    /// Takes `write` as arrived and answers with the writes it may stand for, the widest choice; `None` if
    /// it stands for none.
    pub(super) fn arrive(&mut self, write: Write, choose: impl FnOnce(usize) -> usize) -> Option<Range<usize>> {
        let first = *self.counts.first()?;
        let mut next = self.next_counts(&self.counts, write);
        narrow_to_way(&mut next, choose);
        let last = *next.last()?;
        self.counts = next;
        self.cut_counts.clear();
        self.arrivals += 1;
        Some(first..last)
    }

    /// Takes `write` as issued and not looked at: what it stands for is not effective, so counts that
    /// leave nothing for it to stand for are ruled out. Answers with the writes for which it and those
    /// cut just before it stand, the widest choice; `None` if it stands for none.
    pub(super) fn cut(&mut self, write: Write, choose: impl FnOnce(usize) -> usize) -> Option<Range<usize>> {
        let led_on = self.lead_on(&self.cut_counts, write);
        let led_on = if led_on.is_empty() { self.lead_on(&self.uncut(), write) } else { led_on };
        let mut pairs: Vec<_> = led_on.iter().flat_map(|(from, ends)| ends.iter().map(|end| (*from, *end))).collect();
        let led_on = match narrow_to_way(&mut pairs, choose) {
            0 => led_on,
            _ => pairs.into_iter().map(|(from, end)| (from, vec![end])).collect(),
        };
        let end = led_on.iter().filter_map(|(_, ends)| ends.last().copied()).max()?;
        self.counts = led_on.iter().map(|(from, _)| *from).collect();
        self.cut_counts = led_on;
        Some(*self.counts.last()?..end)
    }

    /// Where what has been cut may stand for fewer writes, and `write` for one behind those: takes out the writes behind
    /// them, as a chain of their own.
    pub(super) fn narrow(&mut self, write: Write) -> Option<Self> {
        let ends = self.cut_counts.iter().flat_map(|(_, ends)| ends).copied();
        let end = ends.filter(|end| !self.next_counts(&[*end], write).is_empty()).min()?;
        self.cut_counts.iter_mut().for_each(|(_, ends)| ends.retain(|other| *other <= end));
        self.cut_counts.retain(|(_, ends)| !ends.is_empty());
        self.counts = self.cut_counts.iter().map(|(from, _)| *from).collect();
        Some(Self { writes: self.writes.split_off(end), ..Self::new(self.run) })
    }

    /// The writes that may still wait, whichever count is right.
    pub(super) fn waiting_first(&self) -> Vec<Moment> {
        self.moments(self.counts.first().copied().unwrap_or(0)..self.writes.len())
    }

    /// Of how many writes, all but the first `given_up` of those that may wait among them, `write` may stand behind.
    pub(super) fn behind(&self, given_up: usize, write: Write) -> Vec<usize> {
        let Some(first) = self.counts.first() else { return Vec::new() };
        (first + 1..=first + given_up).filter(|count| !self.next_counts(&[*count], write).is_empty()).collect()
    }

    /// Takes out the writes behind the first `count`, as a chain of their own.
    pub(super) fn divide(&mut self, count: usize) -> Self {
        self.counts.retain(|other| *other <= count);
        self.cut_counts.retain(|(from, _)| *from <= count);
        for (_, ends) in &mut self.cut_counts {
            ends.iter_mut().for_each(|end| *end = (*end).min(count));
            ends.dedup();
        }
        Self { writes: self.writes.split_off(count), ..Self::new(self.run) }
    }

    /// Which of the writes `write` stands for first if it is cut now; `None` if it stands for none.
    pub(super) fn first_cut_for(&self, write: Write) -> Option<Moment> {
        let first_in = |counts: &[(usize, Vec<usize>)]| {
            let fits = |from: &&usize| !self.next_counts(&[**from], write).is_empty();
            counts.iter().flat_map(|(_, ends)| ends).filter(fits).min().copied()
        };
        let first = first_in(&self.cut_counts).or_else(|| first_in(&self.uncut()))?;
        self.writes.get(first).map(|(moment, _)| *moment)
    }

    /// The counts as they are when nothing has been cut.
    fn uncut(&self) -> Vec<(usize, Vec<usize>)> {
        self.counts.iter().map(|count| (*count, vec![*count])).collect()
    }

    /// Lets `write` arrive at each of `counts`, and drops those from where it leads nowhere.
    fn lead_on(&self, counts: &[(usize, Vec<usize>)], write: Write) -> Vec<(usize, Vec<usize>)> {
        let led_on = counts.iter().map(|(from, ends)| (*from, self.next_counts(ends, write)));
        led_on.filter(|(_, ends)| !ends.is_empty()).collect()
    }

    /// The counts that an arriving `write` leads to from any of `counts`; both ascend.
    fn next_counts(&self, counts: &[usize], write: Write) -> Vec<usize> {
        let Some(first) = counts.first() else { return Vec::new() };
        let mut starts = counts.iter().peekable();
        // What the writes so far merge to, from every start. After each write the sums differ in accessed,
        // dirty and command only, so there are never more than eight.
        let mut sums: Vec<Write> = Vec::new();
        let mut next = Vec::new();
        for (at, (_, newer)) in self.writes.iter().enumerate().skip(*first) {
            sums.iter_mut().for_each(|sum| *sum = sum.then(*newer));
            if starts.next_if_eq(&&at).is_some() {
                sums.push(*newer);
            }
            sums.sort_unstable();
            sums.dedup();
            if sums.contains(&write) {
                next.push(at + 1);
            }
        }
        next
    }

    /// When the writes in `range` were asked.
    pub(super) fn moments(&self, range: Range<usize>) -> Vec<Moment> {
        self.writes.iter().take(range.end).skip(range.start).map(|(moment, _)| *moment).collect()
    }

    /// Makes the highest count the certain one, and gives up the writes it counts.
    pub(super) fn settle(&mut self) -> Settled {
        let count = self.counts.last().copied().unwrap_or(0);
        let writes = self.writes.drain(..count).map(|(moment, _)| moment).collect();
        self.counts = vec![0];
        self.cut_counts.retain(|(from, _)| *from == count);
        for (from, ends) in &mut self.cut_counts {
            *from = 0;
            ends.iter_mut().for_each(|end| *end -= count);
        }
        Settled { writes, arrivals: core::mem::take(&mut self.arrivals) }
    }

    /// Feeds what is not seen in the requests themselves.
    pub(super) fn digest(&self, hasher: &mut impl Hasher) {
        (self.writes.len(), &self.counts, self.arrivals, &self.cut_counts).hash(hasher);
    }

    /// Forgets the write asked at `moment`; only while the counts are certain.
    pub(super) fn forget(&mut self, moment: Moment) {
        self.writes.retain(|(asked, _)| *asked != moment);
        self.cut_counts.clear();
    }

    /// The writes that are certainly not effective.
    pub(super) fn waiting(&self) -> Vec<Moment> {
        self.moments(self.counts.last().copied().unwrap_or(0)..self.writes.len())
    }

    /// All writes not yet given up.
    pub(super) fn all(&self) -> Vec<Moment> {
        self.moments(0..self.writes.len())
    }
}

/// Leaves of several possibilities the one that is chosen; all of them for way 0. Answers with the way.
fn narrow_to_way<T: Copy>(possible: &mut Vec<T>, choose: impl FnOnce(usize) -> usize) -> usize {
    if possible.len() < 2 {
        return 0;
    }
    let way = choose(possible.len() + 1);
    if let Some(chosen) = way.checked_sub(1).and_then(|at| possible.get(at)).copied() {
        *possible = vec![chosen];
    }
    way
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u64 = PteFlags::ACCESSED.bits();
    const D: u64 = PteFlags::DIRTY.bits();

    const fn normal(value: u64) -> Write {
        Write { preserves: false, value }
    }

    const fn preserving(value: u64) -> Write {
        Write { preserves: true, value }
    }

    fn chain(writes: &[Write]) -> Chain {
        let mut chain = Chain::new(0);
        let mut moment = Moment::default();
        for write in writes {
            moment = moment.next();
            chain.push(moment, *write);
        }
        chain
    }

    #[test]
    fn merging_is_what_the_two_writes_do_to_any_entry() {
        for (older, newer) in [normal as fn(u64) -> Write, preserving]
            .into_iter()
            .flat_map(|a| [(a, normal as fn(u64) -> Write), (a, preserving)])
        {
            let (older, newer) = (older(0x1000 | A), newer(0x2000 | D));
            for memory in [0, A, D, A | D] {
                assert_eq!(older.then(newer).over(memory), newer.over(older.over(memory)));
            }
        }
    }

    #[test]
    fn every_count_an_arrival_allows_is_kept() {
        let mut chain = chain(&[normal(1), normal(2), normal(1)]);
        assert_eq!(chain.arrive(normal(1), |_| 0), Some(0..3));
        assert!(!chain.is_certain());
        assert_eq!(chain.arrive(normal(2), |_| 0), Some(1..2));
        assert!(chain.is_certain());
        assert_eq!(chain.arrive(normal(1), |_| 0), Some(2..3));
        let settled = chain.settle();
        assert_eq!((settled.writes.len(), settled.arrivals, chain.is_empty()), (3, 3, true));
    }

    #[test]
    fn what_was_cut_is_not_among_what_arrived() {
        let mut chain = chain(&[normal(1), normal(1), preserving(2), preserving(2)]);
        assert_eq!(chain.arrive(normal(1), |_| 0), Some(0..2));
        assert_eq!(chain.cut(normal(1), |_| 0), Some(1..2));
        assert_eq!(chain.settle().writes.len(), 1);
        assert_eq!(chain.cut(preserving(2), |_| 0), Some(0..3));
        assert_eq!(chain.cut(normal(1), |_| 0), Some(0..1), "the tail was cut once more");
        assert_eq!(chain.cut(normal(3), |_| 0), None);
        assert!(chain.is_certain());
    }

    #[test]
    fn a_value_that_no_merge_gives_is_refused() {
        let mut chain = chain(&[normal(0x1000 | D), preserving(0x2000)]);
        assert_eq!(chain.arrive(normal(0x2000), |_| 0), None);
        assert_eq!(chain.arrive(preserving(0x2000 | D), |_| 0), None);
        assert_eq!(chain.arrive(normal(0x2000 | D), |_| 0), Some(0..2));
    }
}
