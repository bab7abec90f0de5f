//! What workloads run on.

use hypercall::{Hypervisor, Mfn, Pte, PteFlags, TaskContext, VirtAddr};
use pv_mmu::{Platform, table::TableMemory};

use crate::Error;

/// A kernel with one table to work on.
///
/// The table is in a page that is mapped at [`Ground::address`]: writable and zero while it is no table,
/// read-only from before it becomes one. One task works on it, and nobody else knows of it.
pub trait Ground {
    /// How this kernel calls its hypervisor.
    type Hypervisor: Hypervisor;
    /// The kernel as `pv-mmu` sees it.
    type Platform: Platform;

    /// The table's page as `pv-mmu` takes it.
    type Memory: TableMemory;

    /// Frames that entries map.
    const FRAMES: usize = 16;
    /// Flags that the hypervisor adds to entries that are present.
    const ADDED: PteFlags;

    /// For `pv-mmu`, and for peers where they mask upcalls: a step with a vCPU.
    fn platform(&self) -> &Self::Platform;

    /// The token of the task.
    fn task(&self) -> &TaskContext;

    /// Runs `step` with the hypervisor and upcalls as they are.
    fn hypervisor<R>(&self, step: impl FnOnce(&mut Self::Hypervisor) -> R) -> R;

    /// The clock. Its unit is the ground's own.
    fn ticks(&self) -> u64;

    /// The table's frame.
    fn table(&self) -> Mfn;

    /// Where the table's page is mapped.
    fn address(&self) -> VirtAddr;

    /// The table's page, for who works on it: while it is used, nobody works on the table by other methods of this.
    fn memory(&self) -> Self::Memory;

    /// Frame `number` of those that entries map; beyond [`Ground::FRAMES`] they begin again.
    fn frame(&self, number: usize) -> Mfn;

    /// The table's entry `index`, as memory holds it.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn load(&self, index: usize) -> Result<Pte, Error>;

    /// Stores to entry `index`, by a plain store.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn store(&self, index: usize, pte: Pte) -> Result<(), Error>;

    /// Replaces entry `index` in one atomic step and answers with what it held.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn exchange(&self, index: usize, pte: Pte) -> Result<Pte, Error>;

    /// Takes from entry `index` the right to store, in one atomic step.
    ///
    /// # Errors
    /// [`Error::Access`].
    fn clear_writable(&self, index: usize) -> Result<(), Error>;
}
