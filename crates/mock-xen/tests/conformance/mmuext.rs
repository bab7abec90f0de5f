//! The other operations of `mmuext_op` (cases 86 to 103).

use hypercall::Mfn;
use hypercall::abi::HYPERCALL_MMUEXT_OP;

use crate::dom0::{
    CLEAR_PAGE, COPY_PAGE, Dom0, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH, IO, NEW_BASEPTR, NEW_USER_BASEPTR,
    OK, PIN_L1, PIN_L4, SELF, UNPIN, UNTOUCHED, at, pte,
};

const TLB_FLUSH_LOCAL: u64 = 6;
const INVLPG_LOCAL: u64 = 7;
const TLB_FLUSH_MULTI: u64 = 8;
const INVLPG_MULTI: u64 = 9;
const TLB_FLUSH_ALL: u64 = 10;
const INVLPG_ALL: u64 = 11;
const FLUSH_CACHE: u64 = 12;
const SET_LDT: u64 = 13;
const FLUSH_CACHE_GLOBAL: u64 = 18;
const NON_CANONICAL: u64 = 1 << 63;
const HOLE: u64 = 0xffff_8200_0000_0000;

#[test]
fn case_086_to_089_commands_and_frames_that_are_refused() {
    let dom0 = Dom0::new();
    let beyond = dom0.xen.layout().end().number();
    for (case, command, frame, domain, value) in [
        (86, 14, 0, SELF, ENOSYS),
        (86, 21, 0, SELF, ENOSYS),
        (87, 19, 0, SELF, EOPNOTSUPP),
        (87, 20, 0, SELF, EOPNOTSUPP),
        (88, PIN_L1, beyond, SELF, EINVAL),
        (88, UNPIN, beyond, SELF, EINVAL),
        (89, PIN_L1, dom0.a.number(), IO, EINVAL),
        (89, CLEAR_PAGE, 0xb8, IO, EINVAL),
        (89, COPY_PAGE, 0xb8, IO, EINVAL),
    ] {
        assert_eq!(dom0.mx_as(command, frame, 0, domain), value, "case {case}, command {command}");
    }
}

#[test]
fn case_090_to_094_flushes() {
    let dom0 = Dom0::new();
    dom0.put(dom0.b, 0, 1);
    let bitmap = dom0.va(dom0.b);
    for (case, command, arg1, arg2, domain, value) in [
        (90, TLB_FLUSH_LOCAL, 0, 0, IO, EPERM),
        (90, TLB_FLUSH_ALL, 0, 0, IO, EPERM),
        (90, INVLPG_LOCAL, 0, 0, IO, EPERM),
        (91, TLB_FLUSH_LOCAL, 0, 0, SELF, OK),
        (91, TLB_FLUSH_ALL, 0, 0, SELF, OK),
        (91, INVLPG_LOCAL, 0, 0, SELF, OK),
        (92, INVLPG_LOCAL, NON_CANONICAL, 0, SELF, OK),
        (92, INVLPG_ALL, NON_CANONICAL, 0, SELF, OK),
        (92, INVLPG_MULTI, NON_CANONICAL, bitmap, SELF, OK),
        (93, TLB_FLUSH_MULTI, 0, bitmap, SELF, OK),
        (93, TLB_FLUSH_MULTI, 0, 0x1000, SELF, EINVAL),
        (93, TLB_FLUSH_MULTI, 0, HOLE, SELF, EINVAL),
        (93, TLB_FLUSH_MULTI, 0, HOLE, IO, EPERM),
        (94, FLUSH_CACHE, 0, 0, SELF, OK),
        (94, FLUSH_CACHE_GLOBAL, 0, 0, SELF, OK),
    ] {
        assert_eq!(dom0.mx_as(command, arg1, arg2, domain), value, "case {case}, command {command}");
    }
}

#[test]
fn case_093_only_as_many_words_of_a_bitmap_are_read_as_there_are_vcpus() {
    let dom0 = Dom0::new();
    let [_, second] = dom0.pages;
    assert_eq!(dom0.uvm(dom0.va(second), 0, 0), OK);
    assert_eq!(dom0.mx_as(TLB_FLUSH_MULTI, 0, dom0.va(second) - 8, SELF), OK);
    assert_eq!(dom0.mx_as(TLB_FLUSH_MULTI, 0, dom0.va(second) - 4, SELF), EINVAL);
}

#[test]
fn case_095_local_descriptor_tables() {
    let dom0 = Dom0::new();
    let table = dom0.va(dom0.a);
    for (base, entries, value) in
        [(table, 8192, OK), (table, 8193, EINVAL), (table + 8, 1, EINVAL), (HOLE, 1, EINVAL), (HOLE + 1, 0, OK)]
    {
        assert_eq!(dom0.mx_as(SET_LDT, base, entries, SELF), value, "{base:#x}, {entries}");
    }
    assert_eq!(dom0.mx_as(SET_LDT, table, 1, IO), EPERM);
}

#[test]
fn case_096_to_098_base_pointers_that_change_nothing() {
    let dom0 = Dom0::new();
    let root = dom0.root();
    for (case, table, domain, value) in [
        (96, root, IO, EPERM),
        (97, root, SELF, OK),
        (98, dom0.a, SELF, EINVAL),
        (98, dom0.xen.layout().end(), SELF, EINVAL),
    ] {
        assert_eq!(dom0.mx_as(NEW_BASEPTR, table.number(), 0, domain), value, "case {case}");
        assert_eq!(dom0.root(), root, "case {case}");
    }
    dom0.audit();
}

#[test]
fn case_099_an_unpinned_table_as_base_pointer() {
    let dom0 = Dom0::new();
    let root = dom0.root();
    dom0.another_root();
    assert_eq!(dom0.mx(NEW_BASEPTR, dom0.d.number()), OK);
    assert_eq!(dom0.root(), dom0.d);
    assert_ne!(dom0.read(at(dom0.d, 256)), 0, "the machine-to-physical table shows");
    dom0.audit();
    assert_eq!(dom0.mx(NEW_BASEPTR, root.number()), OK);
    assert_eq!(dom0.writable(dom0.d), OK, "nothing holds it as a table any more");
    dom0.audit();
}

#[test]
fn case_100_user_base_pointers() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.mx(NEW_USER_BASEPTR, dom0.a.number()), EINVAL);
    assert_eq!(dom0.mx(NEW_USER_BASEPTR, 0), OK);
    dom0.another_root();
    assert_eq!(dom0.mx(NEW_USER_BASEPTR, dom0.d.number()), OK);
    assert_eq!(dom0.read(at(dom0.d, 256)), 0, "it is no kernel base pointer");
    dom0.audit();
    assert_eq!(dom0.mx(NEW_USER_BASEPTR, dom0.d.number()), OK);
    assert_eq!((dom0.mx_as(NEW_USER_BASEPTR, 0, 0, IO), dom0.writable(dom0.d)), (EPERM, crate::dom0::EBUSY));
    assert_eq!((dom0.mx(NEW_USER_BASEPTR, 0), dom0.writable(dom0.d)), (OK, OK));
    dom0.audit();
}

#[test]
fn case_101_the_live_base_pointer_keeps_its_table() {
    let dom0 = Dom0::new();
    let root = dom0.root().number();
    assert_eq!((dom0.mx(UNPIN, root), dom0.mx(UNPIN, root), dom0.mx(PIN_L4, root)), (OK, EINVAL, OK));
    dom0.audit();
}

#[test]
fn case_102_103_the_array_around_them() {
    let dom0 = Dom0::new();
    for (case, domain) in [(102, 0), (102, 9)] {
        let answer = dom0.call(dom0.extended(&[[TLB_FLUSH_LOCAL, 0, 0]], domain));
        assert_eq!((answer.value, answer.done), (ESRCH, UNTOUCHED), "case {case}");
    }
    let finished = dom0.call((HYPERCALL_MMUEXT_OP, [0, 0x8000_0000, dom0.done_va(), 0xffff_fff0, 0]));
    assert_eq!((finished.value, finished.done), (-16, UNTOUCHED), "case 103");
    let hole = dom0.call((HYPERCALL_MMUEXT_OP, [HOLE, 1, dom0.done_va(), SELF, 0]));
    assert_eq!((hole.value, hole.done), (EFAULT, UNTOUCHED));
    let second = dom0.call(dom0.extended(&[[TLB_FLUSH_LOCAL, 0, 0], [21, 0, 0], [PIN_L1, 0, 0]], SELF));
    assert_eq!((second.value, second.done), (ENOSYS, 1));
}

#[test]
fn pages_are_cleared_and_copied_where_they_may_be_written() {
    let dom0 = Dom0::new();
    dom0.put(dom0.a, 511, 7);
    assert_eq!(dom0.mx_as(COPY_PAGE, dom0.b.number(), dom0.a.number(), SELF), OK);
    assert_eq!(dom0.read(at(dom0.b, 511)), 7);
    dom0.read_only(dom0.b);
    assert_eq!(dom0.mx(CLEAR_PAGE, dom0.b.number()), OK);
    assert_eq!(dom0.read(at(dom0.b, 511)), 0);
    assert_eq!(dom0.mx(CLEAR_PAGE, dom0.root().number()), EINVAL);
    assert_eq!(dom0.mx_as(COPY_PAGE, dom0.a.number(), dom0.xen.layout().heap().number(), SELF), EINVAL);
    dom0.audit();
}

#[test]
fn xsa_167_marking_superpages_is_refused_for_any_frame() {
    let dom0 = Dom0::new();
    for frame in [dom0.a, Mfn::new(0xb8), dom0.root()] {
        assert_eq!(dom0.mx(19, frame.number()), EOPNOTSUPP);
    }
    assert_eq!(dom0.map(dom0.a, 0x63), OK);
    assert_eq!(dom0.read(dom0.slot(dom0.w)), pte(dom0.a, crate::dom0::KERNEL | 0x67));
}
