//! A region stays on the thread that entered it.
use pv_mmu::{Platform, Region};

fn must_be_send<T: Send>(_: T) {}

fn send<P: Platform + Sync>(region: Region<'_, P>) {
    must_be_send(region);
}

fn main() {}
