//! The array and its done count (cases 1 to 20).

use crate::dom0::{Answer, Dom0, EFAULT, EINVAL, ENOSYS, ESRCH, OK, SELF, UNTOUCHED, at, pte, root_in_linear_map};
use hypercall::PAGE_SIZE;
use hypercall::abi::HYPERCALL_MMU_UPDATE;

const HOLE: u64 = 0xffff_8200_0000_0000;
const NON_CANONICAL: u64 = 0x0000_9000_0000_0000;
const CONTINUED: u64 = 0x8000_0000;

#[test]
fn case_001_to_006_subjects() {
    let dom0 = Dom0::new();
    for (case, count, subject, value, done) in [
        (1, 0, SELF, OK, 0),
        (2, 0, 0, ESRCH, 0),
        (3, 0, 5, ESRCH, 0),
        (4, 0, 6 << 16 | SELF, ESRCH, UNTOUCHED),
        (5, 0, 1 << 16 | SELF, OK, 0),
        (6, 0, 0x7ff1 << 16 | SELF, ESRCH, UNTOUCHED),
        (6, 0, 0x7ff2 << 16 | SELF, ESRCH, UNTOUCHED),
    ] {
        let answer = dom0.call((HYPERCALL_MMU_UPDATE, [dom0.va(dom0.a), count, dom0.done_va(), subject, 0]));
        assert_eq!((answer.value, answer.done & 0xffff_ffff), (value, done), "case {case}");
    }
}

#[test]
fn case_007_to_009_arrays_that_cannot_be_read() {
    let dom0 = Dom0::new();
    for (case, array, done) in [(7, HOLE, UNTOUCHED), (8, NON_CANONICAL, UNTOUCHED), (9, 0x1000, 0)] {
        let answer = dom0.call((HYPERCALL_MMU_UPDATE, [array, 1, dom0.done_va(), SELF, 0]));
        assert_eq!((answer.value, answer.done & 0xffff_ffff), (EFAULT, done), "case {case}");
    }
}

#[test]
fn case_010_an_array_that_runs_into_an_unmapped_page() {
    let dom0 = Dom0::new();
    let [first, second] = dom0.pages;
    for (place, value) in [(0, 0x70), (1, 0x72)] {
        dom0.put(first, 508 + 2 * place, at(dom0.a, place));
        dom0.put(first, 509 + 2 * place, value);
    }
    assert_eq!(dom0.uvm(dom0.va(second), 0, 0), OK);
    let array = dom0.va(second) - 32;
    let answer = dom0.call((HYPERCALL_MMU_UPDATE, [array, 3, dom0.done_va(), SELF, 0]));
    assert_eq!((answer.value, answer.done & 0xffff_ffff), (EFAULT, 2));
    assert_eq!((dom0.read(at(dom0.a, 0)), dom0.read(at(dom0.a, 1))), (0x70, 0x72));
}

#[test]
fn case_010_an_unaligned_array_is_read_across_a_page_border() {
    let dom0 = Dom0::new();
    let [first, second] = dom0.pages;
    let bytes: Vec<u8> = [at(dom0.a, 3), 0x1234_5678_9abc_def0].into_iter().flat_map(u64::to_le_bytes).collect();
    for (offset, byte) in (PAGE_SIZE as usize - 5..).zip(bytes) {
        let (page, index) = if offset < 4096 { (first, offset / 8) } else { (second, (offset - 4096) / 8) };
        let word = dom0.read(at(page, index));
        dom0.put(page, index, word | u64::from(byte) << (8 * (offset % 8)));
    }
    let answer = dom0.call((HYPERCALL_MMU_UPDATE, [dom0.va(second) - 5, 1, dom0.done_va() + 6, SELF, 0]));
    assert_eq!(answer.value, OK);
    assert_eq!(dom0.read(at(dom0.a, 3)), 0x1234_5678_9abc_def0);
    assert_eq!(answer.done, UNTOUCHED | 1 << 48, "the done count is stored at its odd address");
}

#[test]
fn case_011_012_a_finished_continuation_returns_its_fourth_argument() {
    let dom0 = Dom0::new();
    for (case, subject, value) in [(11, 0x1234, 0x1234), (12, 0xffff_ffea, -22)] {
        let answer = dom0.call((HYPERCALL_MMU_UPDATE, [0, CONTINUED, dom0.done_va(), subject, 0]));
        assert_eq!((answer.value, answer.done), (value, UNTOUCHED), "case {case}");
    }
}

#[test]
fn case_013_the_done_count_of_a_continuation_goes_on() {
    let dom0 = Dom0::new();
    let (number, mut args) = dom0.updates(&[[at(dom0.a, 0), 1], [at(dom0.a, 1), 2]], SELF);
    args[1] |= CONTINUED;
    dom0.set_done(5);
    assert_eq!(dom0.call_again((number, args)).done, 7);
}

#[test]
fn case_014_a_done_count_that_cannot_be_stored_is_ignored() {
    let dom0 = Dom0::new();
    let (number, mut args) = dom0.updates(&[[at(dom0.a, 0), 1]], SELF);
    for done_at in [HOLE, 0, 0x1000] {
        args[2] = done_at;
        assert_eq!(dom0.call((number, args)).value, OK, "{done_at:#x}");
    }
}

/// Xen's own entries let the processor reach every page table; a guest's pointer must not.
#[test]
fn case_014_a_done_count_in_the_linear_map_of_the_tables_is_ignored() {
    let dom0 = Dom0::new();
    let (number, mut args) = dom0.updates(&[[at(dom0.a, 0), 1]], SELF);
    args[2] = root_in_linear_map();
    assert_eq!((dom0.call((number, args)).value, dom0.read(dom0.p(0))), (OK, 0));
    dom0.audit();
}

#[test]
fn case_014_a_done_count_below_a_read_only_entry_is_not_stored() {
    for (flags, stored) in [(0x65, 0), (0x67, 1)] {
        let dom0 = Dom0::new();
        let (entry, va) = dom0.free_l2();
        dom0.put(dom0.a, 0, pte(dom0.b, 0x63));
        dom0.read_only(dom0.a);
        assert_eq!(dom0.set(entry, pte(dom0.a, flags)), OK);
        let (number, mut args) = dom0.updates(&[[at(dom0.c, 0), 1]], SELF);
        args[2] = va;
        assert_eq!((dom0.call((number, args)).value, dom0.read(at(dom0.b, 0))), (OK, stored), "{flags:#x}");
    }
}

#[test]
fn case_015_arguments_stay_where_nothing_is_continued() {
    let dom0 = Dom0::new();
    let call = dom0.updates(&[[at(dom0.a, 0), 1], [at(dom0.a, 1), 2]], SELF);
    assert_eq!(dom0.call(call), Answer { value: OK, done: 2, args: call.1 });
}

#[test]
fn case_016_to_019_unknown_commands() {
    for (case, command) in [(16, 4), (17, 5), (18, 6), (19, 7)] {
        let dom0 = Dom0::new();
        let answer = dom0.mu(&[[at(dom0.a, 0), 1], [at(dom0.a, 1) | command, 2]]);
        assert_eq!((answer.value, answer.done), (ENOSYS, 1), "case {case}");
        assert_eq!((dom0.read(at(dom0.a, 0)), dom0.read(at(dom0.a, 1))), (1, 0), "case {case}");
    }
}

#[test]
fn case_020_the_first_refusal_ends_the_array() {
    let dom0 = Dom0::new();
    let refused = [dom0.slot(dom0.w), pte(dom0.root(), 0x63)];
    let answer = dom0.mu(&[[at(dom0.a, 0), 1], refused, [at(dom0.a, 1), 2]]);
    assert_eq!((answer.value, answer.done), (crate::dom0::EBUSY, 1));
    assert_eq!((dom0.read(at(dom0.a, 0)), dom0.read(at(dom0.a, 1))), (1, 0));
    let foreign = dom0.mu(&[[at(dom0.xen.layout().heap(), 0), 1]]);
    assert_eq!((foreign.value, foreign.done), (EINVAL, 0));
}
