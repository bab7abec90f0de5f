//! `fork`: the parent's writable pages become read-only, and the child gets tables that map the same.
//!
//! The child's tables are filled by plain stores while the parent's entries are read for their write
//! protection. One hypercall for each table takes both: the parent's updates, and the child's table into use.

use core::fmt;

use hypercall::{ENTRIES_PER_TABLE, Level, Pte, PteFlags};
use pv_mmu::{
    Known, Operations, Platform, ReadModifyWrite, Region,
    table::{Draft, TableMemory},
};

use crate::{exec::NotAttached, space::Space};

/// Why the child has not all of the parent's tables. It is to exit; the parent's pages that have been
/// protected become writable again by the faults of its stores.
#[derive(Debug)]
pub enum ForkError<M: TableMemory> {
    /// There was no page for a table.
    NoPage,
    /// A table was not taken into use.
    Table(NotAttached<M>),
}

impl<M: TableMemory> fmt::Display for ForkError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPage => f.write_str("there is no page for a table of the child"),
            Self::Table(error) => error.fmt(f),
        }
    }
}

impl<M: TableMemory> core::error::Error for ForkError<M> {}

/// What the child holds for an entry of the parent: the same page, read-only, not used yet by the child. A dirty
/// page is dirty for both; what the parent's entry notes from now on is the parent's.
fn inherited(known: Known) -> Pte {
    if !known.is_present() {
        return known.pte();
    }
    let flags = known.flags().without(PteFlags::RW) | (known.noted_so_far() & PteFlags::DIRTY);
    known.pte().with_flags(flags)
}

impl<M: TableMemory, const TABLES: usize> Space<M, TABLES> {
    /// Copies the space into the empty `child`, whose tables are made of what `page` gives; `share` is told of each
    /// entry that both map now. Every TLB is flushed before it returns, so that no store of the parent
    /// goes past the protection.
    ///
    /// # Errors
    /// [`ForkError`].
    pub fn fork<P: Platform>(
        &self,
        region: &mut Region<'_, P>,
        child: &mut Self,
        mut page: impl FnMut() -> Option<M>,
        mut share: impl FnMut(Pte),
    ) -> Result<(), ForkError<M>> {
        let copied = self.tables.iter().enumerate().try_for_each(|(index, table)| {
            let Some(table) = table else { return Ok(()) };
            let mut copy = Draft::new(page().ok_or(ForkError::NoPage)?, Level::L1);
            let protect = |n, known: Known| {
                copy.store(n, inherited(known));
                known.is_writable().then(|| known.write_protected())
            };
            let asked = region.modify_range(table.slot(0), ENTRIES_PER_TABLE, protect);
            debug_assert!(asked.is_ok(), "a whole table is a range");
            copy.entries().for_each(|(_, pte)| share(pte));
            child.populate(region, index, copy).map_err(ForkError::Table)
        });
        region.mmuext(hypercall::MmuextOp::TlbFlushAll);
        region.flush();
        copied
    }
}
