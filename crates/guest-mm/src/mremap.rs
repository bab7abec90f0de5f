//! `mremap`: pages move to other addresses, entry by entry or a table at a time.

use core::fmt;

use pv_mmu::{Asks, Failure, Held, HeldBuffer, Operations, Platform, ReadModifyWrite, Region, table::TableMemory};

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
            for held in harvest.finish() {
                let distance = span.page.number() - from.number() + held.slot().index() - span.slot.index();
                self.set(region, to.plus(distance), *held);
            }
        }
        Ok(())
    }

    fn set<P: Platform>(&self, region: &mut Region<'_, P>, page: Page, held: Held) {
        if let Some(slot) = self.slot(page) {
            region.set_pte(slot, held.pte());
        }
    }

    fn check(&self, to: Page, count: usize) -> Result<(), MoveError> {
        let last = to.plus(count.saturating_sub(1));
        let first_missing =
            (to.table()..=last.table()).find(|table| self.tables.get(*table).is_none_or(Option::is_none));
        match first_missing {
            Some(table) => Err(MoveError::NoTable(Page::new(table * hypercall::ENTRIES_PER_TABLE))),
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
