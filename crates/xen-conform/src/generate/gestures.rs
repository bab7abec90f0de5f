//! The other gestures, and the choice among all.

use hypercall::abi::{
    MMU_PT_UPDATE_PRESERVE_AD, MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_NEW_BASEPTR, MMUEXT_NEW_USER_BASEPTR,
    MMUEXT_PIN_L4_TABLE, MMUEXT_TLB_FLUSH_ALL,
};
use hypercall::{DomId, Level, PAGE_SIZE};
use xen_program::arena::{FIRST_PAGE, FIRST_WINDOW, address_under};
use xen_program::{Frame, Special, Step, Table, Value};

use super::calls::{multicall, single};
use super::draft::{Belief, Draft, slot};
use super::pools::{self, one_of, weighted};
use super::tables::{build, change, pins, remap, tree};

type Gesture = fn(&mut Draft);

const GESTURES: [(u32, Gesture); 15] = [
    (16, build),
    (5, tree),
    (14, change),
    (7, pins),
    (8, remap),
    (22, single),
    (14, multicall),
    (7, access),
    (4, linear),
    (3, descriptors),
    (3, other_root),
    (4, probe),
    (2, clear),
    (4, foreign),
    (8, rewrite),
];

/// One gesture, unless the program is long enough.
pub(super) fn any(draft: &mut Draft) {
    if !draft.is_long() {
        let gesture = weighted(&mut draft.rng, &GESTURES);
        gesture(draft);
    }
}

/// A load, store or exchange: at home, through a window, or to a table that a window shows.
fn access(draft: &mut Draft) {
    let offset = 8 * draft.rng.u64(0..8);
    let address = match draft.rng.u32(0..100) {
        0..35 => address_under(Table::L1, FIRST_PAGE + draft.page().number()) + offset,
        35..55 => address_under(Table::L1, draft.window()) + offset,
        55..85 => show_table(draft),
        85..95 => address_under(Table::L2, draft.rng.usize(1..8)) + PAGE_SIZE * draft.rng.u64(0..8) + offset,
        _ => draft.empty_window(),
    };
    let address = Value::Literal(address);
    let word = draft.l1_entry();
    let step = match draft.rng.u32(0..100) {
        0..30 => Step::Load { address },
        30..75 => Step::Store { address, word },
        _ => Step::Exchange { address, word },
    };
    draft.push(step);
}

/// Maps a table read-only in a window and answers with the address of one of its entries.
fn show_table(draft: &mut Draft) -> u64 {
    let level = weighted(&mut draft.rng, &[(7, Level::L1), (2, Level::L2), (1, Level::L3)]);
    let table = draft.table_of(level);
    let index = match table {
        Frame::Table(Table::L1) => FIRST_WINDOW + draft.rng.usize(0..8),
        Frame::Table(_) => draft.rng.usize(1..8),
        _ => draft.index(level),
    };
    show(draft, table, index)
}

/// Maps a table read-only in a window and answers with the address of this entry of it.
fn show(draft: &mut Draft, table: Frame, index: usize) -> u64 {
    let window = draft.window();
    draft.update(vec![(slot(Table::L1.into(), window, 0), Value::Page(table, 0x61))]);
    address_under(Table::L1, window) + 8 * index as u64
}

/// Maps a frame of another owner in that owner's name, and changes the entry in the guest's own.
fn foreign(draft: &mut Draft) {
    let (owner, frame) = if draft.chance(60) {
        (DomId::XEN, Special::MachineToPhysical)
    } else {
        (DomId::IO, one_of(&mut draft.rng, &[Special::Vga, Special::LowMemory, Special::IoApic]))
    };
    let window = draft.window();
    let entry = slot(Table::L1.into(), window, 0);
    let flags = pools::l1_flags(&mut draft.rng);
    draft.update_for(owner, vec![(entry.clone(), Value::Page(frame.into(), flags))]);
    if draft.chance(30) {
        let word = pools::junk(&mut draft.rng).into();
        draft.update_for(owner, vec![(Value::Page(frame.into(), 1), word)]);
    }
    let bits = one_of(&mut draft.rng, &[0x200, 0xe00, 0x60, 0x40, 2, 0x10]);
    let word = Value::Word(Table::L1.into(), window, bits);
    if draft.chance(50) {
        let address = show(draft, Table::L1.into(), window).into();
        draft.push(Step::Store { address, word });
    } else {
        draft.update(vec![(entry, word)]);
    }
}

/// Entries that lead from a table to itself or to another of its level.
fn linear(draft: &mut Draft) {
    let level = weighted(&mut draft.rng, &[(4, Level::L2), (3, Level::L3), (5, Level::L4)]);
    let count = draft.rng.usize(1..=4);
    let pairs = (0..count)
        .map(|_| {
            let table = draft.table_of(level);
            let target = if draft.chance(45) { table } else { draft.table_of(level) };
            let index = draft.index(level);
            let entry = match draft.rng.u32(0..100) {
                0..70 => Value::Page(target, one_of(&mut draft.rng, &[0x65, 0x61, 0xe65, 0x25])),
                70..80 => Value::Page(target, 0x67),
                _ => 0.into(),
            };
            (slot(table, index, 0), entry)
        })
        .collect();
    draft.update(pairs);
}

/// Puts descriptors into a page and loads it.
fn descriptors(draft: &mut Draft) {
    let page = draft.page_that(|belief| matches!(belief, Belief::Plain | Belief::ReadOnly));
    let count = draft.rng.usize(0..4);
    let words = (0..count)
        .map(|_| (slot(page.into(), draft.rng.usize(0..16), 0), pools::descriptor(&mut draft.rng).into()))
        .collect();
    draft.update(words);
    draft.protect(page);
    let list = Value::Buffer(xen_program::Buffer::new(vec![Value::Mfn(page.into())]));
    let entries = one_of(&mut draft.rng, &[1_u64, 16, 512]);
    let args = vec![list, entries.into()];
    draft.push(Step::Call { interrupt: None, number: hypercall::abi::HYPERCALL_SET_GDT, args });
    draft.believe(page, Belief::Descriptors);
}

/// Copies the root to a page and runs on that for a while.
fn other_root(draft: &mut Draft) {
    let page = draft.page_that(|belief| belief == Belief::Plain);
    let (root, mfn) = (Value::Mfn(Table::Root.into()), Value::Mfn(page.into()));
    let command = |command: u32| Value::Literal(command.into());
    draft.extended(vec![[command(MMUEXT_COPY_PAGE), mfn.clone(), root.clone()]]);
    draft.protect(page);
    if draft.chance(40) {
        draft.extended(vec![[command(MMUEXT_PIN_L4_TABLE), mfn.clone(), 0.into()]]);
    }
    let load = if draft.chance(75) { MMUEXT_NEW_BASEPTR } else { MMUEXT_NEW_USER_BASEPTR };
    draft.extended(vec![[command(load), mfn, 0.into()]]);
    draft.believe(page, Belief::Table(Level::L4));
    for _ in 0..draft.rng.usize(0..4) {
        any(draft);
    }
    if draft.chance(70) {
        draft.extended(vec![[command(MMUEXT_NEW_BASEPTR), root, 0.into()]]);
    }
}

fn probe(draft: &mut Draft) {
    let frame = if draft.chance(85) { draft.page().into() } else { Frame::from(one_of(&mut draft.rng, &Table::ALL)) };
    draft.push(Step::Probe(frame));
}

/// Clears or copies a page.
fn clear(draft: &mut Draft) {
    let (page, other) = (draft.page(), draft.frame());
    let clear = [u64::from(MMUEXT_CLEAR_PAGE).into(), Value::Mfn(page.into()), 0.into()];
    let copy = [u64::from(MMUEXT_COPY_PAGE).into(), Value::Mfn(page.into()), Value::Mfn(other)];
    let operation = if draft.chance(50) { clear } else { copy };
    draft.extended(vec![operation]);
}

/// What a read-modify-write comes to: entries that are used, replaced by updates that preserve what the processor has
/// noted in them, flushed, and looked at; some are put back by normal updates.
fn rewrite(draft: &mut Draft) {
    let page = draft.page_that(|belief| belief == Belief::Plain);
    let windows: Vec<usize> = (0..draft.rng.usize(1..=3)).map(|_| draft.window()).collect();
    let all = |draft: &mut Draft, command: u32, flags: &[u64]| {
        let entries = windows.iter().map(|window| {
            let chosen = one_of(&mut draft.rng, flags);
            let value = if chosen & 1 == 0 { chosen.into() } else { Value::Page(page.into(), chosen) };
            (slot(Table::L1.into(), *window, command.into()), value)
        });
        let entries = entries.collect();
        draft.update(entries);
        draft.extended(vec![[u64::from(MMUEXT_TLB_FLUSH_ALL).into(), 0.into(), 0.into()]]);
    };
    all(draft, 0, &[0x63, 0x67, 0x03, 0x23, 0x43, 0x61, 0x01]);
    for window in &windows {
        let address = Value::Literal(address_under(Table::L1, *window) + 8 * draft.rng.u64(0..8));
        match draft.rng.u32(0..3) {
            0 => draft.push(Step::Load { address }),
            1 => draft.push(Step::Store { address, word: 7.into() }),
            _ => {}
        }
    }
    all(draft, MMU_PT_UPDATE_PRESERVE_AD, &[0, 0, 0x7060, 0x01, 0x05, 0x03, 0x803]);
    if draft.chance(50) {
        all(draft, 0, &[0, 0x63, 0x43, 0x01]);
    }
}
