//! `update_va_mapping` (cases 136 to 140) and trapped stores (case 135).

use hypercall::abi::HYPERCALL_UPDATE_VA_MAPPING;
use hypercall::{Pte, PteSlot};
use mock_xen::StoreError;

use crate::dom0::{Dom0, EBUSY, EFAULT, EINVAL, ESRCH, IO, KERNEL, OK, SELF, XEN, pte, root_in_linear_map};

const TLB_FLUSH: u64 = 1;
const INVLPG: u64 = 2;
const ALL: u64 = 4;
const HOLE: u64 = 0xffff_8200_0000_0000;

#[test]
fn case_135_stores_to_tables() {
    let dom0 = Dom0::new();
    let (l1, l2) = (PteSlot::from_bits(dom0.slot(dom0.w)), PteSlot::from_bits(dom0.free_l2().0));
    let entry = |mfn, flags| Pte::from_bits(pte(mfn, flags));
    let before = dom0.read(l1.bits());
    let exchanged = dom0.xen.trapped_exchange(l1, entry(dom0.a, 0x63)).map(Pte::bits);
    assert_eq!((exchanged, dom0.read(l1.bits())), (Ok(before), pte(dom0.a, KERNEL | 0x67)));
    let refused = dom0.xen.trapped_write(l1, entry(dom0.root(), 0x63));
    assert!(matches!(refused, Err(StoreError::PageFault { .. })), "{refused:?}");
    assert_eq!(dom0.xen.trapped_write(l2, Pte::EMPTY), Err(StoreError::NotAnL1 { slot: l2 }));
    assert!(matches!(dom0.xen.write_plain(l1.table(), 0, 0), Err(StoreError::NotWritable { .. })));
    dom0.audit();
}

#[test]
fn case_136_addresses_without_an_l1() {
    let dom0 = Dom0::new();
    let (_, without_l1) = dom0.free_l2();
    let addresses = [(without_l1, 0), (0x1000, 0), (HOLE, 0), (root_in_linear_map(), 0), (1 << 63, INVLPG | ALL)];
    for (va, flags) in addresses {
        assert_eq!(dom0.uvm(va, pte(dom0.a, 0x63), flags), EINVAL, "{va:#x}");
    }
    dom0.audit();
}

#[test]
fn case_137_to_139_flushes_come_after_the_change() {
    for (case, flags, value) in [
        (137, 3, OK),
        (137, INVLPG | ALL, OK),
        (137, TLB_FLUSH, OK),
        (138, INVLPG | 0x1000, EFAULT),
        (139, TLB_FLUSH | HOLE, EFAULT),
    ] {
        let dom0 = Dom0::new();
        assert_eq!(dom0.uvm(dom0.va(dom0.w), pte(dom0.a, 0x63), flags), value, "case {case}");
        assert_eq!(dom0.read(dom0.slot(dom0.w)), pte(dom0.a, KERNEL | 0x67), "case {case}");
        dom0.audit();
    }
}

#[test]
fn case_138_a_refused_entry_is_answered_before_its_flush() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.uvm(dom0.va(dom0.w), pte(dom0.root(), 0x63), INVLPG | 0x1000), EBUSY);
}

#[test]
fn case_140_frames_of_other_domains() {
    let dom0 = Dom0::new();
    for (domain, frame, value) in
        [(0, dom0.a, ESRCH), (5, dom0.a, ESRCH), (SELF, dom0.a, OK), (IO, dom0.b, EBUSY), (XEN, dom0.b, EBUSY)]
    {
        assert_eq!(dom0.uvm_of(dom0.va(dom0.w), pte(frame, 0x61), domain), value, "{domain:#x}");
    }
    dom0.audit();
}

#[test]
fn xsa_286_the_second_update_sees_what_the_first_call_has_changed() {
    let dom0 = Dom0::new();
    let (entry, va) = dom0.free_l2();
    for table in [dom0.a, dom0.b] {
        dom0.read_only(table);
    }
    assert_eq!(dom0.set(entry, pte(dom0.a, 0x67)), OK);
    let write = |flags| (HYPERCALL_UPDATE_VA_MAPPING, [va, pte(dom0.c, flags), 0, 0, 0]);
    let swap = dom0.updates(&[[entry, pte(dom0.b, 0x67)]], SELF);
    assert_eq!(dom0.multicall(&[write(0x61), swap, write(0x63)]).value, OK);
    let first = |table| dom0.read(crate::dom0::at(table, 0));
    assert_eq!((first(dom0.a), first(dom0.b)), (pte(dom0.c, KERNEL | 0x65), pte(dom0.c, KERNEL | 0x67)));
    dom0.audit();
}
