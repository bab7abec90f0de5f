//! Calls whose arguments are registers: descriptors (case 162) and processor state.

use hypercall::abi::{
    HYPERCALL_FPU_TASKSWITCH, HYPERCALL_SET_GDT, HYPERCALL_SET_SEGMENT_BASE, HYPERCALL_STACK_SWITCH,
    HYPERCALL_UPDATE_DESCRIPTOR,
};
use hypercall::{SegmentBase, VirtAddr};

use crate::dom0::{CPU, Dom0, EFAULT, EINVAL, OK, PIN_L1, at};

const KERNEL_CODE: u64 = 0x00af_9b00_0000_ffff;
const AT_LEVEL_3: u64 = KERNEL_CODE | 3 << 45;
const TASK_STATE: u64 = 0x0000_8900_0000_0067;

#[test]
fn case_162_tables_that_cannot_be_loaded() {
    let dom0 = Dom0::new();
    let list = dom0.va(dom0.b);
    for (list, entries, value) in [(list, 7169, EINVAL), (0x1000, 1, EFAULT), (0x1000, 0, OK), (list, 1, EINVAL)] {
        assert_eq!(dom0.call((HYPERCALL_SET_GDT, [list, entries, 0, 0, 0])).value, value, "{list:#x}, {entries}");
    }
    dom0.put(dom0.b, 0, dom0.c.number());
    assert_eq!(dom0.call((HYPERCALL_SET_GDT, [list, 1, 0, 0, 0])).value, EINVAL, "it is mapped writable");
    dom0.audit();
}

/// C holds a descriptor and is the first page of the table loaded.
fn with_table() -> Dom0 {
    let dom0 = Dom0::new();
    dom0.put(dom0.c, 2, KERNEL_CODE);
    dom0.read_only(dom0.c);
    dom0.put(dom0.b, 0, dom0.c.number());
    assert_eq!(dom0.call((HYPERCALL_SET_GDT, [dom0.va(dom0.b), 16, 0, 0, 0])).value, OK);
    dom0
}

#[test]
fn a_loaded_table_holds_its_frames() {
    let dom0 = with_table();
    assert_eq!(dom0.xen.processor(CPU).gdt, (vec![dom0.c], 16));
    assert_eq!(dom0.read(at(dom0.c, 2)), AT_LEVEL_3);
    assert_eq!(dom0.mx(PIN_L1, dom0.c.number()), EINVAL);
    dom0.audit();
    assert_eq!(dom0.call((HYPERCALL_SET_GDT, [0x1000, 0, 0, 0, 0])).value, OK);
    assert_eq!(dom0.writable(dom0.c), OK);
    dom0.audit();
}

#[test]
fn a_refused_descriptor_keeps_a_page_from_being_loaded() {
    let dom0 = with_table();
    for (index, descriptor) in [(0, KERNEL_CODE), (1, TASK_STATE)] {
        dom0.put(dom0.d, index, descriptor);
    }
    dom0.read_only(dom0.d);
    dom0.put(dom0.b, 1, dom0.d.number());
    assert_eq!(dom0.call((HYPERCALL_SET_GDT, [dom0.va(dom0.b), 513, 0, 0, 0])).value, EINVAL);
    assert_eq!(dom0.xen.processor(CPU).gdt, (vec![dom0.c], 16), "the old table stays");
    assert_eq!((dom0.read(at(dom0.d, 0)), dom0.read(at(dom0.d, 1))), (AT_LEVEL_3, TASK_STATE));
    assert_eq!(dom0.writable(dom0.d), OK);
    dom0.audit();
}

#[test]
fn descriptors_are_written_into_their_pages_and_into_plain_ones() {
    let dom0 = with_table();
    for page in [dom0.c, dom0.d] {
        let write =
            |address, descriptor| dom0.call((HYPERCALL_UPDATE_DESCRIPTOR, [address, descriptor, 0, 0, 0])).value;
        assert_eq!(write(at(page, 5), KERNEL_CODE), OK);
        assert_eq!(dom0.read(at(page, 5)), AT_LEVEL_3);
        assert_eq!(write(at(page, 5), TASK_STATE), EINVAL);
        assert_eq!(write(at(page, 5) + 4, 0), EINVAL);
        assert_eq!(write(dom0.p(5), 0), EINVAL, "a page table");
        assert_eq!(dom0.read(at(page, 5)), AT_LEVEL_3);
    }
    dom0.audit();
}

#[test]
fn processor_state_is_what_was_asked_for() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.call((HYPERCALL_STACK_SWITCH, [0xe02b, 0x1234_5678, 0, 0, 0])).value, OK);
    assert_eq!(dom0.call((HYPERCALL_FPU_TASKSWITCH, [1, 0, 0, 0, 0])).value, OK);
    for (which, base, value) in [(0, 0x7000, OK), (1, 1 << 63, EINVAL), (2, !0, OK), (3, 0x2b, OK), (4, 0, EINVAL)] {
        assert_eq!(dom0.call((HYPERCALL_SET_SEGMENT_BASE, [which, base, 0, 0, 0])).value, value, "base {which}");
    }
    let state = dom0.xen.processor(CPU);
    assert_eq!(state.kernel_stack, (0xe02b, VirtAddr::unchecked(0x1234_5678)));
    assert!(state.task_switched);
    assert_eq!(state.segment_bases, [0x7000, 0, !0, 0x2b]);
    assert_eq!(state.segment_bases[SegmentBase::GsKernel as usize], !0);
}
