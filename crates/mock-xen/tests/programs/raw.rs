//! One program, asked in two ways: typed calls and raw words in guest memory.

use hypercall::abi::{HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP};
use hypercall::{Errno, Mfn, Operation, RawCall, VcpuId};
use proptest::prelude::*;

use crate::guest::Guest;
use crate::wish::{Wish, wish};

const CPU: VcpuId = VcpuId::new(0);

/// Stores the operation's words in `page` and says how to ask for it.
fn lay_out(guest: &Guest, page: Mfn, operation: &Operation) -> RawCall {
    let address = guest.xen.direct_map(page).expect("the page is memory").value();
    let store = |words: &[u64]| {
        for (index, word) in words.iter().enumerate() {
            guest.xen.write_plain(page, index, *word).expect("the page is mapped writable");
        }
    };
    match operation {
        Operation::Update { update, subject } => {
            store(&[update.slot.bits(), update.value]);
            RawCall { number: HYPERCALL_MMU_UPDATE, args: [address, 1, 0, subject.bits().into(), 0] }
        }
        Operation::Mmuext { op, domain } => {
            store(&op.encode(0).to_memory());
            RawCall { number: HYPERCALL_MMUEXT_OP, args: [address, 1, 0, domain.number().into(), 0] }
        }
        _ => operation.encode(0).expect("the arrays are dealt with above"),
    }
}

fn run_raw(guest: &Guest, page: Mfn, wish: &Wish) -> Result<(), Errno> {
    match wish.operation(guest) {
        Some(operation) => {
            let mut call = lay_out(guest, page, &operation);
            Errno::from_return(guest.xen.hypercall(CPU, &mut call)).map(drop)
        }
        None if wish.act(guest) => Ok(()),
        None => Err(Errno::FAULT),
    }
}

proptest! {
    #[test]
    fn typed_and_raw_calls_have_the_same_answers(program in prop::collection::vec(wish(false), 1..80)) {
        let (typed, raw) = (Guest::new(1), Guest::new(1));
        let page = raw.xen.alloc_frame().expect("some are spare");
        for wish in &program {
            prop_assert_eq!(typed.run(CPU, wish), run_raw(&raw, page, wish), "{:?}", wish);
        }
        prop_assert_eq!(typed.xen.snapshot(), raw.xen.snapshot());
        for frame in &typed.frames {
            prop_assert_eq!(typed.xen.table_entries(*frame), raw.xen.table_entries(*frame));
            prop_assert_eq!(typed.xen.read_m2p(*frame), raw.xen.read_m2p(*frame));
            prop_assert_eq!(typed.xen.frame(*frame), raw.xen.frame(*frame));
        }
    }
}
