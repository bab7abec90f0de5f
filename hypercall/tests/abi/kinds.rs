//! Hypervisors that stand before or in place of another: what they answer, to each kind of hypercall.

use hypercall::{
    Batch, DomId, Errno, FaultAt, Hypervisor, Mfn, MmuUpdate, MmuextOp, Null, Operation, Outcome, Pte, PteSlot,
    Subject, VirtAddr, issue_operation,
};

fn update(index: usize) -> Operation {
    Operation::Update { update: MmuUpdate::new(PteSlot::of(Mfn::new(7), index), Pte::EMPTY), subject: Subject::SELF }
}

fn flush() -> Operation {
    Operation::Mmuext { op: MmuextOp::TlbFlushLocal, domain: DomId::SELF }
}

/// Two updates, which are one call, and a flush.
fn batch() -> Batch<4, 4, 20> {
    let mut batch = Batch::default();
    [update(0), update(1), flush()].iter().for_each(|operation| batch.push(operation).expect("there is room"));
    batch
}

#[test]
fn null_does_nothing_and_counts_all() {
    let mut null = Null::new();
    assert_eq!(null.mmu_update(&[], Subject::SELF), Outcome::all(0));
    assert_eq!(issue_operation(&mut null, &flush()), Ok(()));
    let mut batch = batch();
    assert_eq!(null.multicall(&mut batch.prepare()), Ok(()));
    assert_eq!((null.hypercalls(), null.operations()), (3, 4));
}

/// What the two calls of the batch come to where operation `at` is refused.
fn refused(at: u64) -> [Outcome; 2] {
    let (mut xen, mut batch) = (FaultAt::new(Null::new(), at, Errno::BUSY), batch());
    let mut calls = batch.prepare();
    assert_eq!(xen.multicall(&mut calls), Ok(()));
    [0, 1].map(|call| calls.outcome(call).expect("there are two"))
}

#[test]
fn a_fault_in_a_multicall_ends_its_own_call_only() {
    assert_eq!(refused(0), [Outcome::refused(0, Errno::BUSY), Outcome::all(1)]);
    assert_eq!(refused(1), [Outcome::refused(1, Errno::BUSY), Outcome::all(1)]);
    assert_eq!(refused(2), [Outcome::all(2), Outcome::refused(0, Errno::BUSY)]);
    assert_eq!(refused(3), [Outcome::all(2), Outcome::all(1)], "none is left that it could refuse");
}

#[test]
fn a_fault_is_in_a_call_of_its_own_too() {
    let mut xen = FaultAt::new(Null::new(), 1, Errno::INVAL);
    assert_eq!([0, 1, 2].map(|_| issue_operation(&mut xen, &flush())), [Ok(()), Err(Errno::INVAL), Ok(())]);
    assert_eq!(xen.inner().hypercalls(), 2, "what is refused does not reach the other");
}

#[test]
fn an_operation_is_said_with_whose_it_is() {
    let stack = Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0x1000) };
    let foreign = Operation::Mmuext { op: MmuextOp::TlbFlushLocal, domain: DomId::new(3) };
    let said = [update(1), flush(), foreign, stack].map(|operation| operation.to_string());
    assert_eq!(said[..2], ["slot 0x7[1] := 0x0", "TlbFlushLocal"]);
    assert!(said[2].starts_with("TlbFlushLocal of ") && said[3].starts_with("StackSwitch"), "{said:?}");
}
