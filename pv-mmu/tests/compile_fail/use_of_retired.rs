//! A table that was given up is not live any more.
use pv_mmu::{
    Asks,
    table::{Live, TableMemory},
};

fn retire<M: TableMemory>(by: &mut impl Asks, table: Live<M>) {
    let _draft = table.retire(by);
    table.slot(0);
}

fn main() {}
