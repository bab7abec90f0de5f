//! What is known of an entry before it is emptied says nothing final of its dirty bit.
use pv_mmu::Modification;

fn dirty(change: &Modification) -> bool {
    change.known().was_dirty()
}

fn main() {}
