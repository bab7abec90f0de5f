//! Cases that need what the mock does not model: each is refused out loud.

use hypercall::abi::{HYPERCALL_IRET, HYPERCALL_UPDATE_DESCRIPTOR, HYPERCALL_XEN_VERSION};
use mock_xen::NotModelled;

use crate::dom0::{CLEAR_PAGE, CPU, Dom0, EINVAL, MACHPHYS, OK, PIN_L1, PIN_L2, PIN_L4, SELF, XEN, at, missing, pte};

#[test]
fn case_047_to_049_089_frames_of_the_hypervisor() {
    let dom0 = Dom0::new();
    let table = dom0.xen.layout().machine_to_physical();
    let slot = dom0.slot(dom0.w);
    let before = dom0.read(slot);
    let refused = missing(NotModelled::HypervisorFrames);
    for (case, flags) in [(47, 0x61), (48, 0x63), (49, 0x71)] {
        assert_eq!(dom0.set_as(slot, pte(table, flags), XEN), refused, "case {case}");
        assert_eq!(dom0.read(slot), before, "case {case}");
    }
    for command in [PIN_L1, CLEAR_PAGE] {
        assert_eq!(dom0.mx_as(command, table.number(), 0, XEN), refused, "case 89");
    }
    assert_eq!(dom0.set_as(at(table, 0) | MACHPHYS, 0, XEN), refused);
    assert_eq!(dom0.set_as(slot, pte(hypercall::Mfn::new(0xb8), 0x63), XEN), refused);
    assert_eq!(dom0.not_modelled(), [NotModelled::HypervisorFrames; 7]);
    dom0.audit();
}

#[test]
fn case_078_106_to_109_a_table_that_refers_to_itself() {
    let dom0 = Dom0::new();
    let refused = missing(NotModelled::LinearTable);
    dom0.put(dom0.c, 0, pte(dom0.c, 0x65));
    dom0.read_only(dom0.c);
    assert_eq!(dom0.mx(PIN_L2, dom0.c.number()), refused, "case 78");
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.root(), 0x61)), refused, "cases 106 to 109");
    assert_eq!(dom0.read(dom0.p(300)), 0);
    assert_eq!(dom0.not_modelled(), [NotModelled::LinearTable; 2]);
    assert_eq!(dom0.writable(dom0.c), OK);
    dom0.audit();
}

#[test]
fn case_116_to_119_xsa_240_a_table_that_refers_to_another_of_its_level() {
    let dom0 = Dom0::new();
    dom0.put(dom0.d, 273, dom0.read(dom0.p(273)));
    dom0.read_only(dom0.d);
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.d, 0x63)), EINVAL, "a writable entry is refused for certain");
    assert_eq!(dom0.mx(PIN_L4, dom0.d.number()), OK);
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.d, 0x61)), missing(NotModelled::LinearTable));
    dom0.audit();
}

#[test]
fn case_085_what_is_not_modelled_travels_through_a_continuation() {
    let dom0 = Dom0::new();
    dom0.put(dom0.c, 1, pte(dom0.c, 0x65));
    dom0.read_only(dom0.c);
    let answer = dom0.call(dom0.extended(&[[PIN_L2, dom0.c.number(), 0]], SELF));
    let refused = missing(NotModelled::LinearTable);
    assert_eq!((answer.value, answer.args[3]), (refused, u64::from(refused as u32)));
    let events = dom0.xen.not_modelled();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].vcpu, events[0].call.number), (CPU, hypercall::abi::HYPERCALL_MMUEXT_OP));
    assert!(events[0].to_string().contains("linear page table"), "{}", events[0]);
}

#[test]
fn case_155_to_161_163_other_hypercalls() {
    let dom0 = Dom0::new();
    let calls = [24, 29, 18, 21, 0, 12, 15, 20, 32, HYPERCALL_IRET];
    for number in calls {
        assert_eq!(dom0.call((number, [0; 5])).value, missing(NotModelled::Hypercall), "hypercall {number}");
    }
    assert_eq!(dom0.call((HYPERCALL_XEN_VERSION, [0; 5])).value, 0x4_0011);
    assert_eq!(dom0.call((HYPERCALL_XEN_VERSION, [2, 0, 0, 0, 0])).value, missing(NotModelled::Hypercall));
    assert_eq!(dom0.not_modelled().len(), calls.len() + 1);
}

#[test]
fn case_163_inside_a_multicall_it_is_told_by_entry() {
    let dom0 = Dom0::new();
    let iret = (HYPERCALL_IRET, [0; 5]);
    assert_eq!(dom0.multicall(&[iret, iret]).value, OK);
    assert_eq!((dom0.entry(0).0, dom0.entry(8).0), (missing(NotModelled::Hypercall), missing(NotModelled::Hypercall)));
    assert_eq!(dom0.not_modelled(), [NotModelled::Hypercall; 2]);
}

#[test]
fn call_gates() {
    let dom0 = Dom0::new();
    let gate = 0x0000_ec00_0008_0000;
    let value = dom0.call((HYPERCALL_UPDATE_DESCRIPTOR, [at(dom0.a, 0), gate, 0, 0, 0])).value;
    assert_eq!((value, dom0.read(at(dom0.a, 0))), (missing(NotModelled::CallGate), 0));
}
