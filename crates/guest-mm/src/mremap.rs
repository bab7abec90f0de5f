//! `mremap`: pages move to other addresses, entry by entry or a table at a time.

use core::fmt;

use hypercall::{ENTRIES_PER_TABLE, Pte};
use pv_mmu::{Asks, Failure, Held, HeldBuffer, Platform, ReadModifyWrite, Region, table::TableMemory};

use crate::space::{POINTER, Page, Space};

/// Why nothing was moved.
#[derive(Debug)]
#[non_exhaustive]
pub enum MoveError {
    /// The pages to move to have no table, or reach beyond the space.
    NoTable(Page),
    /// A table is there already, or there is none to move.
    Tables {
        /// From which entry of the directory.
        from: usize,
        /// To which.
        to: usize,
    },
    /// The hypervisor's refusal; the table is where it was.
    Refused(Failure),
}

impl fmt::Display for MoveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTable(page) => write!(f, "page {} has no table; populate the space first", page.number()),
            Self::Tables { from, to } => write!(f, "no table at entry {from}, or one at entry {to} already"),
            Self::Refused(failure) => failure.fmt(f),
        }
    }
}

impl core::error::Error for MoveError {}

/// How many entries from the first on, of at most `most`, lie side by side.
fn run(held: &[Held], most: usize) -> usize {
    let side_by_side = |pair: &&[Held]| matches!(pair, [a, b] if a.slot().offset(1) == Some(b.slot()));
    let joined = held.windows(2).take_while(side_by_side).count();
    (joined + 1).min(most).min(held.len())
}

impl<M: TableMemory, const TABLES: usize> Space<M, TABLES> {
    /// Moves `count` pages from `from` to `to`, where none are mapped. Dirty bits move along, final ones: an entry is
    /// set only when the one it comes from is empty and flushed from every TLB, so that at no moment
    /// two addresses lead to a page and no store is missed. Flushes, once for as many entries as `buffer` has room for; the
    /// new entries are effective at the leave.
    ///
    /// # Errors
    /// [`MoveError::NoTable`]; nothing has been moved then.
    pub fn move_pages<P: Platform, const N: usize>(
        &self,
        region: &mut Region<'_, P>,
        (from, to): (Page, Page),
        count: usize,
        buffer: &mut HeldBuffer<N>,
    ) -> Result<(), MoveError> {
        self.check(to, count)?;
        for span in self.spans(from, count, N) {
            let mut harvest = region.harvest(buffer);
            let asked = harvest.get_and_clear_range(span.slot, span.count);
            debug_assert!(asked.is_ok(), "a span lies in one table and fits the buffer");
            harvest.flush_tlbs();
            let moved = to.plus(span.page.number() - from.number());
            let mut held = harvest.finish();
            while let Some(first) = held.first() {
                let page = moved.plus(first.slot().index() - span.slot.index());
                let (run, rest) = held.split_at(run(held, ENTRIES_PER_TABLE - page.entry()));
                self.set(region, page, run);
                held = rest;
            }
        }
        Ok(())
    }

    fn set<P: Platform>(&self, region: &mut Region<'_, P>, page: Page, run: &[Held]) {
        let Some(slot) = self.slot(page) else { return };
        let set = region.set_ptes(slot, run.len(), |n| run.get(n).map_or(Pte::EMPTY, |held| held.pte()));
        debug_assert!(set.is_ok(), "a run ends with its table");
    }

    fn check(&self, to: Page, count: usize) -> Result<(), MoveError> {
        let last = to.plus(count.saturating_sub(1));
        let first_missing =
            (to.table()..=last.table()).find(|table| self.tables.get(*table).is_none_or(Option::is_none));
        match first_missing {
            Some(table) => Err(MoveError::NoTable(Page::new(table * ENTRIES_PER_TABLE))),
            None => Ok(()),
        }
    }

    /// Moves a whole table, two megabytes of addresses, from one entry of the directory to another: two updates,
    /// whatever it maps. Xen flushes every TLB.
    ///
    /// # Errors
    /// [`MoveError`]; nothing has been moved then.
    pub fn move_table(&mut self, by: &mut impl Asks, from: usize, to: usize) -> Result<(), MoveError> {
        let free = self.tables.get(to).is_some_and(Option::is_none);
        let table = self.tables.get_mut(from).filter(|_| free).and_then(Option::take);
        let Some(mut table) = table else { return Err(MoveError::Tables { from, to }) };
        let moved = table.attach(by, self.directory.slot(to), POINTER);
        let place = if moved.is_ok() { to } else { from };
        if let Some(place) = self.tables.get_mut(place) {
            *place = Some(table);
        }
        moved.map_err(MoveError::Refused)
    }
}
