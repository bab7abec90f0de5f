//! The backend itself: each way of calling the real Xen, and what comes back of it.

use hypercall::TaskContext;
use hypercall::{
    Batch, DomId, Errno, Hypervisor as _, Level, MmuUpdate, MmuextOp, Operation, Outcome, Pte, PteSlot, Subject,
    UpdateCommand, VirtAddr, abi, issue_operation, xen::Xen, xen::hypercall,
};
use xen_guest::memory::{Page, take_page};

use super::answer;
use crate::{error::Error, mmu::FLAGS, reply::Reply};

/// Calls Xen in every way and compares with what is known of its answers.
pub(crate) fn hypercalls(_: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    // SAFETY: this is a kernel without a red zone; only tables of pool pages are changed.
    let mut xen = unsafe { Xen::assume() };
    let mut table = take_page().ok_or(Error::NoPage)?;
    let data = take_page().ok_or(Error::NoPage)?;
    table.protect()?;
    pin(&mut xen, &table, Level::L1)?;
    array(&mut xen, &table, &data, reply)?;
    multicall(&mut xen, &table, &data, reply)?;
    registers(&table, reply);
    continuation(&mut xen, reply)
}

fn pin(xen: &mut Xen, table: &Page, level: Level) -> Result<(), Errno> {
    let op = MmuextOp::Pin { level, table: table.frame() };
    issue_operation(xen, &Operation::Mmuext { op, domain: DomId::SELF })
}

/// An array whose second update is refused stops there.
fn array(xen: &mut Xen, table: &Page, data: &Page, reply: &mut Reply) -> Result<(), Error> {
    let pte = Pte::new(data.frame(), FLAGS);
    let unknown = PteSlot::from_bits(table.slot(1).bits() | 4);
    let updates =
        [(table.slot(0), pte), (unknown, pte), (table.slot(2), pte)].map(|(slot, pte)| MmuUpdate::new(slot, pte));
    let outcome = xen.mmu_update(&updates, Subject::SELF);
    answer!(
        reply,
        "array_stops_at_the_refused" = outcome == Outcome::refused(1, Errno::NOSYS),
        "array_applied_the_first_only" = table.read(0)? == pte.bits() && table.read(2)? == 0,
    );
    Ok(())
}

/// A multicall goes on behind a call that is refused, and each call has its own outcome.
fn multicall(xen: &mut Xen, table: &Page, data: &Page, reply: &mut Reply) -> Result<(), Error> {
    let update = |index, pte| Operation::Update {
        update: MmuUpdate::new(table.slot(index).with_command(UpdateCommand::PreserveAd), pte),
        subject: Subject::SELF,
    };
    let flush = |op| Operation::Mmuext { op, domain: DomId::SELF };
    let mut batch = Batch::<4, 4, 16>::new();
    let operations = [
        update(3, Pte::new(data.frame(), FLAGS)),
        flush(MmuextOp::TlbFlushAll),
        flush(MmuextOp::MarkSuper { frame: data.frame() }),
        update(4, Pte::new(data.frame(), FLAGS)),
    ];
    let fits = operations.iter().all(|operation| batch.push(operation).is_ok());
    let called = xen.multicall(&mut batch.prepare());
    let outcomes = [0, 1, 2].map(|call| batch.outcome(call));
    let expected = [Outcome::all(1), Outcome::refused(1, Errno::OPNOTSUPP), Outcome::all(1)].map(Some);
    answer!(
        reply,
        "multicall_outcomes" = fits && called.is_ok() && outcomes == expected,
        "multicall_goes_on" = table.read(4)? == Pte::new(data.frame(), FLAGS).bits(),
        "direct_call" = issue_operation(xen, &flush(MmuextOp::InvlpgLocal { address: VirtAddr::unchecked(0) })).is_ok(),
    );
    Ok(())
}

/// Arguments of a raw `mmu_update`.
fn arguments(updates: &[MmuUpdate], done: &mut u32) -> [u64; 5] {
    let array = updates.as_ptr().expose_provenance() as u64;
    let done = (&raw mut *done).expose_provenance() as u64;
    [array, updates.len() as u64, done, Subject::SELF.bits().into(), 0]
}

/// The argument registers of a call that nothing interrupts come back as they were.
fn registers(table: &Page, reply: &mut Reply) {
    let _masked = xen_guest::mask();
    let updates = [0, 1].map(|index| MmuUpdate::new(table.slot(index), Pte::EMPTY));
    let mut done = 0;
    let before = arguments(&updates, &mut done);
    // SAFETY: this is a kernel without a red zone; array and count are borrowed, the table is of a pool page.
    let (answer, after) = unsafe { hypercall(abi::HYPERCALL_MMU_UPDATE.into(), before) };
    answer!(reply, "registers_are_kept" = answer == 0 && done == 2 && before == after);
}

/// Removing an L2 entry leaves Xen a teardown, for which it re-enters the call: that shows in the
/// argument registers.
fn continuation(xen: &mut Xen, reply: &mut Reply) -> Result<(), Error> {
    let (mut lower, mut upper) = (take_page().ok_or(Error::NoPage)?, take_page().ok_or(Error::NoPage)?);
    lower.protect()?;
    upper.write(0, Pte::new(lower.frame(), FLAGS).bits())?;
    upper.protect()?;
    pin(xen, &upper, Level::L2)?;
    let updates = [MmuUpdate::new(upper.slot(0), Pte::EMPTY)];
    let mut done = 0;
    let before = arguments(&updates, &mut done);
    let masked = xen_guest::mask();
    // SAFETY: as in `registers`.
    let (answer, after) = unsafe { hypercall(abi::HYPERCALL_MMU_UPDATE.into(), before) };
    drop(masked);
    answer!(
        reply,
        "removal_is_done" = answer == 0 && done == 1 && upper.read(0)? == 0,
        "continuation_shows" = format_args!("{:#x},{:#x}", after[0], after[1]),
        "table_is_given_up" = lower.unprotect().is_ok(),
    );
    Ok(())
}
