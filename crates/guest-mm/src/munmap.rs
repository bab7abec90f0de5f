//! `munmap` and `madvise(DONTNEED)`: entries are emptied, and their pages given away.

use pv_mmu::{Held, HeldBuffer, Platform, ReadModifyWrite, Region, table::TableMemory};

use crate::space::{Page, Space};

impl<M: TableMemory, const TABLES: usize> Space<M, TABLES> {
    /// Unmaps `count` pages from `first` on and tells `free` of each that was mapped, with what the hardware noted of
    /// it, once nobody reaches it any more. Flushes, once for as many entries as `buffer` has room for.
    ///
    /// Pages that could not be unmapped are not told, and stay mapped; the region's leave names them.
    pub fn munmap<P: Platform, const N: usize>(
        &self,
        region: &mut Region<'_, P>,
        first: Page,
        count: usize,
        buffer: &mut HeldBuffer<N>,
        mut free: impl FnMut(Held),
    ) {
        for span in self.spans(first, count, N) {
            let mut harvest = region.harvest(buffer);
            let asked = harvest.get_and_clear_range(span.slot, span.count);
            debug_assert!(asked.is_ok(), "a span lies in one table and fits the buffer");
            harvest.flush_tlbs();
            harvest.finish().iter().for_each(|held| free(*held));
        }
    }
}
