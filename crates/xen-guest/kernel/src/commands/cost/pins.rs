//! Tables that become tables and pages again; the size is how many of their entries are present.

use hypercall::{Level, MmuextOp, Pte, PteFlags};
use xen_guest::memory::{Page, take_page};

use super::{
    SIZES,
    arrays::{Content, Frames},
    issuer::{Issuer, mmuext},
    meter::{Meter, ticks},
};
use crate::{error::Error, mmu::FLAGS};

/// Entries of an L4 table that are the guest's, from the first on.
const GUEST_ROOT_ENTRIES: usize = 256;

pub(super) fn measure(issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let frames = Frames::take()?;
    let mut table = take_page().ok_or(Error::NoPage)?;
    for (name, content) in [("pin_l1/ro", Content::ReadOnly), ("pin_l1/rw", Content::Writable)] {
        pin(issuer, meter, name, Level::L1, &mut table, frames.pte(content))?;
    }
    // Each level's table has the one of the level below in all of its entries.
    let mut below = table;
    fill(&mut below, 512, Pte::EMPTY)?;
    for (name, level) in [("pin_l2", Level::L2), ("pin_l3", Level::L3), ("pin_l4", Level::L4)] {
        below.protect()?;
        if let Some(level) = level.below() {
            issuer.one(&mmuext(MmuextOp::Pin { level, table: below.frame() }))?;
        }
        let mut table = take_page().ok_or(Error::NoPage)?;
        pin(issuer, meter, name, level, &mut table, Pte::new(below.frame(), FLAGS | PteFlags::RW))?;
        fill(&mut table, 512, Pte::EMPTY)?;
        below = table;
    }
    remap(issuer, meter)
}

fn fill(table: &mut Page, count: usize, pte: Pte) -> Result<(), Error> {
    Ok((0..count).try_for_each(|index| table.write(index, pte.bits()))?)
}

fn pin(
    issuer: &mut Issuer,
    meter: &mut Meter<'_>,
    name: &str,
    level: Level,
    table: &mut Page,
    pte: Pte,
) -> Result<(), Error> {
    let frame = table.frame();
    let room = if level == Level::L4 { GUEST_ROOT_ENTRIES } else { 512 };
    for size in [0].into_iter().chain(SIZES).filter(|size| *size <= room) {
        fill(table, 512, Pte::EMPTY)?;
        fill(table, size, pte)?;
        table.protect()?;
        meter.row(format_args!("mmuext_op/{name}"), size, || {
            let cost = issuer.one(&mmuext(MmuextOp::Pin { level, table: frame }))?;
            issuer.one(&mmuext(MmuextOp::Unpin { table: frame }))?;
            Ok(cost)
        })?;
        meter.row(format_args!("mmuext_op/un{name}"), size, || {
            issuer.one(&mmuext(MmuextOp::Pin { level, table: frame }))?;
            issuer.one(&mmuext(MmuextOp::Unpin { table: frame }))
        })?;
        table.unprotect()?;
    }
    Ok(())
}

/// A page that has been a table is mapped writable again, and read-only to become one.
fn remap(issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let mut page = take_page().ok_or(Error::NoPage)?;
    page.protect()?;
    let frame = page.frame();
    let mut as_a_table = || {
        issuer.one(&mmuext(MmuextOp::Pin { level: Level::L1, table: frame }))?;
        issuer.one(&mmuext(MmuextOp::Unpin { table: frame })).map(drop)
    };
    meter.row(format_args!("table/unprotect"), 1, || {
        as_a_table()?;
        let cost = ticks(|| page.unprotect())?;
        page.protect()?;
        Ok(cost)
    })?;
    meter.row(format_args!("table/protect"), 1, || {
        as_a_table()?;
        page.unprotect()?;
        ticks(|| page.protect())
    })
}
