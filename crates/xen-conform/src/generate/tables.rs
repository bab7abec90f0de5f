//! Gestures about tables: building, pinning, linking, changing and letting go.

use hypercall::Level;
use hypercall::abi::{MMUEXT_PIN_L1_TABLE, MMUEXT_UNPIN_TABLE};
use xen_program::{PageId, Table, Value};

use super::draft::{Belief, Draft, slot};
use super::pools::{self, one_of};

/// Levels, those with more to go wrong more often.
const LEVELS: [(u32, Level); 4] = [(35, Level::L1), (30, Level::L2), (20, Level::L3), (15, Level::L4)];

pub(super) fn level(draft: &mut Draft) -> Level {
    pools::weighted(&mut draft.rng, &LEVELS)
}

/// Fills a page with entries, takes its writable mapping away, and puts it to use.
pub(super) fn build(draft: &mut Draft) {
    let level = level(draft);
    let page = draft.page_that(|belief| belief == Belief::Plain);
    fill(draft, page, level);
    if !draft.chance(4) {
        draft.protect(page);
    }
    match draft.rng.u32(0..100) {
        0..60 => pin(draft, page, level),
        60..85 => link(draft, page, level),
        _ => {}
    }
}

/// A whole tree, lowest table first.
pub(super) fn tree(draft: &mut Draft) {
    let top = draft.rng.usize(1..4);
    let mut below = None;
    for level in &Level::ALL[..=top] {
        let page = draft.page_that(|belief| belief == Belief::Plain);
        if let Some(child) = below {
            let count = draft.rng.usize(1..4);
            let entries = (0..count).map(|_| {
                let index = draft.index(*level);
                (slot(page.into(), index, 0), Value::Page(PageId::into(child), one_of(&mut draft.rng, &pools::UPPER)))
            });
            let entries = entries.collect();
            draft.update(entries);
        }
        if draft.chance(60) {
            fill(draft, page, *level);
        }
        draft.protect(page);
        below = Some(page);
    }
    if let Some(page) = below {
        pin(draft, page, Level::ALL[top]);
    }
}

/// Stores entries for a table of `level` into a page by updates, while it is no table yet.
fn fill(draft: &mut Draft, page: PageId, level: Level) {
    let count = draft.rng.usize(1..=6);
    let entries = (0..count)
        .map(|_| {
            let index = draft.index(level);
            let to_itself = level != Level::L1 && draft.chance(8);
            let entry = if to_itself { Value::Page(page.into(), 0x65) } else { draft.entry(level) };
            (slot(page.into(), index, 0), entry)
        })
        .collect();
    draft.update(entries);
}

fn pin(draft: &mut Draft, page: PageId, level: Level) {
    let command = MMUEXT_PIN_L1_TABLE + u32::from(level.number()) - 1;
    draft.extended(vec![[u64::from(command).into(), Value::Mfn(page.into()), 0.into()]]);
    draft.believe(page, Belief::Table(level));
}

/// Lets a table of the level above lead to a page.
fn link(draft: &mut Draft, page: PageId, level: Level) {
    let Some(above) = Level::ALL.get(level.number() as usize) else { return pin(draft, page, level) };
    let parent = draft.table_of(*above);
    let index = draft.index(*above);
    let flags = pools::upper_flags(&mut draft.rng);
    draft.update(vec![(slot(parent, index, 0), Value::Page(page.into(), flags))]);
    draft.believe(page, Belief::Table(level));
}

/// Pins and unpins, one or several, fitting or not.
pub(super) fn pins(draft: &mut Draft) {
    let count = draft.rng.usize(1..=3);
    let operations = (0..count)
        .map(|_| {
            let page = draft.page_that(|belief| belief != Belief::Plain);
            let command = if draft.chance(50) { MMUEXT_UNPIN_TABLE } else { pin_command(draft, page) };
            if command == MMUEXT_UNPIN_TABLE && draft.chance(50) {
                draft.believe(page, Belief::ReadOnly);
            }
            [u64::from(command).into(), Value::Mfn(page.into()), 0.into()]
        })
        .collect();
    draft.extended(operations);
}

fn pin_command(draft: &mut Draft, page: PageId) -> u32 {
    let level = match draft.belief(page) {
        Belief::Table(level) if draft.chance(70) => level,
        _ => level(draft),
    };
    MMUEXT_PIN_L1_TABLE + u32::from(level.number()) - 1
}

/// Changes entries of tables in use.
pub(super) fn change(draft: &mut Draft) {
    let count = draft.rng.usize(1..=5);
    let pairs = (0..count).map(|_| change_one(draft)).collect();
    draft.update(pairs);
}

/// A slot of a table in use and an entry for it.
pub(super) fn change_one(draft: &mut Draft) -> (Value, Value) {
    let level = level(draft);
    let table = draft.table_of(level);
    let command = command(draft);
    let index = match table {
        xen_program::Frame::Table(Table::L1) => draft.window(),
        _ => draft.index(level),
    };
    let entry = match draft.rng.u32(0..100) {
        0..55 => draft.entry(level),
        55..75 => 0.into(),
        75..90 if level != Level::L1 => {
            Value::Page(draft.table_of(level), one_of(&mut draft.rng, &[0x65, 0x61, 0x67, 0xe65]))
        }
        _ => Value::Word(table, index, one_of(&mut draft.rng, &[0, 0x200, 0x600, 2, 0x40])),
    };
    (slot(table, index, command), entry)
}

/// The command in a slot's low bits.
pub(super) fn command(draft: &mut Draft) -> u64 {
    match draft.rng.u32(0..100) {
        0..72 => 0,
        72..90 => 2,
        90..95 => 3,
        95..97 => 1,
        _ => draft.rng.u64(4..8),
    }
}

/// Takes a page's mapping at home away or gives it back.
pub(super) fn remap(draft: &mut Draft) {
    let page = draft.page();
    if draft.chance(55) { draft.unprotect(page) } else { draft.protect(page) }
}
