//! `multicall` (cases 141 to 146) and numbers Xen does not know (case 154).

use hypercall::abi::{HYPERCALL_FPU_TASKSWITCH, HYPERCALL_MULTICALL, HYPERCALL_XEN_VERSION};

use crate::dom0::{CPU, Dom0, EFAULT, ENOSYS, OK, UNTOUCHED};

const HOLE: u64 = 0xffff_8200_0000_0000;
const TASKSWITCH: crate::dom0::Call = (HYPERCALL_FPU_TASKSWITCH, [1, 0, 0, 0, 0]);

#[test]
fn case_141_142_lists_that_are_empty_or_cannot_be_read() {
    let dom0 = Dom0::new();
    let list = dom0.va(dom0.pages[0]);
    for (case, list, count, value) in
        [(141, list, 0, OK), (141, 0x1000, 0, OK), (142, HOLE, 1, EFAULT), (142, 0x1000, 1, EFAULT)]
    {
        assert_eq!(dom0.call((HYPERCALL_MULTICALL, [list, count, 0, 0, 0])).value, value, "case {case}");
    }
}

#[test]
fn case_143_refused_calls_do_not_stop_the_list() {
    let dom0 = Dom0::new();
    let none = [0; 5];
    let calls = [(1000, none), (HYPERCALL_MULTICALL, none), (HYPERCALL_XEN_VERSION, none), (11, none)];
    assert_eq!(dom0.multicall(&calls).value, OK);
    let results: Vec<_> = (0..4).map(|index| dom0.entry(8 * index).0).collect();
    assert_eq!(results, [-38, -22, 0x4_0011, -38]);
    assert_eq!(dom0.entry(0).1, [0, 0, 0, 0, 0, UNTOUCHED], "only the result is written");
}

#[test]
fn case_144_a_result_that_cannot_be_stored_ends_the_list_after_its_call() {
    let dom0 = Dom0::new();
    let [list, _] = dom0.pages;
    for first in [0, 8] {
        dom0.put_entry(first, TASKSWITCH);
    }
    dom0.read_only(list);
    let answer = dom0.call((HYPERCALL_MULTICALL, [dom0.va(list), 2, 0, 0, 0]));
    assert_eq!(answer.value, EFAULT);
    assert!(dom0.xen.processor(CPU).task_switched, "the first call was done");
    assert_eq!(dom0.entry(0).0, UNTOUCHED as i64);
}

#[test]
fn case_145_the_count_has_32_bits() {
    let dom0 = Dom0::new();
    for first in [0, 8] {
        dom0.put_entry(first, TASKSWITCH);
    }
    let answer = dom0.call((HYPERCALL_MULTICALL, [dom0.va(dom0.pages[0]), 0x1_0000_0001, 0, 0, 0]));
    assert_eq!((answer.value, dom0.entry(0).0, dom0.entry(8).0), (OK, 0, UNTOUCHED as i64));
}

#[test]
fn case_146_a_list_that_runs_into_an_unmapped_page() {
    let dom0 = Dom0::new();
    let [_, second] = dom0.pages;
    dom0.put_entry(504, TASKSWITCH);
    assert_eq!(dom0.uvm(dom0.va(second), 0, 0), OK);
    let answer = dom0.call((HYPERCALL_MULTICALL, [dom0.va(second) - 64, 2, 0, 0, 0]));
    assert_eq!((answer.value, dom0.entry(504).0), (EFAULT, 0));
}

#[test]
fn case_154_numbers_xen_does_not_know() {
    let dom0 = Dom0::new();
    for number in [11, 38, 9999] {
        assert_eq!(dom0.call((number, [0; 5])).value, ENOSYS, "{number}");
    }
    assert_eq!(dom0.not_modelled(), []);
}
