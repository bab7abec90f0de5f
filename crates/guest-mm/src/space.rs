//! An address space: a directory with a table for every two megabytes in use.

use core::fmt;

use hypercall::{ENTRIES_PER_TABLE, PteFlags, PteSlot};
use pv_mmu::table::{Live, TableMemory};

/// Flags of an entry that points to a table.
pub(crate) const POINTER: PteFlags =
    PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER).union(PteFlags::ACCESSED).union(PteFlags::DIRTY);

/// The number of a page in its space, counted in 4 KiB from the first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Page(usize);

impl Page {
    /// Page `number`.
    #[must_use]
    pub const fn new(number: usize) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0
    }

    /// The number of its table in the directory.
    #[must_use]
    pub const fn table(self) -> usize {
        self.0 / ENTRIES_PER_TABLE
    }

    /// The number of its entry in the table.
    #[must_use]
    pub const fn entry(self) -> usize {
        self.0 % ENTRIES_PER_TABLE
    }

    /// The page `count` pages further.
    #[must_use]
    pub const fn plus(self, count: usize) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// Consecutive entries of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first page.
    pub page: Page,
    /// The entry that maps it.
    pub slot: PteSlot,
    /// How many.
    pub count: usize,
}

/// The L2 table and the L1 tables below it of `TABLES` times two megabytes of addresses.
///
/// The directory is held by an entry of the kernel's tables, each table by its entry in the directory.
pub struct Space<M, const TABLES: usize> {
    pub(crate) directory: Live<M>,
    pub(crate) tables: [Option<Live<M>>; TABLES],
}

impl<M: TableMemory, const TABLES: usize> fmt::Debug for Space<M, TABLES> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tables = self.tables.iter().flatten().count();
        f.debug_struct("Space").field("directory", &self.directory).field("tables", &tables).finish()
    }
}

impl<M: TableMemory, const TABLES: usize> Space<M, TABLES> {
    /// The entry that maps `page`; `None` where it has no table.
    #[must_use]
    pub fn slot(&self, page: Page) -> Option<PteSlot> {
        Some(self.tables.get(page.table())?.as_ref()?.slot(page.entry()))
    }

    /// The parts of `count` pages from `first` on, of at most `most` pages each, that have tables.
    pub fn spans(&self, first: Page, count: usize, most: usize) -> impl Iterator<Item = Span> {
        let end = first.plus(count).number();
        let mut next = first.number();
        core::iter::from_fn(move || {
            (next < end).then(|| {
                let page = Page::new(next);
                let count = (end - next).min(ENTRIES_PER_TABLE - page.entry()).min(most.max(1));
                next += count;
                (page, count)
            })
        })
        .filter_map(|(page, count)| Some(Span { page, slot: self.slot(page)?, count }))
    }

    /// The number of the first page behind the space.
    #[must_use]
    pub const fn end(&self) -> Page {
        Page::new(TABLES * ENTRIES_PER_TABLE)
    }
}
