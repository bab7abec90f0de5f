//! Giving up a table may wait for other vCPUs, so a handler cannot ask for it.
use pv_mmu::{
    Interrupt, Platform,
    table::{Live, TableMemory},
};

fn retire<M: TableMemory, P: Platform>(handler: &mut Interrupt<'_, P>, table: Live<M>) {
    let _ = table.retire(handler);
}

fn main() {}
