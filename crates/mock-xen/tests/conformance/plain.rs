//! Updates of what is no page table (cases 57 to 64), and of the machine-to-physical table.

use hypercall::Mfn;
use mock_xen::StoreError;

use crate::dom0::{Dom0, EINVAL, IO, MACHPHYS, OK, PRESERVE_AD, SELF, XEN, at};

#[test]
fn case_057_to_059_plain_pages_are_stored_unchecked() {
    let dom0 = Dom0::new();
    assert_eq!((dom0.set(at(dom0.a, 3), u64::MAX), dom0.read(at(dom0.a, 3))), (OK, u64::MAX), "case 57");
    dom0.put(dom0.a, 3, 0x60);
    assert_eq!(dom0.set(at(dom0.a, 3) | PRESERVE_AD, 0x7000), OK, "case 58");
    assert_eq!(dom0.read(at(dom0.a, 3)), 0x7000, "case 58");
    dom0.read_only(dom0.b);
    assert_eq!((dom0.set(at(dom0.b, 3), 0x4242), dom0.read(at(dom0.b, 3))), (OK, 0x4242), "case 59");
    assert!(matches!(dom0.xen.write_plain(dom0.b, 3, 0), Err(StoreError::NotWritable { .. })));
    dom0.audit();
}

#[test]
fn case_060_061_targets_that_are_refused() {
    let dom0 = Dom0::new();
    dom0.read_only(dom0.c);
    dom0.put(dom0.b, 0, dom0.c.number());
    assert_eq!(dom0.call((hypercall::abi::HYPERCALL_SET_GDT, [dom0.va(dom0.b), 512, 0, 0, 0])).value, OK);
    assert_eq!(dom0.set(at(dom0.c, 0), 0), EINVAL, "case 60");
    let layout = dom0.xen.layout();
    for (frame, subject) in [
        (Mfn::new(0xb8), SELF),
        (Mfn::new(0xb8), IO),
        (Mfn::new(0xff_ffff_ffff), SELF),
        (layout.end(), SELF),
        (layout.heap(), SELF),
        (layout.machine_to_physical(), XEN),
    ] {
        assert_eq!(dom0.set_as(at(frame, 0), 0, subject), EINVAL, "case 61, {frame}");
    }
}

#[test]
fn case_062_to_064_machine_to_physical_words() {
    let dom0 = Dom0::new();
    let pfn = (dom0.va(dom0.a) - 0xffff_8880_0000_0000) >> 12;
    assert_eq!(dom0.xen.read_m2p(dom0.a), Some(pfn));
    for word in [0x4242, !1] {
        assert_eq!(dom0.set(at(dom0.a, 0) | MACHPHYS, word), OK, "case 62");
        assert_eq!(dom0.xen.read_m2p(dom0.a), Some(word), "case 62");
    }
    let (heap, vga) = (dom0.xen.layout().heap(), Mfn::new(0xb8));
    assert_eq!(dom0.set(at(heap, 0) | MACHPHYS, 0), EINVAL, "case 63");
    assert_eq!(dom0.set(at(vga, 0) | MACHPHYS, 7), EINVAL, "case 64");
    assert_eq!(dom0.set_as(at(vga, 0) | MACHPHYS, 7, IO), OK, "case 64");
    assert_eq!(dom0.xen.read_m2p(vga), Some(7), "case 64");
    assert_eq!(dom0.set_as(at(dom0.a, 0) | MACHPHYS, 7, IO), EINVAL);
}
