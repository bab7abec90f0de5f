//! Loads and stores of the guest (case 135), and what they leave in the tables.

use hypercall::{Level, Mfn, PteSlot, VirtAddr};
use mock_xen::AccessError;

use crate::dom0::{CPU, Dom0, EINVAL, IO, KERNEL, OK, XEN, at, pte};

fn va(address: u64) -> VirtAddr {
    VirtAddr::unchecked(address)
}

fn fault(address: VirtAddr, code: u64) -> AccessError {
    AccessError::PageFault { address, code }
}

impl Dom0 {
    /// Where the direct map has the word at `slot`.
    fn word(&self, slot: u64) -> VirtAddr {
        let slot = PteSlot::from_bits(slot);
        va(self.va(slot.table()) + 8 * slot.index() as u64)
    }
}

#[test]
fn case_135_a_store_to_an_l1_entry_is_made_by_xen() {
    let dom0 = Dom0::new();
    let slot = dom0.slot(dom0.w);
    let before = dom0.read(slot);
    assert_eq!(dom0.xen.store(CPU, dom0.word(slot), pte(dom0.a, 0x63)), Ok(()));
    assert_eq!(dom0.read(slot), pte(dom0.a, KERNEL | 0x67));
    dom0.audit();
    assert_eq!(dom0.xen.exchange(CPU, dom0.word(slot), before), Ok(pte(dom0.a, KERNEL | 0x67)));
    assert_eq!((dom0.read(slot), dom0.xen.load(CPU, dom0.word(slot))), (before, Ok(before)));
    dom0.audit();
}

#[test]
fn case_135_refused_stores_fault() {
    let dom0 = Dom0::new();
    let (l1, l2) = (dom0.word(dom0.slot(dom0.w)), dom0.word(dom0.free_l2().0));
    let before = dom0.read(dom0.slot(dom0.w));
    assert_eq!(dom0.xen.store(CPU, l1, pte(dom0.root(), 0x63)), Err(fault(l1, 3)), "a bad L1 entry");
    assert_eq!(dom0.xen.exchange(CPU, l1, pte(dom0.root(), 0x63)), Err(fault(l1, 3)));
    assert_eq!(dom0.xen.store(CPU, l2, 0), Err(fault(l2, 3)), "an L2 entry");
    assert_eq!(dom0.read(dom0.slot(dom0.w)), before);
    dom0.read_only(dom0.a);
    let data = va(dom0.va(dom0.a));
    assert_eq!(dom0.xen.store(CPU, data, 1), Err(fault(data, 3)), "a read-only page of data");
    assert_eq!(dom0.uvm(dom0.va(dom0.w), 0, 2), OK);
    let absent = va(dom0.va(dom0.w));
    assert_eq!(
        (dom0.xen.load(CPU, absent), dom0.xen.store(CPU, absent, 1)),
        (Err(fault(absent, 0)), Err(fault(absent, 2)))
    );
    dom0.audit();
}

/// An update lets harmless flag changes through unchecked; a store never.
#[test]
fn case_135_a_store_is_checked_whatever_the_entry_held() {
    let dom0 = Dom0::new();
    let slot = dom0.slot(dom0.w);
    let table = dom0.xen.layout().machine_to_physical();
    assert_eq!(dom0.set_as(slot, pte(table, 0x61), XEN), OK);
    let stored = dom0.xen.store(CPU, dom0.word(slot), pte(table, 0x41));
    assert_eq!(stored, Err(fault(dom0.word(slot), 3)));
    assert_eq!(dom0.set_as(slot, pte(table, 0x41), IO), OK);
    dom0.audit();
}

#[test]
fn case_135_only_an_entry_that_is_itself_read_only_makes_xen_look() {
    let dom0 = Dom0::new();
    let (entry, address) = dom0.free_l2();
    dom0.put(dom0.a, 0, pte(dom0.b, 0x63));
    dom0.read_only(dom0.a);
    assert_eq!(dom0.set(entry, pte(dom0.a, 0x65)), OK);
    assert_eq!(dom0.xen.store(CPU, va(address), 1), Err(fault(va(address), 3)), "the L2 entry forbids it");
    assert_eq!(dom0.xen.load(CPU, va(address)), Ok(0));
}

#[test]
fn case_041_a_store_to_the_io_apic_is_dropped() {
    let dom0 = Dom0::new();
    assert_eq!(dom0.map(Mfn::new(0xfec00), 0x63), OK);
    let address = va(dom0.va(dom0.w));
    assert_eq!(dom0.xen.store(CPU, address, 1), Ok(()));
    assert_eq!(dom0.xen.exchange(CPU, address, 1), Err(fault(address, 3)));
    assert_eq!(dom0.xen.load(CPU, address), Err(AccessError::Device(Mfn::new(0xfec00))));
}

#[test]
fn addresses_that_lead_nowhere() {
    let dom0 = Dom0::new();
    let (no_l1, hole) = (va(0x1000), va(0xffff_8280_0000_0000));
    let odd = va(1 << 63);
    assert_eq!(dom0.xen.load(CPU, no_l1), Err(fault(no_l1, 0)));
    assert_eq!(dom0.xen.load(CPU, odd), Err(AccessError::GeneralProtection(odd)));
    assert_eq!(dom0.xen.load(CPU, hole), Err(fault(hole, 1)), "Xen's own entries are not for user mode");
    assert_eq!(dom0.xen.store(CPU, hole, 1), Err(fault(hole, 3)));
    let unaligned = va(dom0.va(dom0.a) + 4);
    assert_eq!(dom0.xen.load(CPU, unaligned), Err(AccessError::Unaligned(unaligned)));
}

/// B below an empty place in the direct map, through A: entries that no processor has used yet.
fn untouched() -> (Dom0, [u64; 2], u64) {
    let dom0 = Dom0::new();
    let (entry, address) = dom0.free_l2();
    dom0.put(dom0.a, 0, pte(dom0.b, 0x03));
    dom0.read_only(dom0.a);
    assert_eq!(dom0.set(entry, pte(dom0.a, 0x03)), OK);
    let slots = [entry, at(dom0.a, 0)];
    (dom0, slots, address)
}

#[test]
fn an_access_marks_the_entries_it_goes_through() {
    let (dom0, [l2, l1], address) = untouched();
    let flags = |dom0: &Dom0| [l2, l1].map(|slot| dom0.read(slot) & 0x60);
    assert_eq!(flags(&dom0), [0, 0]);
    assert_eq!(dom0.xen.load(CPU, va(address)), Ok(0));
    assert_eq!(flags(&dom0), [0x20, 0x20], "a load");
    assert_eq!(dom0.xen.store(CPU, va(address), 1), Ok(()));
    assert_eq!(flags(&dom0), [0x20, 0x60], "a store");
    assert_eq!(dom0.read(at(dom0.b, 0)), 1);
}

#[test]
fn a_refused_access_marks_the_entries_above() {
    let (dom0, [l2, l1], address) = untouched();
    let absent = va(address + 0x1000);
    assert_eq!(dom0.xen.load(CPU, absent), Err(fault(absent, 0)));
    assert_eq!((dom0.read(l2) & 0x60, dom0.read(l1) & 0x60), (0x20, 0));
}

#[test]
fn arguments_are_accesses_too_and_a_lookup_for_an_update_marks_two_levels() {
    let (dom0, [l2, l1], address) = untouched();
    let l3 = dom0.slot_at(address, Level::L3);
    assert_eq!(dom0.set(l3, dom0.read(l3) & !0x60), OK);
    assert_eq!(dom0.uvm(address + 0x1000, 0, 0), OK);
    assert_eq!((dom0.read(l3) & 0x60, dom0.read(l2) & 0x60), (0x20, 0), "update_va_mapping");
    let call = (hypercall::abi::HYPERCALL_MMU_UPDATE, [address, 1, address + 64, 0x7ff0, 0]);
    assert_eq!(dom0.call(call).value, EINVAL);
    assert_eq!((dom0.read(l2) & 0x60, dom0.read(l1) & 0x60), (0x20, 0x60), "an array and its done count");
}
