//! L1 entries (cases 21 to 56): flags, owners, I/O, accessed and dirty.

use hypercall::Mfn;

use crate::dom0::{Dom0, EACCES, EBUSY, EINVAL, EPERM, IO, KERNEL, NO_TRANSLATE, OK, PRESERVE_AD, SELF, XEN, pte};

const NX: u64 = 1 << 63;
const AVAILABLE: u64 = 0x7ff0_0000_0000_0000;
const UC: u64 = 0x18;
const VGA: Mfn = Mfn::new(0xb8);

#[test]
fn case_021_an_absent_entry_is_stored_as_it_is() {
    let dom0 = Dom0::new();
    let slot = dom0.slot(dom0.w);
    assert_eq!((dom0.set(slot, 0x0dea_dbee_f00e), dom0.read(slot)), (OK, 0x0dea_dbee_f00e));
    dom0.audit();
}

#[test]
fn case_022_to_029_flags_of_a_present_entry() {
    for (case, asked, stored) in [
        (22, 0x63, KERNEL | 0x67),
        (23, 0x67, 0x167),
        (24, KERNEL | 0x67, KERNEL | 0x67),
        (25, 0x163, KERNEL | 0x167),
        (26, AVAILABLE | 0x67, AVAILABLE | 0x67),
        (27, NX | 0x63, NX | KERNEL | 0x67),
        (28, 0x73, KERNEL | 0x77),
        (29, 0xe3, KERNEL | 0xe7),
    ] {
        let dom0 = Dom0::new();
        assert_eq!(dom0.map_and_read(dom0.a, asked), (OK, stored), "case {case}");
        dom0.audit();
    }
}

#[test]
fn case_030_to_033_pages_in_use_as_something_else() {
    let dom0 = Dom0::new();
    dom0.read_only(dom0.c);
    dom0.put(dom0.b, 0, dom0.c.number());
    assert_eq!(dom0.call((hypercall::abi::HYPERCALL_SET_GDT, [dom0.va(dom0.b), 512, 0, 0, 0])).value, OK);
    let table = hypercall::PteSlot::from_bits(dom0.slot(dom0.a)).table();
    for (case, page) in [(30, table), (32, dom0.root()), (33, dom0.c)] {
        assert_eq!(dom0.map(page, 0x63), EBUSY, "case {case}, writable");
        assert_eq!(dom0.map(page, 0x61), OK, "case {case}, read-only");
    }
    dom0.audit();
}

#[test]
fn case_034_035_shared_info() {
    let dom0 = Dom0::new();
    let shared = dom0.xen.layout().shared_info();
    assert_eq!(dom0.map(shared, 0x63), OK);
    assert_eq!(dom0.map(shared, 0x73), EACCES);
    assert_eq!(dom0.map_and_read(shared, 0x61), (OK, KERNEL | 0x65));
    dom0.audit();
}

#[test]
fn case_036_to_044_memory_of_devices_and_of_nobody() {
    let beyond_memory = |dom0: &Dom0| Mfn::new(dom0.xen.layout().end().number() + 5);
    for (case, mfn, asked, stored) in [
        (36, VGA, 0x63, KERNEL | UC | 0x67),
        (37, VGA, 0x6b, KERNEL | UC | 0x67),
        (37, VGA, 0xeb, KERNEL | UC | 0x67),
        (38, VGA, 0xe3, KERNEL | 0xe7),
        (38, VGA, 0x7b, KERNEL | UC | 0x67),
        (38, VGA, 0x73, KERNEL | 0x77),
        (39, Mfn::new(0x50), 0x63, KERNEL | UC | 0x67),
        (41, Mfn::new(0xfec00), 0x63, KERNEL | UC | 0x65),
        (42, beyond_memory(&Dom0::new()), 0x63, KERNEL | UC | 0x67),
        (42, Mfn::new(0x20_0000), 0x63, KERNEL | UC | 0x67),
    ] {
        let dom0 = Dom0::new();
        assert_eq!(dom0.map_and_read(mfn, asked), (OK, stored), "case {case}, {mfn} {asked:#x}");
        dom0.audit();
    }
    let dom0 = Dom0::new();
    for (case, mfn, value) in [(40, 0xfee00, EPERM), (43, 1 << 38, EPERM), (44, 0xff_ffff_ffff, EINVAL)] {
        assert_eq!(dom0.map(Mfn::new(mfn), 0x63), value, "case {case}");
    }
}

#[test]
fn case_045_046_frames_of_xen() {
    let dom0 = Dom0::new();
    let (heap, table) = (dom0.xen.layout().heap(), dom0.xen.layout().machine_to_physical());
    let slot = dom0.slot(dom0.w);
    for (case, frame, subject) in [(45, heap, SELF), (45, heap, XEN), (46, table, SELF), (46, table, IO)] {
        assert_eq!(dom0.set_as(slot, pte(frame, 0x61), subject), EBUSY, "case {case}");
    }
    assert_eq!(dom0.not_modelled(), []);
}

#[test]
fn case_050_to_053_memory_named_as_io() {
    let dom0 = Dom0::new();
    let slot = dom0.slot(dom0.w);
    assert_eq!(dom0.set(slot, 0x0dea_dbee_f00e), OK);
    assert_eq!(dom0.set_as(slot, pte(dom0.a, 0x63), IO), EBUSY, "case 50");
    assert_eq!(dom0.set_as(slot, pte(VGA, 0x63), IO), OK, "case 51");
    assert_eq!(dom0.read(slot), pte(VGA, KERNEL | UC | 0x67), "case 51");
    assert_eq!(dom0.map(dom0.a, 0x63), OK);
    assert_eq!(dom0.set_as(slot, pte(dom0.a, 0x03), IO), OK, "case 52");
    assert_eq!(dom0.set_as(slot, pte(dom0.a, 0x01), IO), EBUSY, "case 53");
    assert_eq!(dom0.read(slot), pte(dom0.a, KERNEL | 0x07), "case 53 changes nothing");
    dom0.audit();
}

#[test]
fn case_054_055_accessed_and_dirty_preserved() {
    for (case, asked, stored) in [(54, 0x03, Some(KERNEL | 0x67)), (55, 0x7000, None)] {
        let dom0 = Dom0::new();
        let slot = dom0.slot(dom0.w);
        assert_eq!(dom0.map(dom0.a, 0x63), OK);
        let (asked, stored) = match stored {
            Some(flags) => (pte(dom0.a, asked), pte(dom0.a, flags)),
            None => (asked, 0x7060),
        };
        assert_eq!((dom0.set(slot | PRESERVE_AD, asked), dom0.read(slot)), (OK, stored), "case {case}");
        dom0.audit();
    }
}

#[test]
fn case_054_another_frame_preserved() {
    let dom0 = Dom0::new();
    let slot = dom0.slot(dom0.w);
    assert_eq!(dom0.map(dom0.a, 0x63), OK);
    assert_eq!(dom0.set(slot | PRESERVE_AD, pte(dom0.b, 0x01)), OK);
    assert_eq!(dom0.read(slot), pte(dom0.b, KERNEL | 0x65));
    dom0.audit();
}

#[test]
fn case_056_no_translate_is_normal_for_a_pv_guest() {
    let dom0 = Dom0::new();
    let slot = dom0.slot(dom0.w);
    assert_eq!((dom0.set(slot | NO_TRANSLATE, pte(dom0.a, 0x63)), dom0.read(slot)), (OK, pte(dom0.a, KERNEL | 0x67)));
}
