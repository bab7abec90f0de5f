//! `mock_xen::testing` for guest kernels in C: a machine that answers as Xen does, and a referee that watches both ends.
//!
//! Protocol. Hypercalls come as Xen's words, with pointers into the program's own memory, and the mock reads them as Xen
//! would: it shares nothing with the library it judges. What the kernel wishes is told beside it, in the order in which it
//! happens: `mockxen_ask_…` just before the library is handed an operation and `mockxen_answered` once that call has
//! returned; enter, pause and resume once they have returned; leave and flush before and after. In the end
//! `mockxen_judge` says what was broken.

pub mod guest;
pub mod judge;
pub mod tell;

use std::ptr::NonNull;

use hypercall::{DomId, MmuUpdate, Operation, Pte, PteSlot, Subject};

use guest::Guest;

/// An update of an entry of the caller's own.
const fn update(slot: u64, pte: u64) -> Operation {
    let update = MmuUpdate::new(PteSlot::from_bits(slot), Pte::from_bits(pte));
    Operation::Update { update, subject: Subject::SELF }
}

/// An `mmuext_op` of the caller's own, by its words.
fn mmuext(command: u32, argument: u64, vcpus: u64) -> Operation {
    let words = hypercall::MmuextWords { command, padding: 0, arg1: argument, arg2: 0 };
    let mask = hypercall::VcpuMask::from_words([vcpus, 0]);
    let op = hypercall::MmuextOp::decode(words, |_| Some(mask)).unwrap_or_else(|error| panic!("mockxen: {error}"));
    Operation::Mmuext { op, domain: DomId::SELF }
}

/// What is behind a pointer of C's.
///
/// # Safety
/// 1. `guest` is null or was made by `mockxen_new` and not freed.
unsafe fn known<'g>(guest: *const Guest) -> &'g Guest {
    let guest = NonNull::new(guest.cast_mut()).expect("mockxen: the guest is null; make one by mockxen_new");
    // SAFETY: 1. the caller's promise; 2. a guest is only shared.
    unsafe { guest.as_ref() }
}
