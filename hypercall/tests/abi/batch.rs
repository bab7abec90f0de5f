//! What goes into a batch comes out of its words again, in order.

use crate::common::{Keeper, mmuext, operation};
use hypercall::{
    Batch, BatchFull, DomId, Hypervisor, Mfn, MmuUpdate, MmuextOp, Operation, Pte, PteSlot, Subject, issue_operation,
};
use proptest::prelude::*;

type Small = Batch<8, 6, 40>;

proptest! {
    #[test]
    fn encode_and_decode_are_inverse(asked in prop::collection::vec(operation(), 0..12)) {
        let mut batch = Small::new();
        let mut taken = Vec::new();
        for operation in &asked {
            match batch.push(operation) {
                Ok(()) => taken.push(*operation),
                Err(_) => break,
            }
        }
        let stored = |batch: &Small| -> Vec<_> {
            (0..batch.len())
                .flat_map(|call| (0..batch.entry(call).unwrap().len).map(move |item| (call, item)))
                .map(|(call, item)| batch.operation(call, item).unwrap())
                .collect()
        };
        prop_assert_eq!(&stored(&batch), &taken);
        let mut keeper = Keeper::default();
        prop_assert_eq!(keeper.multicall(&mut batch.prepare()), Ok(()));
        prop_assert_eq!(&keeper.hypercalls[0], &taken);
        // Preparing has put addresses into the words; they read back the same all the same.
        prop_assert_eq!(&stored(&batch), &taken);
        for call in 0..batch.len() {
            prop_assert!(batch.outcome(call).unwrap().result.is_ok());
        }
    }

    #[test]
    fn a_moved_batch_is_prepared_at_its_new_place(asked in prop::collection::vec(operation(), 1..6)) {
        let mut batch = Box::new(Small::new());
        asked.iter().take_while(|operation| batch.push(operation).is_ok()).count();
        let first = Keeper::default();
        let mut keeper = first;
        keeper.multicall(&mut batch.prepare()).unwrap();
        let mut moved = *batch;
        keeper.multicall(&mut moved.prepare()).unwrap();
        prop_assert_eq!(&keeper.hypercalls[0], &keeper.hypercalls[1]);
    }

    #[test]
    fn an_operation_by_itself_reaches_the_hypervisor(operation in operation()) {
        let mut keeper = Keeper::default();
        prop_assert_eq!(issue_operation(&mut keeper, &operation), Ok(()));
        prop_assert_eq!(keeper.hypercalls, vec![vec![operation]]);
    }

    #[test]
    fn what_is_popped_is_what_was_pushed_last(first in mmuext(), second in mmuext()) {
        let mut batch = Small::new();
        let operation = |op| Operation::Mmuext { op, domain: DomId::SELF };
        batch.push(&operation(first)).unwrap();
        batch.push(&operation(second)).unwrap();
        prop_assert_eq!(batch.len(), 1);
        prop_assert_eq!(batch.pop_mmuext(), Some(second));
        prop_assert_eq!(batch.operation(0, 0), Some(operation(first)));
        prop_assert_eq!(batch.pop_mmuext(), Some(first));
        prop_assert!(batch.is_empty() && batch.pop_mmuext().is_none());
    }
}

fn update(index: usize) -> MmuUpdate {
    MmuUpdate::new(PteSlot::of(Mfn::new(1), index), Pte::from_bits(index as u64))
}

#[test]
fn the_last_slot_of_each_kind_is_usable() {
    let mut batch = Batch::<3, 2, 3>::new();
    for index in 0..3 {
        assert_eq!(batch.push_update(update(index), Subject::SELF), Ok(index));
    }
    assert_eq!(batch.push_update(update(3), Subject::SELF), Err(BatchFull::Updates));
    let flush = Operation::Mmuext { op: MmuextOp::TlbFlushAll, domain: DomId::SELF };
    assert_eq!(batch.push(&flush), Ok(()));
    assert_eq!(batch.push(&flush), Err(BatchFull::Words));
    assert_eq!(batch.push(&Operation::FpuTaskswitch { set: true }), Err(BatchFull::Calls));
    assert_eq!((batch.len(), batch.updates().len()), (2, 3));
}

#[test]
fn s53_an_array_has_one_subject() {
    let mut batch = Small::new();
    batch.push_update(update(0), Subject::SELF).unwrap();
    batch.push_update(update(1), Subject::frames_of(DomId::IO)).unwrap();
    batch.push_update(update(2), Subject::frames_of(DomId::IO)).unwrap();
    assert_eq!((batch.len(), batch.entry(1).unwrap().len), (2, 2));
    let flush = |domain| Operation::Mmuext { op: MmuextOp::TlbFlushLocal, domain };
    batch.push(&flush(DomId::SELF)).unwrap();
    batch.push(&flush(DomId::IO)).unwrap();
    assert_eq!(batch.len(), 4);
}

#[test]
fn a_refused_push_changes_nothing() {
    let mut batch = Batch::<1, 4, 4>::new();
    batch.push(&Operation::Mmuext { op: MmuextOp::TlbFlushLocal, domain: DomId::SELF }).unwrap();
    let before = format!("{batch:?}");
    let too_big =
        Operation::Mmuext { op: MmuextOp::TlbFlushMulti { vcpus: hypercall::VcpuMask::EMPTY }, domain: DomId::SELF };
    assert_eq!(batch.push(&too_big), Err(BatchFull::Words));
    assert_eq!(format!("{batch:?}"), before);
}

#[test]
fn preparing_past_the_end_prepares_nothing() {
    let mut batch = Small::new();
    batch.push_update(update(0), Subject::SELF).unwrap();
    assert!(batch.prepare().call(1).is_none());
    assert!(batch.prepare_call(0, 1).is_none() && batch.prepare_call(1, 0).is_none());
}
