//! What the mock does not model is refused out loud.

use hypercall::Mfn;
use hypercall::abi::{HYPERCALL_IRET, HYPERCALL_MMU_UPDATE, HYPERCALL_XEN_VERSION};
use mock_xen::NotModelled;

use crate::dom0::{CPU, Dom0, OK, SELF, missing};

#[test]
fn case_163_other_hypercalls() {
    let dom0 = Dom0::new();
    let calls = [0, 4, 6, 7, 8, 9, 12, 15, 20, HYPERCALL_IRET, 28, 30, 32, 33, 35, 36, 48, 49];
    for number in calls {
        assert_eq!(dom0.call((number, [0; 5])).value, missing(NotModelled::Hypercall), "hypercall {number}");
    }
    let commands = [(HYPERCALL_XEN_VERSION, [2, 0, 0, 0, 0]), (24, [4, 0, 0, 0, 0]), (29, [1, 0, 0, 0, 0])];
    for call in commands {
        assert_eq!(dom0.call(call).value, missing(NotModelled::Hypercall), "{call:?}");
    }
    let events = dom0.xen.not_modelled();
    assert_eq!(events.len(), calls.len() + commands.len());
    assert_eq!((events[0].vcpu, events[0].call.number), (CPU, 0));
    assert!(events[0].to_string().contains("outside the page-table subset"), "{}", events[0]);
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
fn the_last_vcpu_cannot_go_down() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.call((24, [2, 1, 0, 0, 0])).value, OK);
    assert_eq!(dom0.call((24, [2, 0, 0, 0, 0])).value, missing(NotModelled::Hypercall));
}

#[test]
fn arguments_in_a_device() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.map(Mfn::new(0xb8), 0x63), OK);
    let call = (HYPERCALL_MMU_UPDATE, [dom0.va(dom0.w), 1, 0, SELF, 0]);
    assert_eq!(dom0.call(call).value, missing(NotModelled::DeviceMemory));
    assert_eq!(dom0.not_modelled(), [NotModelled::DeviceMemory]);
}
