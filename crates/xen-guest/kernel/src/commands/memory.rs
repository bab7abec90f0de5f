//! The kernel's view of its memory, checked against itself.

use hypercall::{Level, MmuextOp, Operation, TaskContext, VirtAddr, issue_operation, xen::Xen};
use xen_guest::memory::{Page, load, p2m, tables, take_page};

use super::answer;
use crate::{error::Error, reply::Reply};

/// Where a page table of level `level` for `page` is mapped.
fn table_of(page: &Page, level: Level) -> Result<VirtAddr, Error> {
    let (slot, _) = tables::walk(page.address(), level)?;
    p2m::address_of(slot.table()).ok_or(Error::Payload)
}

fn describe<T>(result: Result<T, xen_guest::memory::Fault>) -> u32 {
    // Vector in the upper half, error code in the lower; 0 for no fault.
    result.err().map_or(0, |fault| u32::from(fault.vector) << 16 | fault.error)
}

/// Walks to a page, probes what can and cannot be accessed, makes the page a table and back.
pub(crate) fn memory(_: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let mut page = take_page().ok_or(Error::NoPage)?;
    let (slot, pte) = tables::walk(page.address(), Level::L1)?;
    let upper = table_of(&page, Level::L2)?;
    answer!(
        reply,
        "walk_finds_the_page" = pte.frame() == page.frame() && tables::read(slot)? == pte,
        "m2p_agrees" = p2m::pfn(page.frame()).and_then(p2m::frame) == Some(page.frame()),
        "load_mapped" = describe(load(page.address())),
        "load_nowhere" = format_args!("{:#x}", describe(load(VirtAddr::unchecked(1 << 40)))),
        "load_not_canonical" = format_args!("{:#x}", describe(load(VirtAddr::unchecked(1 << 60)))),
        "load_table" = describe(load(upper)),
    );
    // SAFETY: the word written is the one that was read, and the access is expected to fault.
    let stored = unsafe { xen_guest::memory::probe::store(upper, load(upper)?) };
    answer!(reply, "store_table" = format_args!("{:#x}", describe(stored)));
    page.write(7, 0x1234)?;
    answer!(reply, "page_keeps_a_word" = page.read(7)? == 0x1234);
    page.write(7, 0)?;
    page.protect()?;
    answer!(reply, "store_protected" = format_args!("{:#x}", describe(page.write(7, 1))));
    pin_and_unpin(&mut page, reply)
}

fn pin_and_unpin(page: &mut Page, reply: &mut Reply) -> Result<(), Error> {
    // SAFETY: this is a kernel; what is pinned is a page of the pool.
    let mut xen = unsafe { Xen::assume() };
    let mut mmuext = |op| issue_operation(&mut xen, &Operation::Mmuext { op, domain: hypercall::DomId::SELF });
    mmuext(MmuextOp::Pin { level: Level::L1, table: page.frame() })?;
    let refused = page.unprotect().err();
    mmuext(MmuextOp::Unpin { table: page.frame() })?;
    page.unprotect()?;
    answer!(reply, "pinned_is_not_writable" = refused == Some(hypercall::Errno::BUSY));
    Ok(())
}
