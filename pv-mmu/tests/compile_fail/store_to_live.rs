//! A live table takes operations, not stores.
use hypercall::Pte;
use pv_mmu::table::{Live, TableMemory};

fn store<M: TableMemory>(table: &mut Live<M>) {
    table.store(0, Pte::EMPTY);
}

fn main() {}
