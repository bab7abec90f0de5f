//! The recorder tells what passes, the fault refuses what it should and nothing else.

use crate::common::{Keeper, operation};
use hypercall::{Batch, Errno, FaultAt, Hypervisor, Operation, Record, Recorder, issue_operation};
use proptest::prelude::*;

fn batch_of(asked: &[Operation]) -> (Batch<16, 16, 200>, Vec<Operation>) {
    let mut batch = Batch::new();
    let taken = asked.iter().take_while(|operation| batch.push(operation).is_ok()).count();
    (batch, asked[..taken].to_vec())
}

/// Operation `at` refused: what reaches the hypervisor, given that an array stops there.
fn without(batch: &Batch<16, 16, 200>, at: usize) -> Vec<Operation> {
    let mut passed = Vec::new();
    let mut number = 0;
    for call in 0..batch.len() {
        let mut stopped = false;
        for item in 0..batch.entry(call).unwrap().len {
            if stopped {
                continue;
            }
            stopped = number == at;
            if !stopped {
                passed.extend(batch.operation(call, item));
            }
            number += 1;
        }
    }
    passed
}

proptest! {
    #[test]
    fn the_recorder_tells_every_operation_once(asked in prop::collection::vec(operation(), 2..10)) {
        let (mut batch, taken) = batch_of(&asked);
        let mut told = Vec::new();
        let mut recorder = Recorder::new(Keeper::default(), |record| told.push(record));
        recorder.multicall(&mut batch.prepare()).unwrap();
        issue_operation(&mut recorder, &asked[0]).unwrap();
        let operations: Vec<_> = told
            .iter()
            .filter_map(|record| match record {
                Record::Operation { operation, result: Some(Ok(())) } => Some(*operation),
                _ => None,
            })
            .collect();
        let calls = told.iter().filter(|record| matches!(record, Record::Hypercall { .. })).count();
        let mut expected = taken;
        expected.push(asked[0]);
        prop_assert_eq!((operations, calls), (expected, 2));
    }

    #[test]
    fn only_the_chosen_operation_is_refused(asked in prop::collection::vec(operation(), 1..10), at: prop::sample::Index) {
        let (mut batch, taken) = batch_of(&asked);
        let at = at.index(taken.len());
        let expected = without(&batch, at);
        let mut fault = FaultAt::new(Keeper::default(), at as u64, Errno::INVAL);
        fault.multicall(&mut batch.prepare()).unwrap();
        let passed: Vec<_> = fault.inner().hypercalls.concat();
        // Operations behind the refused one in its array do not count as passed, so later arrays
        // may be cut as well only if the number falls into them: it is past by then.
        prop_assert_eq!(passed, expected);
        let refused = (0..batch.len()).filter(|call| batch.outcome(*call).unwrap().result == Err(Errno::INVAL)).count();
        prop_assert_eq!(refused, 1);
    }
}
