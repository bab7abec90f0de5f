//! `exit`, and the old space of an `exec`: the whole of it goes with the one entry that leads to it.

use pv_mmu::{
    Asks, Failure,
    table::{Draft, NotRetired, TableMemory},
};

use crate::space::Space;

impl<M: TableMemory, const TABLES: usize> Space<M, TABLES> {
    /// Takes the table of entry `index` of the directory out of use; `None` where there is none.
    ///
    /// # Errors
    /// The hypervisor's refusal; the table is where it was.
    pub fn depopulate(&mut self, by: &mut impl Asks, index: usize) -> Result<Option<Draft<M>>, Failure> {
        let Some(place) = self.tables.get_mut(index) else { return Ok(None) };
        let Some(live) = place.take() else { return Ok(None) };
        match live.retire(by) {
            Ok(draft) => Ok(Some(draft)),
            Err(NotRetired { live, failure }) => {
                *place = Some(live);
                Err(failure)
            }
        }
    }

    /// Gives the space up. `table` gets the directory and every table as memory, with what they held last in
    /// them: the pages that were mapped, their accessed and dirty bits final. Xen flushes every TLB with the directory.
    ///
    /// No entry is updated but the one above the directory; each table costs the remapping of its own page.
    ///
    /// # Errors
    /// The space, where the directory could not be given up. Nothing has changed then. A table that could
    /// not, because something else still points to it, is told to `table`.
    pub fn exit(
        self,
        by: &mut impl Asks,
        mut table: impl FnMut(Result<Draft<M>, NotRetired<M>>),
    ) -> Result<(), (Self, Failure)> {
        let Self { directory, tables } = self;
        let mut directory = match directory.retire(by) {
            Ok(draft) => draft,
            Err(NotRetired { live, failure }) => return Err((Self { directory: live, tables }, failure)),
        };
        for mut live in tables.into_iter().flatten() {
            directory.unlink(&mut live);
            table(live.retire(by));
        }
        table(Ok(directory));
        Ok(())
    }
}
