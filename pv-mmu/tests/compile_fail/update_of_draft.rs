//! A draft has no entries that operations could name.
use hypercall::Pte;
use pv_mmu::{
    Operations, Platform, Region,
    table::{Draft, TableMemory},
};

fn update<M: TableMemory, P: Platform>(region: &mut Region<'_, P>, table: &Draft<M>) {
    region.set_pte(table.slot(0), Pte::EMPTY);
}

fn main() {}
