//! What workloads run on.

use hypercall::{Hypervisor, Mfn, MmuUpdate, Pte, PteFlags, PteSlot, SwitchContext, TaskContext, VirtAddr};
use pv_mmu::{Platform, table::TableMemory};

use crate::Error;

/// An entry of one of a ground's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// Number of the table.
    pub table: usize,
    /// Number of the entry.
    pub index: usize,
}

/// A kernel with tables to work on.
///
/// Each table is in a page that is mapped at [`Ground::address`]: writable and zero while it is no table,
/// read-only from before it becomes one. One task works on them, and nobody else knows of them.
pub trait Ground {
    /// How this kernel calls its hypervisor.
    type Hypervisor: Hypervisor;
    /// The kernel as `pv-mmu` sees it.
    type Platform: Platform;

    /// A table's page as `pv-mmu` takes it.
    type Memory: TableMemory;

    /// Tables there are.
    const TABLES: usize;
    /// Frames that entries map.
    const FRAMES: usize = 16;
    /// Flags that the hypervisor adds to entries that are present.
    const ADDED: PteFlags;
    /// Whether what is asked for is done: where it is not, nothing is checked, and what is measured is what asking
    /// takes.
    const DOES: bool = true;

    /// For `pv-mmu`, and for peers where they mask upcalls: a step with a vCPU.
    fn platform(&self) -> &Self::Platform;

    /// The token of the task.
    fn task(&self) -> &TaskContext;

    /// The token of the code that switches tasks.
    fn switching(&self) -> &SwitchContext;

    /// Runs `step` with the hypervisor and upcalls as they are.
    fn hypervisor<R>(&self, step: impl FnOnce(&mut Self::Hypervisor) -> R) -> R;

    /// Runs `step` with room for as many updates as there are entries, which is nobody else's.
    fn scratch<R>(&self, step: impl FnOnce(&mut [MmuUpdate]) -> R) -> R;

    /// The clock. Its unit is the ground's own.
    fn ticks(&self) -> u64;

    /// The frame of the L4 table that this vCPU runs on.
    fn root(&self) -> Mfn;

    /// The frame of table `number`.
    fn table(&self, number: usize) -> Mfn;

    /// Where its page is mapped.
    fn address(&self, number: usize) -> VirtAddr;

    /// Its page, for who works on it: while it is used, nobody works on the table by other methods of this.
    fn memory(&self, number: usize) -> Self::Memory;

    /// Frame `number` of those that entries map; beyond [`Ground::FRAMES`] they begin again.
    fn frame(&self, number: usize) -> Mfn;

    /// An entry, as memory holds it.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn load(&self, at: At) -> Result<Pte, Error>;

    /// Stores to an entry, by a plain store.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn store(&self, at: At, pte: Pte) -> Result<(), Error>;

    /// Replaces an entry in one atomic step and answers with what it held.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn exchange(&self, at: At, pte: Pte) -> Result<Pte, Error>;

    /// Takes from an entry the right to store, in one atomic step.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn clear_writable(&self, at: At) -> Result<(), Error>;

    /// The entry's slot.
    fn slot(&self, at: At) -> PteSlot {
        PteSlot::of(self.table(at.table), at.index)
    }
}
