//! A pause, and the answer owed to the TLB question, stay on their thread too.
use pv_mmu::{FlushOwed, Paused, Platform};

fn must_be_send<T: Send>(_: T) {}

fn send<P: Platform + Sync>(paused: Paused<'_, P>, owed: FlushOwed<'_, P>) {
    must_be_send(paused);
    must_be_send(owed);
}

fn main() {}
