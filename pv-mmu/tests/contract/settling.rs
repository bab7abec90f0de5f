//! R3, R14: what becomes of the operations behind a refused one.

use hypercall::{Errno, Level, Mfn, MmuextOp, Pte};
use pv_mmu::{Callback, Operations, Region, Status, TaskState};

#[cfg(feature = "caller-location")]
use crate::{kernel::Kernel, model::Model};
use crate::{
    small::{Small, held, kernel, poison, pte, slot},
    world::{invlpg, mmuext, update},
};

const REFUSED: u64 = 9;

/// The entries, of the first `N`, that hold anything once `ask` has asked in a region in which a mapping
/// of frame [`REFUSED`] is refused; `before` has asked in a region before it.
fn effective<const N: usize>(
    before: impl FnOnce(&mut Region<'_, Small>),
    ask: impl FnOnce(&Small, &mut Region<'_, Small>),
) -> Vec<usize> {
    let (model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    poison(&model, pte(REFUSED));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    before(&mut region);
    region.flush();
    ask(&kernel, &mut region);
    let _told = region.leave();
    (0..N).filter(|n| held(&model, *n) != 0).collect()
}

fn nothing(_: &mut Region<'_, Small>) {}

/// A refused write, and one behind it.
fn refused_and(region: &mut Region<'_, Small>, n: usize) {
    region.set_pte(slot(0), pte(REFUSED));
    region.set_pte(slot(n), pte(1));
}

#[test]
fn r3_what_waited_behind_a_refusal_is_not_brought_behind_an_upper_entry() {
    let late = effective::<4>(nothing, |_, region| {
        refused_and(region, 1);
        region.mmuext(invlpg(1));
        region.set_upper(slot(2), pte(2));
    });
    assert_eq!(late, [2]);
    // The upper entry and the refusal in one array.
    let late = effective::<4>(nothing, |_, region| {
        region.set_upper(slot(2), pte(2));
        refused_and(region, 1);
        region.mmuext(invlpg(1));
    });
    assert_eq!(late, [2]);
    // A handler's write joins the array of the upper entry.
    let late = effective::<4>(nothing, |kernel, region| {
        refused_and(region, 1);
        region.mmuext(invlpg(1));
        region.set_upper(slot(2), pte(2));
        kernel.mmu().interrupt(kernel.interrupt()).set_pte(slot(3), pte(3)).unwrap();
    });
    assert_eq!(late, [2, 3]);
}

#[test]
fn r3_what_waited_behind_a_refusal_comes_behind_writes_of_other_l1_entries() {
    let late = effective::<4>(nothing, |_, region| {
        refused_and(region, 1);
        region.mmuext(invlpg(1));
        region.set_pte(slot(2), pte(2));
    });
    assert_eq!(late, [1, 2]);
    // A handler's write, in an array of its own and in one that is there.
    for joins in [false, true] {
        let late = effective::<4>(nothing, |kernel, region| {
            refused_and(region, 1);
            region.mmuext(invlpg(1));
            if joins {
                region.set_pte(slot(2), pte(2));
            }
            kernel.mmu().interrupt(kernel.interrupt()).set_pte(slot(3), pte(3)).unwrap();
        });
        assert_eq!(late.len(), if joins { 3 } else { 2 }, "{late:?}");
    }
}

#[test]
fn r3_that_a_call_of_an_earlier_batch_was_of_an_upper_entry_says_nothing_of_this_one() {
    let upper_first = |region: &mut Region<'_, Small>| region.set_upper(slot(5), Pte::EMPTY);
    let upper_third = |region: &mut Region<'_, Small>| {
        region.set_pte(slot(4), Pte::EMPTY);
        region.mmuext(invlpg(1));
        region.set_upper(slot(5), Pte::EMPTY);
    };
    let late = effective::<4>(upper_first, |_, region| {
        refused_and(region, 1);
        region.mmuext(invlpg(1));
    });
    assert_eq!(late, [1]);
    let late = effective::<4>(upper_first, |_, region| {
        region.set_ptes(slot(0), 2, |n| if n == 0 { pte(REFUSED) } else { pte(1) }).unwrap();
        region.mmuext(invlpg(1));
    });
    assert_eq!(late, [1], "a range over an empty queue");
    let late = effective::<4>(upper_third, |kernel, region| {
        refused_and(region, 1);
        region.mmuext(invlpg(1));
        kernel.mmu().interrupt(kernel.interrupt()).set_pte(slot(3), pte(3)).unwrap();
    });
    assert_eq!(late, [1, 3]);
    let late = effective::<4>(upper_third, |_, region| {
        refused_and(region, 1);
        region.mmuext(invlpg(1));
        region.set_pte(slot(3), pte(3));
    });
    assert_eq!(late, [1, 3]);
}

#[test]
fn r14_where_nothing_behind_it_has_run_the_rest_is_attempted_in_its_place() {
    let in_order = effective::<4>(nothing, |_, region| {
        region.set_upper(slot(0), pte(REFUSED));
        region.set_pte(slot(1), pte(1));
    });
    assert_eq!(in_order, [1]);
    let in_order = effective::<5>(nothing, |_, region| {
        region.set_pte(slot(0), pte(REFUSED));
        region.set_pte(slot(1), pte(REFUSED));
        region.set_pte(slot(2), pte(2));
        region.set_pte(slot(3), pte(REFUSED));
        region.set_pte(slot(4), pte(4));
    });
    assert_eq!(in_order, [2, 4], "past every refusal");
}

#[test]
fn r3_only_what_is_left_has_to_be_newer_than_what_has_run() {
    let late = effective::<4>(
        |_| (),
        |_, region| {
            region.set_pte(slot(2), pte(2));
            refused_and(region, 1);
            region.mmuext(invlpg(1));
            region.set_pte(slot(2), pte(3));
        },
    );
    assert_eq!(late, [1, 2]);
    // And where it stands in the second array of the batch.
    let late = effective::<4>(nothing, |_, region| {
        region.set_pte(slot(3), pte(3));
        region.mmuext(invlpg(1));
        region.set_pte(slot(2), pte(2));
        refused_and(region, 1);
        region.mmuext(invlpg(2));
        region.set_pte(slot(1), pte(4));
    });
    assert_eq!(late, [1, 2, 3]);
}

#[test]
fn r14_under_the_stop_policy_a_refused_multicall_stops_at_its_first_refusal() {
    let (model, kernel) = kernel::<true>();
    let mut task = TaskState::new();
    poison(&model, pte(REFUSED));
    model.0.borrow_mut().no_multicall = true;
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(REFUSED));
    region.mmuext(MmuextOp::TlbFlushAll);
    region.set_pte(slot(1), pte(1));
    let failures = region.leave().unwrap_err();
    let named: Vec<_> = failures.iter().map(|failure| (*failure.operation(), failure.errno())).collect();
    let left = [mmuext(MmuextOp::TlbFlushAll), update(slot(1), pte(1))].map(|operation| (operation, None));
    assert_eq!(named, [(update(slot(0), pte(REFUSED)), Some(Errno::BUSY)), left[0], left[1]]);
    assert!(model.0.borrow().applied.is_empty());
}

#[test]
fn r14_a_refusal_is_named_even_where_the_hypervisor_counts_it_as_done() {
    for no_multicall in [false, true] {
        let (model, kernel) = kernel::<false>();
        let mut task = TaskState::new();
        poison(&model, pte(REFUSED));
        (model.0.borrow_mut().overstates, model.0.borrow_mut().no_multicall) = (true, no_multicall);
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        region.set_pte(slot(0), pte(1));
        region.set_pte(slot(1), pte(REFUSED));
        if no_multicall {
            region.mmuext(invlpg(1));
        }
        let failures = region.leave().unwrap_err();
        let named: Vec<_> = failures.iter().map(|failure| *failure.operation()).collect();
        assert_eq!(named, [update(slot(1), pte(REFUSED))]);
    }
}

#[test]
fn r14_a_refusal_among_operations_of_one_call_is_that_operations() {
    for at in 0..4 {
        let (model, kernel) = kernel::<false>();
        let mut task = TaskState::new();
        let pins = [0, 1, 2, 3].map(|n| mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(n) }));
        model.0.borrow_mut().refused = Some(pins[at]);
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        pins.iter().for_each(|pin| region.operation(pin));
        let failures = region.leave().unwrap_err();
        let named: Vec<_> = failures.iter().map(|failure| (*failure.operation(), failure.errno())).collect();
        assert_eq!(named, [(pins[at], Some(Errno::INVAL))]);
        assert_eq!(model.0.borrow().applied.len(), 3);
    }
}

#[test]
fn a_callback_beyond_the_room_for_them_is_not_lost() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    fn ran(_: usize, _: Status) {
        RUNS.fetch_add(1, Ordering::Relaxed);
    }
    let (_model, kernel) = kernel::<false>();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    // The queue has room for 21 of these, and for 16 callbacks.
    for n in 0..40 {
        let pin = mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(n) });
        region.operation_then(&pin, Callback::new(ran, 0));
    }
    region.leave().unwrap();
    assert_eq!(RUNS.load(Ordering::Relaxed), 40);
}

#[cfg(feature = "caller-location")]
#[test]
fn r14_the_last_operation_that_there_is_room_for_names_its_line_too() {
    let model = Model::default();
    let kernel = Kernel::<Model, Model, 8, 32, 20>::new(model.clone(), [model.clone()]);
    let mut task = TaskState::new();
    // 3 words for each pin, 4 for each switch of the FPU: the last pin takes the last 3 of 20.
    let pin = |n| mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(n) });
    model.0.borrow_mut().refused = Some(pin(9));
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    (0..3).for_each(|n| region.operation(&pin(n)));
    (0..2).for_each(|_| region.operation(&hypercall::Operation::FpuTaskswitch { set: true }));
    region.operation(&pin(9));
    let line = line!() - 1;
    let failures = region.leave().unwrap_err();
    assert_eq!(kernel.mmu().stats().largest_batch, 6);
    assert_eq!(failures.iter().next().and_then(|failure| failure.caller()).map(|caller| caller.line()), Some(line));
}

#[cfg(feature = "caller-location")]
#[test]
fn r14_an_upper_entry_names_its_line_wherever_it_stands_in_its_array() {
    for before in 0..3 {
        let (model, kernel) = kernel::<false>();
        let mut task = TaskState::new();
        poison(&model, pte(REFUSED));
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        (0..before).for_each(|n| region.set_upper(slot(n), pte(1)));
        region.set_upper(slot(7), pte(REFUSED));
        let line = line!() - 1;
        let failures = region.leave().unwrap_err();
        assert_eq!(failures.iter().next().and_then(|failure| failure.caller()).map(|caller| caller.line()), Some(line));
    }
}
