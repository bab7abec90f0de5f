//! Entries of levels 2 to 4 (cases 104, 105, 111 to 115, 120 to 134).

use crate::dom0::{Dom0, EBUSY, EINVAL, IO, KERNEL, NEW_BASEPTR, OK, PIN_L4, SELF, UNPIN, at, pte};

const CONTINUED: u64 = 0x8000_0000;

#[test]
fn case_104_105_xens_own_entries_and_others() {
    let dom0 = Dom0::new();
    for index in [256, 271] {
        assert_eq!(dom0.set(dom0.p(index), 0), EINVAL, "case 104, entry {index}");
    }
    for index in [272, 300] {
        assert_eq!(dom0.set(dom0.p(index), 0), OK, "case 105, entry {index}");
    }
}

#[test]
fn case_111_to_114_entries_that_are_refused() {
    let dom0 = Dom0::new();
    dom0.read_only(dom0.a);
    for (case, flags) in [(111, 0x6f), (112, 0x77), (113, 0xe7), (114, 0x167)] {
        assert_eq!(dom0.set(dom0.p(300), pte(dom0.a, flags)), EINVAL, "case {case}");
    }
    assert_eq!(dom0.read(dom0.p(300)), 0);
    dom0.audit();
}

#[test]
fn case_115_xens_entries_overwrite_what_a_new_l4_holds() {
    let dom0 = Dom0::new();
    dom0.put(dom0.d, 0, dom0.read(dom0.p(0)));
    dom0.put(dom0.d, 273, dom0.read(dom0.p(273)));
    for index in 256..272 {
        dom0.put(dom0.d, index, 0xbad0_0001);
    }
    dom0.read_only(dom0.d);
    assert_eq!(dom0.mx(PIN_L4, dom0.d.number()), OK);
    for index in 256..272 {
        assert_ne!(dom0.read(at(dom0.d, index)), 0xbad0_0001, "entry {index}");
    }
    assert_eq!(dom0.read(at(dom0.d, 256)), 0, "only a kernel base pointer shows the machine-to-physical table");
    assert_eq!(dom0.read(at(dom0.d, 258)), pte(dom0.d, 1 << 63 | 0x63));
    dom0.audit();
    assert_eq!((dom0.mx(UNPIN, dom0.d.number()), dom0.writable(dom0.d)), (OK, OK));
    dom0.audit();
}

#[test]
fn case_120_to_122_a_table_below_the_root() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.a, 0x67)), EINVAL, "case 120");
    dom0.read_only(dom0.a);
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.a, 0x03)), OK, "case 121");
    assert_eq!(dom0.read(dom0.p(300)), pte(dom0.a, 0x27), "case 121");
    assert_eq!(dom0.set_as(dom0.p(300), pte(dom0.a, 0x67), IO), EINVAL, "case 122");
    dom0.audit();
}

/// Case 121's setup: A is an L3 in entry 300 of the root.
fn with_table_at_300() -> Dom0 {
    let dom0 = Dom0::new();
    dom0.read_only(dom0.a);
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.a, 0x03)), OK);
    dom0
}

#[test]
fn case_123_a_removal_in_the_middle_continues_with_what_is_left() {
    let dom0 = with_table_at_300();
    let call = dom0.updates(&[[dom0.p(300), 0], [dom0.slot(dom0.w), pte(dom0.b, 0x63)]], SELF);
    let answer = dom0.call(call);
    assert_eq!((answer.value, answer.done), (OK, 2));
    assert_eq!(answer.args, [call.1[0] + 16, CONTINUED | 1, call.1[2], SELF, 0]);
    assert_eq!(dom0.read(dom0.slot(dom0.w)), pte(dom0.b, KERNEL | 0x67));
    dom0.audit();
}

#[test]
fn case_124_a_removal_at_the_end_continues_with_nothing_left() {
    let dom0 = with_table_at_300();
    let answer = dom0.mu(&[[dom0.p(300), 0]]);
    assert_eq!((answer.value, answer.done, answer.args), (OK, 1, [0, CONTINUED, 0, 0, 0]));
    dom0.audit();
}

#[test]
fn case_123_a_refusal_behind_a_removal_counts_from_the_start() {
    let dom0 = with_table_at_300();
    let answer = dom0.mu(&[[dom0.p(300), 0], [dom0.slot(dom0.w), pte(dom0.root(), 0x63)], [at(dom0.b, 0), 1]]);
    assert_eq!((answer.value, answer.done), (EBUSY, 1));
    assert_eq!((answer.args[1], dom0.read(at(dom0.b, 0))), (CONTINUED | 2, 0));
}

#[test]
fn case_125_126_a_removal_inside_a_multicall_leaves_its_arguments_changed() {
    let dom0 = with_table_at_300();
    let before = (hypercall::abi::HYPERCALL_FPU_TASKSWITCH, [0; 5]);
    let removal = dom0.updates(&[[dom0.p(300), 0]], SELF);
    let answer = dom0.multicall(&[before, removal, before]);
    assert_eq!(answer.value, OK);
    assert_eq!(answer.args[..2], [dom0.va(dom0.pages[0]) + 64, 2], "the multicall itself was continued at the entry");
    let (result, args) = dom0.entry(8);
    assert_eq!((result, &args[..5]), (0, &[0, CONTINUED, 0, 0, 0][..]), "case 125");
    assert_eq!(args[5], crate::dom0::UNTOUCHED);
    assert_eq!(dom0.entry(16).0, 0);
    assert_eq!(dom0.writable(dom0.a), OK, "case 126");
    dom0.audit();
}

#[test]
fn case_127_to_133_an_entry_of_an_l2() {
    let dom0 = Dom0::new();
    let (entry, va) = dom0.free_l2();
    assert_eq!(dom0.set(entry, pte(dom0.a, 0x67)), EINVAL, "case 127");
    dom0.read_only(dom0.a);
    assert_eq!((dom0.set(entry, pte(dom0.a, 0x01)), dom0.read(entry)), (OK, pte(dom0.a, 0x05)), "case 128");
    assert_eq!(dom0.writable(dom0.a), EBUSY, "case 128");
    let fast = dom0.mu(&[[entry, pte(dom0.a, 0xe21)]]);
    assert_eq!((fast.value, fast.args[1], dom0.read(entry)), (OK, 1, pte(dom0.a, 0xe25)), "case 129");
    assert_eq!((dom0.set(entry, pte(dom0.a, 0xe7)), dom0.read(entry)), (EINVAL, pte(dom0.a, 0xe25)), "case 130");
    let rw = dom0.mu(&[[entry, pte(dom0.a, 0x67)]]);
    assert_eq!((rw.value, rw.args[1]), (OK, CONTINUED), "case 131");
    dom0.audit();
    assert_eq!((dom0.uvm(va, pte(dom0.b, 0x63), 0), dom0.uvm(va, pte(dom0.a, 0x63), 0)), (OK, EBUSY), "case 132");
    assert_eq!(dom0.read(at(dom0.a, 0)), pte(dom0.b, KERNEL | 0x67), "case 132");
    let removal = dom0.mu(&[[entry, 0]]);
    assert_eq!((removal.value, removal.args[1], dom0.writable(dom0.a)), (OK, CONTINUED, OK), "case 133");
    dom0.audit();
}

#[test]
fn case_134_an_absent_entry_is_stored_as_it_is() {
    let dom0 = Dom0::new();
    let (entry, _) = dom0.free_l2();
    let answer = dom0.mu(&[[entry, pte(dom0.a, 0x60)]]);
    assert_eq!((answer.value, answer.args[1], dom0.read(entry)), (OK, 1, pte(dom0.a, 0x60)));
}

#[test]
fn accessed_and_dirty_are_preserved_in_upper_entries_too() {
    let dom0 = with_table_at_300();
    let slot = hypercall::PteSlot::from_bits(dom0.p(300));
    let dirty = hypercall::PteFlags::ACCESSED_DIRTY;
    dom0.xen.set_accessed_dirty(slot, dirty).expect("the entry is present");
    assert_eq!(dom0.set(dom0.p(300) | crate::dom0::PRESERVE_AD, pte(dom0.a, 0x03)), OK);
    assert_eq!(dom0.read(dom0.p(300)), pte(dom0.a, 0x67));
    assert_eq!(dom0.set(dom0.p(300) | crate::dom0::PRESERVE_AD, 0x7000), OK);
    assert_eq!(dom0.read(dom0.p(300)), 0x7060);
    dom0.audit();
}

#[test]
fn a_new_base_pointer_is_in_force_for_the_next_operation() {
    let dom0 = Dom0::new();
    dom0.put(dom0.d, 273, dom0.read(dom0.p(273)));
    dom0.read_only(dom0.d);
    let old = dom0.root().number();
    let there_and_back = [[NEW_BASEPTR, dom0.d.number(), 0], [UNPIN, old, 0], [PIN_L4, old, 0]];
    let answer = dom0.call(dom0.extended(&there_and_back, SELF));
    assert_eq!((answer.value, answer.done), (OK, 3));
    assert_eq!(dom0.root(), dom0.d);
    dom0.audit();
}
