//! Linear entries: tables that map themselves or others of their level (cases 78, 106 to 110, 116
//! to 119).

use hypercall::Mfn;

use crate::dom0::{Dom0, EBUSY, EINVAL, OK, PIN_L2, PIN_L4, SELF, UNPIN, at, pte};

const PUT_AWAY: u64 = 0x8000_0000;

fn linear(dom0: &Dom0, mfn: Mfn) -> i16 {
    dom0.xen.frame(mfn).expect("the frame is memory").linear
}

#[test]
fn case_078_079_a_table_that_maps_itself_is_pinned() {
    for (case, flags, value) in [(78, 0x61, OK), (79, 0x63, EINVAL)] {
        let dom0 = Dom0::new();
        dom0.put(dom0.c, 0, pte(dom0.c, flags));
        dom0.read_only(dom0.c);
        assert_eq!(dom0.mx(PIN_L2, dom0.c.number()), value, "case {case}");
        assert_eq!(linear(&dom0, dom0.c), 0, "it does not count");
        dom0.audit();
    }
}

#[test]
fn case_106_to_110_the_root_maps_itself() {
    let dom0 = Dom0::new();
    let (entry, root) = (dom0.p(300), dom0.root());
    assert_eq!(dom0.set(entry, pte(root, 0x63)), EINVAL, "case 110");
    assert_eq!((dom0.set(entry, pte(root, 0x61)), dom0.read(entry)), (OK, pte(root, 0x65)), "case 106");
    dom0.audit();
    assert_eq!((dom0.set(entry, pte(root, 0x63)), dom0.read(entry)), (EINVAL, pte(root, 0x65)), "case 107");
    assert_eq!(dom0.set(entry, pte(root, 0xe61)), OK, "case 108");
    let removal = dom0.mu(&[[entry, 0]]);
    assert_eq!((removal.value, removal.args[1]), (OK, 1), "case 109: nothing is put away");
    dom0.audit();
}

/// D is a pinned L4 like the live one.
fn with_another_root() -> Dom0 {
    let dom0 = Dom0::new();
    dom0.another_root();
    assert_eq!(dom0.mx(PIN_L4, dom0.d.number()), OK);
    dom0
}

#[test]
fn case_116_to_119_xsa_240_the_root_maps_another() {
    let dom0 = with_another_root();
    let (entry, root) = (dom0.p(300), dom0.root());
    assert_eq!(dom0.set(entry, pte(dom0.d, 0x63)), EINVAL, "a writable one never");
    assert_eq!(dom0.set(entry, pte(dom0.d, 0x61)), OK, "case 116");
    assert_eq!((linear(&dom0, root), linear(&dom0, dom0.d)), (1, -1));
    dom0.audit();
    assert_eq!(dom0.set(at(dom0.d, 300), pte(root, 0x61)), EINVAL, "case 117");
    assert_eq!(dom0.set(at(dom0.d, 300), pte(dom0.d, 0x61)), OK, "case 118");
    dom0.audit();
    assert_eq!(dom0.mx(UNPIN, dom0.d.number()), OK, "case 119");
    assert_eq!(dom0.writable(dom0.d), EBUSY, "the linear entry holds it");
    let removal = dom0.mu(&[[entry, 0]]);
    assert_eq!((removal.value, removal.args[1], dom0.writable(dom0.d)), (OK, PUT_AWAY, OK), "case 119");
    assert_eq!(linear(&dom0, root), 0);
    dom0.audit();
}

#[test]
fn case_116_a_chain_of_three_is_refused_at_either_end() {
    let dom0 = with_another_root();
    dom0.put(dom0.c, 273, dom0.read(dom0.p(273)));
    dom0.put(dom0.c, 300, pte(dom0.d, 0x61));
    dom0.read_only(dom0.c);
    assert_eq!(dom0.mx(PIN_L4, dom0.c.number()), OK, "a table that maps D is validated");
    assert_eq!((linear(&dom0, dom0.c), linear(&dom0, dom0.d)), (1, -1));
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.c, 0x61)), EINVAL, "C maps another already");
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.d, 0x61)), OK, "D may be mapped by two");
    assert_eq!((linear(&dom0, dom0.root()), linear(&dom0, dom0.d)), (1, -2));
    dom0.audit();
    assert_eq!((dom0.mx(UNPIN, dom0.c.number()), dom0.writable(dom0.c)), (OK, OK));
    assert_eq!(linear(&dom0, dom0.d), -1);
    dom0.audit();
}

#[test]
fn case_116_only_a_table_in_use_at_the_level_can_be_mapped() {
    let dom0 = Dom0::new();
    dom0.another_root();
    let refused = dom0.mu(&[[dom0.p(300), pte(dom0.d, 0x61)]]);
    assert_eq!(refused.value, EINVAL, "as an L3 its entries are wrong, as an L4 it is not in use");
    let l3 = hypercall::PteSlot::from_bits(dom0.slot_at(dom0.va(dom0.a), hypercall::Level::L3)).table();
    let l2 = hypercall::PteSlot::from_bits(dom0.slot_at(dom0.va(dom0.a), hypercall::Level::L2)).table();
    assert_eq!(dom0.set(dom0.p(300), pte(l2, 0x61)), EINVAL);
    assert_eq!(dom0.set(dom0.p(300), pte(l3, 0x61)), OK, "an L3 is no linear target but a child");
    assert_eq!(linear(&dom0, l3), 0);
    dom0.audit();
}

#[test]
fn case_117_a_target_whose_last_reference_is_linear_is_let_go_with_the_entry() {
    let dom0 = with_another_root();
    dom0.put(dom0.c, 273, dom0.read(dom0.p(273)));
    dom0.put(dom0.c, 274, pte(dom0.d, 0x61));
    dom0.read_only(dom0.c);
    assert_eq!(dom0.mx(PIN_L4, dom0.c.number()), OK);
    assert_eq!(dom0.mx(UNPIN, dom0.d.number()), OK);
    dom0.audit();
    assert_eq!(dom0.mx(UNPIN, dom0.c.number()), OK);
    dom0.audit();
    assert_eq!((dom0.writable(dom0.c), dom0.writable(dom0.d)), (OK, OK));
    assert_eq!(dom0.set_as(dom0.p(300), 0, SELF), OK);
}

#[test]
fn case_136_an_address_through_a_linear_entry_has_no_l1() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.set(dom0.p(300), pte(dom0.root(), 0x61)), OK);
    let through = (0xffff << 48) | 300 << 39 | (dom0.va(dom0.a) >> 9 & 0x7f_ffff_f000);
    assert_eq!(dom0.uvm(through, pte(dom0.b, 0x63), 0), EINVAL, "it ends at an L2");
    let l1_entry =
        dom0.xen.load(crate::dom0::CPU, hypercall::VirtAddr::unchecked(through | (dom0.va(dom0.a) >> 9 & 0xff8)));
    assert_eq!(l1_entry, Ok(dom0.read(dom0.slot(dom0.a))), "but the guest reads its tables there");
    dom0.audit();
}
