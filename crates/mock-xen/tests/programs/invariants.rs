//! Counts, repeatability, reach.

use std::collections::BTreeMap;

use hypercall::VcpuId;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::guest::Guest;
use crate::wish::{Wish, wish};

const CPU: VcpuId = VcpuId::new(0);

fn program() -> impl Strategy<Value = Vec<Wish>> {
    prop::collection::vec(wish(true), 1..80)
}

proptest! {
    #[test]
    fn counts_are_right_after_every_step(program in program()) {
        let guest = Guest::new(1);
        for wish in &program {
            let answer = guest.run(CPU, wish);
            let audit = guest.xen.audit();
            prop_assert!(audit.is_ok(), "after {wish:?} ({answer:?}): {}", audit.unwrap_err());
        }
    }

    #[test]
    fn a_program_run_again_ends_the_same(program in program()) {
        let run = || {
            let guest = Guest::new(1);
            let answers: Vec<_> = program.iter().map(|wish| guest.run(CPU, wish)).collect();
            (answers, guest.xen.snapshot(), guest.xen.not_modelled())
        };
        prop_assert_eq!(run(), run());
    }
}

/// The properties above say nothing about kinds of wishes that are always refused.
#[test]
fn every_kind_of_wish_is_granted_and_refused_somewhere() {
    let mut runner = TestRunner::deterministic();
    let mut granted = BTreeMap::<_, (u32, u32)>::new();
    for _ in 0..400 {
        let program = program().new_tree(&mut runner).expect("nothing is filtered").current();
        let guest = Guest::new(1);
        for wish in program {
            let (yes, no) = granted.entry(wish.kind()).or_default();
            *(if guest.run(CPU, &wish).is_ok() { yes } else { no }) += 1;
        }
    }
    let one_sided: Vec<_> = granted.iter().filter(|(_, (yes, no))| *yes == 0 || *no == 0).collect();
    assert!(granted.len() == 15 && one_sided.is_empty(), "{granted:?}");
}
