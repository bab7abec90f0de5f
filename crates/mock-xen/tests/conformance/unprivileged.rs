//! A domain without I/O memory. *Unproved*: these answers follow from Xen's source, and no lone
//! guest can measure them.

use hypercall::{DomId, Mfn, PteSlot, VirtAddr};
use mock_xen::GuestBuilder;

use crate::dom0::{
    CPU, Dom0, EACCES, EINVAL, EPERM, ESRCH, IO, KERNEL, MACHPHYS, OK, PIN_L1, SELF, UNTOUCHED, XEN, at, pte,
};

fn dom_u() -> Dom0 {
    Dom0::of(|builder: &mut GuestBuilder| _ = builder.unprivileged(DomId::new(3)))
}

#[test]
fn case_028_029_cache_attributes_are_refused() {
    let dom_u = dom_u();
    for flags in [0x73, 0xe3, 0x6b] {
        assert_eq!(dom_u.map(dom_u.a, flags), EINVAL, "{flags:#x}");
    }
    assert_eq!(dom_u.map(dom_u.a, 0x63), OK);
    assert_eq!(dom_u.map(dom_u.a, 0x73), EINVAL, "nor as a harmless change");
    dom_u.put(dom_u.c, 0, pte(dom_u.b, 0x73));
    dom_u.read_only(dom_u.c);
    assert_eq!(dom_u.mx(PIN_L1, dom_u.c.number()), EINVAL);
    dom_u.audit();
}

#[test]
fn case_036_to_044_no_memory_of_devices() {
    let dom_u = dom_u();
    for (mfn, value) in [(0xb8, EPERM), (0x50, EPERM), (0xfec00, EPERM), (0x20_0000, EPERM), (0xff_ffff_ffff, EINVAL)] {
        for owner in [SELF, IO] {
            assert_eq!(dom_u.set_as(dom_u.slot(dom_u.w), pte(Mfn::new(mfn), 0x63), owner), value, "{mfn:#x}");
        }
    }
}

#[test]
fn case_001_to_006_090_other_domains() {
    let dom_u = dom_u();
    let (slot, entry) = (dom_u.slot(dom_u.w), pte(dom_u.a, 0x63));
    for (subject, value) in [(3, ESRCH), (0, ESRCH), (4 << 16 | SELF, OK), (1 << 16 | SELF, ESRCH), (XEN, EPERM)] {
        assert_eq!(dom_u.set_as(slot, entry, subject), value, "{subject:#x}");
    }
    assert_eq!(dom_u.set_as(at(dom_u.a, 0) | MACHPHYS, 0, XEN), EPERM);
    for domain in [IO, XEN] {
        let answer = dom_u.call(dom_u.extended(&[[PIN_L1, dom_u.a.number(), 0]], domain));
        assert_eq!((answer.value, answer.done), (EPERM, UNTOUCHED));
    }
    assert_eq!((dom_u.mx(12, 0), dom_u.mx(18, 0)), (EACCES, EINVAL), "cache flushes");
    assert_eq!(dom_u.call((18, [1, 0, 0, 0, 0])).value, EPERM, "the console");
}

#[test]
fn case_135_stores_are_emulated_on_demand() {
    let dom_u = dom_u();
    let slot = PteSlot::from_bits(dom_u.slot(dom_u.w));
    let word = VirtAddr::unchecked(dom_u.va(slot.table()) + 8 * slot.index() as u64);
    assert!(dom_u.xen.store(CPU, word, 0).is_err());
    assert_eq!(dom_u.call((21, [0, 2, 0, 0, 0])).value, OK);
    assert_eq!(dom_u.xen.store(CPU, word, pte(dom_u.a, 0x61)), Ok(()));
    assert_eq!(dom_u.read(slot.bits()), pte(dom_u.a, KERNEL | 0x65));
    dom_u.audit();
}
