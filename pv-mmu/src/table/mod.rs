//! The life of a page table.
//!
//! A table that nothing reaches is memory: a [`Draft`], filled by plain stores. One hypercall makes it
//! [`Live`], by a pin or by an entry that points to it; Xen validates it whole then, which costs a third of
//! an update for each entry. A live table takes queued operations only, through its slots. One hypercall
//! gives it back as a draft, with what it held last still in it. So each state has its own operations:
//! a store to a live table and an update of a draft do not compile.
//!
//! ```compile_fail,E0599
//! # use hypercall::Pte; use pv_mmu::table::{Live, TableMemory};
//! fn store<M: TableMemory>(table: &mut Live<M>) { table.store(0, Pte::EMPTY); }
//! ```
//! ```compile_fail,E0599
//! # use hypercall::Pte; use pv_mmu::{Operations, Platform, Region, table::{Draft, TableMemory}};
//! fn update<M: TableMemory, P: Platform>(region: &mut Region<'_, P>, table: &Draft<M>) {
//!     region.set_pte(table.slot(0), Pte::EMPTY);
//! }
//! ```
//!
//! Xen keeps a page either writable or a table. The kernel's own mapping of the page, its
//! [`Alias`], is made read-only before the table is validated and writable again after it has been given
//! up, within the same hypercall.
//!
//! Every step from one state to the other hands over what is queued on the vCPU, in order (R3), and is
//! effective when it returns, or the table comes back in the state it was in with the refusal: nothing is
//! lost with a failure.

mod break_even;
mod draft;
mod live;

use core::fmt;

use hypercall::{Mfn, MmuextOp, Operation, Pte, PteFlags, VaFlush, VirtAddr};

pub use self::{
    break_even::{Rewrite, rewrite_cost, update_cost},
    draft::{Draft, NotValidated},
    live::{Live, NotRetired, NotRewritten},
};
use crate::{
    Failure, Platform,
    caller::Caller,
    mmu::{Mode, Told},
    queue::Request,
    rewrite::Reach,
    stats::FlushReason,
};

/// The kernel's mapping of a page that serves as a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Where.
    pub address: VirtAddr,
    /// The entry that maps it for stores.
    pub writable: Pte,
}

/// A page of the kernel's that can serve as a table.
///
/// Whoever implements it owns the page: no other mapping of it is writable, and nobody else stores to it.
pub trait TableMemory: fmt::Debug {
    /// The page's frame.
    fn frame(&self) -> Mfn;

    /// Where the kernel has it mapped.
    fn alias(&self) -> Alias;

    /// Reads word `index`, 0 to 511. Called in either state.
    fn load(&self, index: usize) -> Pte;

    /// Stores word `index`, 0 to 511. Called while the alias is writable only.
    fn store(&mut self, index: usize, pte: Pte);
}

/// Makes the alias what `flags` say.
fn remap(alias: Alias, writable: bool) -> Operation {
    let flags = alias.writable.flags();
    // A processor that still holds the writable translation is flushed by Xen when the frame becomes a
    // table; one that holds the read-only one would fault at the next store.
    let (pte, flush) = if writable {
        (alias.writable, VaFlush::Invlpg(hypercall::FlushScope::All))
    } else {
        (alias.writable.with_flags(flags.without(PteFlags::RW)), VaFlush::None)
    };
    Operation::UpdateVaMapping { va: alias.address, pte, flush }
}

impl<P: Platform> Reach<'_, P> {
    /// Hands over `operations` and, in the same hypercall, `last`, whose status is the answer.
    fn together<const N: usize>(
        &mut self,
        operations: [Operation; N],
        last: Operation,
        caller: Caller,
    ) -> Result<(), Failure> {
        for operation in operations {
            // What may wait is never refused at once.
            let _ = self.mmu.submit(Request::new(operation, caller), Mode::Lazy, self.told.reborrow());
        }
        let reason = match self.mode {
            Mode::Lazy => FlushReason::Table,
            Mode::Immediate(reason) => reason,
        };
        self.mmu.submit(Request::new(last, caller), Mode::Immediate(reason), self.told.reborrow())
    }

    /// An operation whose refusal would be no news: it undoes one that was done, or was not.
    fn undo(&mut self, operation: Operation, caller: Caller) {
        if let Err(failure) =
            self.mmu.submit(Request::new(operation, caller), Mode::Immediate(FlushReason::Table), Told::Platform)
        {
            self.mmu.tell(&mut self.told, failure);
        }
    }
}

const fn own(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: hypercall::DomId::SELF }
}

/// Debug output of a table in either state.
fn describe(f: &mut fmt::Formatter<'_>, state: &str, frame: Mfn, level: hypercall::Level) -> fmt::Result {
    write!(f, "{state} {level} table in {frame}")
}
