//! Frames of `DOMID_XEN` (cases 47 to 49, 61, 89) and the table they hold.

use hypercall::{Mfn, VirtAddr};
use mock_xen::{AccessError, FrameType, Owner};

use crate::dom0::{
    CLEAR_PAGE, COPY_PAGE, CPU, Dom0, EACCES, EBUSY, EINVAL, EPERM, KERNEL, MACHPHYS, NEW_BASEPTR, OK, PIN_L1, PIN_L4,
    SELF, UNPIN, XEN, at, pte,
};

const MACHINE_TO_PHYSICAL: u64 = 0xffff_8000_0000_0000;

#[test]
fn case_047_to_049_a_frame_of_the_machine_to_physical_table() {
    let dom0 = Dom0::new();
    let table = dom0.xen.layout().machine_to_physical();
    let slot = dom0.slot(dom0.w);
    assert_eq!(dom0.set_as(slot, pte(table, 0x61), XEN), OK, "case 47");
    assert_eq!(dom0.read(slot), pte(table, KERNEL | 0x65), "case 47");
    let view = dom0.xen.frame(table).unwrap();
    assert_eq!((view.owner, view.kind, view.general_count), (Owner::Xen, FrameType::None, 2));
    dom0.audit();
    assert_eq!(dom0.set_as(slot, pte(table, 0x63), XEN), EBUSY, "case 48");
    assert_eq!(dom0.set_as(slot, pte(table, 0x71), XEN), EACCES, "case 49");
    assert_eq!(dom0.read(slot), pte(table, KERNEL | 0x65), "nothing has changed");
    assert_eq!(dom0.set(slot, pte(table, 0x01)), OK, "a harmless change is not checked for its owner");
    assert_eq!(dom0.set(slot, 0), OK);
    assert_eq!(dom0.xen.frame(table).unwrap().general_count, 1);
    dom0.audit();
}

#[test]
fn case_089_nothing_else_can_be_done_with_it() {
    let dom0 = Dom0::new();
    let table = dom0.xen.layout().machine_to_physical().number();
    for (command, arg1, arg2) in [
        (PIN_L1, table, 0),
        (PIN_L4, table, 0),
        (UNPIN, table, 0),
        (CLEAR_PAGE, table, 0),
        (COPY_PAGE, table, table),
        (COPY_PAGE, dom0.a.number(), table),
    ] {
        assert_eq!(dom0.mx_as(command, arg1, arg2, XEN), EINVAL, "command {command}");
    }
    for (mfn, value) in [(0xb8, EPERM), (0xff_ffff_ffff, EINVAL)] {
        let slot = dom0.slot(dom0.w);
        assert_eq!(dom0.set_as(slot, pte(Mfn::new(mfn), 0x63), XEN), value, "I/O in the name of DOMID_XEN");
    }
    assert_eq!(dom0.not_modelled(), []);
    dom0.audit();
}

#[test]
fn its_own_machine_word_can_be_set_in_its_owners_name() {
    let dom0 = Dom0::new();
    let table = dom0.xen.layout().machine_to_physical();
    assert_eq!(dom0.set_as(at(table, 0) | MACHPHYS, 5, XEN), OK);
    assert_eq!(dom0.xen.read_m2p(table), Some(5));
    assert_eq!(dom0.set_as(at(table, 0) | MACHPHYS, 6, SELF), EINVAL);
    assert_eq!(dom0.set_as(at(dom0.a, 0) | MACHPHYS, 6, XEN), EINVAL);
}

#[test]
fn case_062_the_guest_reads_the_table() {
    let dom0 = Dom0::new();
    let address = VirtAddr::unchecked(MACHINE_TO_PHYSICAL + 8 * dom0.a.number());
    assert_eq!(dom0.set(at(dom0.a, 0) | MACHPHYS, 0x4242), OK);
    assert_eq!(dom0.xen.load(CPU, address), Ok(0x4242));
    let refused = |code| Err(AccessError::PageFault { address, code });
    assert_eq!(dom0.xen.store(CPU, address, 0), refused(3));
    let table = dom0.xen.layout().machine_to_physical();
    assert_eq!(dom0.set(at(dom0.a, 0) | MACHPHYS, 7), OK);
    let first = Mfn::new(table.number() + dom0.a.number() / 512);
    assert_eq!(dom0.set_as(dom0.slot(dom0.w), pte(first, 0x61), XEN), OK);
    let mapped = VirtAddr::unchecked(dom0.va(dom0.w) + 8 * (dom0.a.number() % 512));
    assert_eq!(dom0.xen.load(CPU, mapped), Ok(7), "the frames hold the table's first words");
    assert_eq!(dom0.xen.store(CPU, mapped, 7), Err(AccessError::PageFault { address: mapped, code: 3 }));
}

#[test]
fn case_099_115_a_strict_table_shows_in_kernel_base_pointers_only() {
    let shown = |dom0: &Dom0| dom0.read(at(dom0.d, 256)) != 0;
    for (strict, after_pin, after_user) in [(false, false, true), (true, true, false)] {
        let dom0 = Dom0::new();
        dom0.another_root();
        if strict {
            assert_eq!(dom0.call((21, [0, 32, 0, 0, 0])).value, OK);
        }
        assert_eq!(dom0.mx(PIN_L4, dom0.d.number()), OK);
        assert_eq!(shown(&dom0), after_pin, "strict: {strict}");
        let old = dom0.root().number();
        assert_eq!((dom0.mx(NEW_BASEPTR, dom0.d.number()), dom0.mx(NEW_BASEPTR, old)), (OK, OK));
        assert!(shown(&dom0), "strict: {strict}");
        assert_eq!(dom0.mx(crate::dom0::NEW_USER_BASEPTR, dom0.d.number()), OK);
        assert_eq!(shown(&dom0), after_user, "strict: {strict}");
        dom0.audit();
    }
}
