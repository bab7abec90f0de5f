//! R3, R12: which operations become one, told by what arrives.

use hypercall::{DomId, MmuextOp, Operation, Pte, PteFlags, PteSlot, VcpuId, VcpuMask, VirtAddr};
use pv_mmu::{Callback, Operations, ReadModifyWrite, Region, Status, TaskState};

use crate::{
    small::{Small, kernel, pte, slot},
    world::{invlpg, mmuext, update},
};

/// What arrives when `ask` has asked in a region.
fn arrivals(ask: impl FnOnce(&mut Region<'_, Small>)) -> Vec<Operation> {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    ask(&mut region);
    region.leave().unwrap();
    model.0.take().applied
}

fn flags(pte: Pte, more: PteFlags) -> Pte {
    pte.with_flags(pte.flags() | more)
}

#[test]
fn r3_a_write_joins_an_older_one_only_where_it_cannot_be_refused_by_itself() {
    let (read_only, writable) = (pte(1), flags(pte(1), PteFlags::RW));
    let swapped = Pte::from_bits(0x5000);
    for (older, newer, arriving) in [
        (read_only, read_only, 1),
        (read_only, flags(read_only, PteFlags::DIRTY), 1),
        (writable, writable, 1),
        (writable, read_only, 1),
        (read_only, writable, 2),
        (writable, flags(writable, PteFlags::PCD), 2),
        (flags(writable, PteFlags::PCD), writable, 2),
        (writable, flags(pte(2), PteFlags::RW), 2),
        (read_only, Pte::EMPTY, 1),
        (read_only, swapped, 1),
        (swapped, read_only, 2),
        (Pte::EMPTY, read_only, 2),
    ] {
        let arrived = arrivals(|region| [older, newer].into_iter().for_each(|pte| region.set_pte(slot(0), pte)));
        assert_eq!(arrived.len(), arriving, "{newer:?} after {older:?}");
        assert_eq!(arrived.last(), Some(&update(slot(0), newer)));
    }
}

#[test]
fn r3_a_write_does_not_join_one_that_is_not_known_to_be_of_an_l1_entry() {
    for of_unknown_height in [true, false] {
        let arrived = arrivals(|region| {
            region.set_pte(slot(1), pte(1));
            if of_unknown_height {
                region.operation(&update(slot(0), pte(1)));
            } else {
                region.set_pte(slot(0), pte(1));
            }
            region.set_pte(slot(0), Pte::EMPTY);
            // Behind it, writes join again.
            region.set_pte(slot(2), pte(2));
            region.set_pte(slot(2), Pte::EMPTY);
        });
        assert_eq!(arrived.len(), if of_unknown_height { 4 } else { 3 });
    }
}

/// What a flush reaches: (vCPU, page) pairs. The caller's vCPU is one whose number is not known to the
/// library, and page 3 stands for all the others.
fn reach(flush: &MmuextOp) -> Vec<(Option<u32>, u64)> {
    const EVERY: [u64; 3] = [1, 2, 3];
    let page = |address: &VirtAddr| vec![address.value() >> 12];
    let numbered =
        |vcpus: &VcpuMask| [0, 1].into_iter().filter(|n| vcpus.contains(VcpuId::new(*n))).map(Some).collect();
    let everybody = || vec![None, Some(0), Some(1)];
    let (vcpus, pages): (Vec<Option<u32>>, Vec<u64>) = match flush {
        MmuextOp::TlbFlushLocal => (vec![None], EVERY.into()),
        MmuextOp::TlbFlushAll => (everybody(), EVERY.into()),
        MmuextOp::TlbFlushMulti { vcpus } => (numbered(vcpus), EVERY.into()),
        MmuextOp::InvlpgLocal { address } => (vec![None], page(address)),
        MmuextOp::InvlpgAll { address } => (everybody(), page(address)),
        MmuextOp::InvlpgMulti { address, vcpus } => (numbered(vcpus), page(address)),
        other => panic!("{other:?} is no flush"),
    };
    vcpus.into_iter().flat_map(|vcpu| pages.iter().map(move |page| (vcpu, *page)).collect::<Vec<_>>()).collect()
}

fn every_flush() -> Vec<MmuextOp> {
    let addresses = [0x1000, 0x1fff, 0x2000].map(VirtAddr::unchecked);
    let masks = [&[0][..], &[1], &[0, 1]].map(|vcpus| vcpus.iter().copied().map(VcpuId::new).collect::<VcpuMask>());
    let mut flushes = vec![MmuextOp::TlbFlushLocal, MmuextOp::TlbFlushAll];
    flushes.extend(masks.map(|vcpus| MmuextOp::TlbFlushMulti { vcpus }));
    for address in addresses {
        flushes.extend([MmuextOp::InvlpgLocal { address }, MmuextOp::InvlpgAll { address }]);
        flushes.extend(masks.map(|vcpus| MmuextOp::InvlpgMulti { address, vcpus }));
    }
    flushes
}

#[test]
fn r12_of_two_flushes_side_by_side_one_is_dropped_exactly_where_the_other_reaches_all_that_it_does() {
    let includes = |wide: &MmuextOp, narrow: &MmuextOp| {
        let wide = reach(wide);
        reach(narrow).iter().all(|at| wide.contains(at))
    };
    for first in every_flush() {
        for second in every_flush() {
            let arrived = arrivals(|region| [first, second].into_iter().for_each(|op| region.mmuext(op)));
            let expected = match (includes(&first, &second), includes(&second, &first)) {
                (true, _) => vec![mmuext(first)],
                (false, true) => vec![mmuext(second)],
                (false, false) => vec![mmuext(first), mmuext(second)],
            };
            assert_eq!(arrived, expected, "{first:?}, then {second:?}");
        }
    }
}

#[test]
fn r12_a_flush_for_another_domain_is_no_reason_to_drop_ones_own() {
    let foreign = Operation::Mmuext { op: MmuextOp::TlbFlushAll, domain: DomId::IO };
    let own = mmuext(MmuextOp::TlbFlushLocal);
    for order in [[foreign, own], [own, foreign]] {
        assert_eq!(arrivals(|region| order.iter().for_each(|operation| region.operation(operation))), order);
    }
}

#[test]
fn r14_a_flush_that_a_callback_waits_for_is_not_dropped_and_any_other_is() {
    fn nothing(_: usize, _: Status) {}
    let fpu = Operation::FpuTaskswitch { set: true };
    let all = mmuext(MmuextOp::TlbFlushAll);
    let awaited = arrivals(|region| {
        region.operation_then(&mmuext(invlpg(1)), Callback::new(nothing, 0));
        region.operation(&all);
    });
    assert_eq!(awaited, [mmuext(invlpg(1)), all]);
    let behind_awaited = arrivals(|region| {
        region.operation_then(&fpu, Callback::new(nothing, 0));
        region.mmuext(invlpg(1));
        region.operation(&all);
    });
    assert_eq!(behind_awaited, [fpu, all]);
}

#[test]
fn r11_what_the_hardware_noted_and_what_is_asked_for_are_both_in_what_is_read() {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let (accessed, both) = (flags(pte(1), PteFlags::ACCESSED), flags(pte(1), PteFlags::ACCESSED_DIRTY));
    for (memory, asked, read) in [(accessed, accessed, accessed), (both, accessed, both), (pte(1), both, both)] {
        model.0.borrow_mut().entries.insert(slot(0).address(), memory.bits());
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        region.commit_pte(slot(0), asked);
        assert_eq!(region.read_pte(slot(0)), read, "{asked:?} over {memory:?}");
        region.leave().unwrap();
    }
}

#[test]
fn r10_a_change_of_a_range_sees_what_is_pending_in_it() {
    let arrived = arrivals(|region| {
        region.set_pte(slot(1), flags(pte(1), PteFlags::RW));
        region.wrprotect_range(slot(0), 3).unwrap();
    });
    assert_eq!(arrived, [update(slot(1), pte(1))]);
}

#[test]
fn entries_that_share_a_bucket_are_told_apart() {
    let elsewhere = |n| PteSlot::of(hypercall::Mfn::new(n), 0);
    let arrived = arrivals(|region| {
        (2..5).for_each(|n| region.set_pte(elsewhere(n), pte(n)));
        region.set_pte(elsewhere(2), Pte::EMPTY);
    });
    assert_eq!(arrived, [update(elsewhere(2), Pte::EMPTY), update(elsewhere(3), pte(3)), update(elsewhere(4), pte(4))]);
}
