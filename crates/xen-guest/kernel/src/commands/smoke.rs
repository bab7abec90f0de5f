//! A whole table through one region of `pv-mmu`, on the real Xen: as it should go, with an operation
//! refused on the way, and with one that Xen itself refuses.

use hypercall::{ENTRIES_PER_TABLE, Errno, Mfn, MmuextOp, Operation, Pte, PteFlags, PteSlot, TaskContext};
use pv_mmu::{Failures, Mmu, Operations as _, TaskState};
use xen_guest::memory::take_page;

use super::answer;
use crate::{
    error::Error,
    mmu::{self, FLAGS},
    reply::Reply,
};

/// The operation of the second region that the adapter refuses.
const INJECTED: usize = 300;
/// The entry of the third region that would make the table writable.
const FORBIDDEN: usize = 77;

/// A flag of software's own, by which the regions' entries differ.
const fn mark(region: u64) -> PteFlags {
    PteFlags::from_bits_truncate(region << 9)
}

/// Sets every entry of `table` in one region, flushes the TLB in it, and leaves.
fn region(context: &TaskContext, table: Mfn, pte_of: impl Fn(usize) -> Pte) -> Result<(), Failures> {
    let mut task = TaskState::new();
    let mut region = Mmu::new(mmu::platform()).enter(&mut task, context);
    for index in 0..ENTRIES_PER_TABLE {
        region.set_pte(PteSlot::of(table, index), pte_of(index));
    }
    region.mmuext(MmuextOp::TlbFlushAll);
    region.leave()
}

/// The entry and the refusal of the first failure; the number of entries where there is none.
fn first_failure(left: &Result<(), Failures>) -> (usize, Option<Errno>) {
    let Some(failure) = left.as_ref().err().and_then(|failures| failures.iter().next()) else {
        return (ENTRIES_PER_TABLE, None);
    };
    let entry = match failure.operation() {
        Operation::Update { update, .. } => update.slot.index(),
        _ => ENTRIES_PER_TABLE,
    };
    (entry, failure.errno())
}

/// Runs the three regions and tells what became of them.
pub(crate) fn smoke(context: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let table = mmu::pinned_table(context)?.frame();
    let data = take_page().ok_or(Error::NoPage)?.frame();
    let entry = |region: u64| Pte::new(data, FLAGS | mark(region));

    mmu::refuse(None);
    let before = mmu::counts();
    region(context, table, |_| entry(1))?;
    let counted = mmu::counts().since(before);
    answer!(
        reply,
        "clean_hypercalls" = counted.hypercalls,
        "clean_operations" = counted.operations,
        "clean_differing" = mmu::differing(table, |_| entry(1))?,
    );

    mmu::refuse(Some(INJECTED as u64));
    let left = region(context, table, |_| entry(2));
    mmu::refuse(None);
    let (at, errno) = first_failure(&left);
    answer!(
        reply,
        "injected_failures" = left.err().map_or(0, |failures| failures.count()),
        "injected_at" = at,
        "injected_errno" = errno.map_or(0, Errno::number),
        "injected_differing" = mmu::differing(table, |index| entry(if index == INJECTED { 1 } else { 2 }))?,
    );

    let writable_table = Pte::new(table, FLAGS | PteFlags::RW);
    let left = region(context, table, |index| if index == FORBIDDEN { writable_table } else { entry(3) });
    let (at, errno) = first_failure(&left);
    answer!(
        reply,
        "forbidden_failures" = left.err().map_or(0, |failures| failures.count()),
        "forbidden_at" = at,
        "forbidden_errno" = errno.map_or(0, Errno::number),
        "forbidden_differing" = mmu::differing(table, |index| entry(if index == FORBIDDEN { 2 } else { 3 }))?,
        "reports" = mmu::counts().since(before).reports,
    );
    outside(context, table, entry(4), reply)
}

/// The same table without a region: a range, which is one array, and a read-modify-write, which is one
/// update.
fn outside(context: &TaskContext, table: Mfn, pte: Pte, reply: &mut Reply) -> Result<(), Error> {
    const CLEARED: usize = 5;
    let mut task = TaskState::new();
    let mut outside = Mmu::new(mmu::platform()).outside(&mut task, context);
    let before = mmu::counts();
    outside.set_ptes(PteSlot::of(table, 0), ENTRIES_PER_TABLE, |_| pte)?.not_cached();
    let counted = mmu::counts().since(before);
    let (held, owed) = outside.get_and_clear(PteSlot::of(table, CLEARED))?;
    owed.not_cached();
    answer!(
        reply,
        "range_hypercalls" = counted.hypercalls,
        "range_operations" = counted.operations,
        "clear_answers" = held.pte() == pte,
        "clear_differing" = mmu::differing(table, |index| if index == CLEARED { Pte::EMPTY } else { pte })?,
    );
    Ok(())
}
