//! Translations that outlive their entries, and what ends them.

use hypercall::{Level, PAGE_SIZE, PteSlot, VcpuId, VirtAddr};

use crate::dom0::{CPU, Dom0, EBUSY, NEW_BASEPTR, OK, PIN_L1, SELF, UNPIN, at, pte};

const OTHER: VcpuId = VcpuId::new(1);
const TLB_FLUSH_LOCAL: u64 = 6;
const INVLPG_LOCAL: u64 = 7;
const TLB_FLUSH_MULTI: u64 = 8;
const INVLPG_MULTI: u64 = 9;
const TLB_FLUSH_ALL: u64 = 10;
const INVLPG_ALL: u64 = 11;
/// Flags of `update_va_mapping`.
const FLUSH: u64 = 1;
const INVLPG: u64 = 2;
const ALL: u64 = 4;

/// The window page has been A's and now is B's, and both vCPUs still have it as A's.
fn stale() -> Dom0 {
    let dom0 = Dom0::new();
    for (page, word) in [(dom0.a, 0xa), (dom0.b, 0xb)] {
        dom0.put(page, 0, word);
    }
    assert_eq!(dom0.uvm(dom0.va(dom0.w), pte(dom0.a, 0x63), 0), OK);
    assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), (0xa, 0xa));
    assert_eq!(dom0.uvm(dom0.va(dom0.w), pte(dom0.b, 0x63), 0), OK);
    dom0
}

fn seen(dom0: &Dom0, vcpu: VcpuId) -> u64 {
    dom0.xen.load(vcpu, VirtAddr::unchecked(dom0.va(dom0.w))).expect("the window maps something")
}

#[test]
fn an_update_of_an_l1_flushes_nothing() {
    let dom0 = stale();
    assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), (0xa, 0xa));
    assert_eq!(dom0.xen.store(CPU, VirtAddr::unchecked(dom0.va(dom0.w)), 0xc), Ok(()));
    assert_eq!((dom0.read(at(dom0.a, 0)), dom0.read(at(dom0.b, 0))), (0xc, 0xb), "a store goes where a load would");
    let kept = dom0.xen.tlb(CPU)[&VirtAddr::unchecked(dom0.va(dom0.w))];
    assert_eq!((kept.frame, kept.writable, kept.dirty), (dom0.a, true, true));
    dom0.audit();
}

#[test]
fn case_091_092_flushes_reach_whom_they_name() {
    let both = (0xb, 0xb);
    for (command, arg1, mask, after) in [
        (TLB_FLUSH_LOCAL, 0, 0, (0xb, 0xa)),
        (TLB_FLUSH_ALL, 0, 0, both),
        (TLB_FLUSH_MULTI, 0, 2, (0xa, 0xb)),
        (TLB_FLUSH_MULTI, 0, 3, both),
        (INVLPG_LOCAL, 0, 0, (0xb, 0xa)),
        (INVLPG_ALL, 0, 0, both),
        (INVLPG_ALL, PAGE_SIZE, 0, (0xa, 0xa)),
        (INVLPG_MULTI, 0, 2, (0xa, 0xb)),
    ] {
        let dom0 = stale();
        dom0.put(dom0.c, 0, mask);
        assert_eq!(dom0.mx_as(command, dom0.va(dom0.w) + arg1, dom0.va(dom0.c), SELF), OK);
        assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), after, "command {command}, {arg1:#x}, {mask}");
    }
}

#[test]
fn case_137_the_flushes_of_update_va_mapping() {
    for (flags, after) in [
        (0, (0xa, 0xa)),
        (3, (0xa, 0xa)),
        (FLUSH, (0xb, 0xa)),
        (INVLPG, (0xb, 0xa)),
        (FLUSH | ALL, (0xb, 0xb)),
        (INVLPG | ALL, (0xb, 0xb)),
    ] {
        let dom0 = stale();
        assert_eq!(dom0.uvm(dom0.va(dom0.w), pte(dom0.b, 0x63), flags), OK);
        assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), after, "flags {flags}");
    }
}

#[test]
fn an_update_of_an_upper_level_flushes_everybody_once_at_its_end() {
    let dom0 = stale();
    assert_eq!(dom0.set(dom0.p(300), 0), OK, "even one that changes nothing");
    assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), (0xb, 0xb));
    let dom0 = stale();
    assert_ne!(dom0.set(dom0.p(300), pte(dom0.root(), 0x63)), OK);
    assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), (0xa, 0xa), "a refused one flushes nothing");
}

#[test]
fn a_base_pointer_flushes_its_vcpu_even_if_it_is_the_same() {
    let dom0 = stale();
    assert_eq!(dom0.mx(NEW_BASEPTR, dom0.root().number()), OK);
    assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), (0xb, 0xa));
}

#[test]
fn a_frame_that_becomes_a_table_is_flushed_where_it_could_be_written() {
    let dom0 = Dom0::new();
    let page = VirtAddr::unchecked(dom0.va(dom0.a));
    for vcpu in [CPU, OTHER] {
        assert_eq!(dom0.xen.store(vcpu, page, pte(dom0.b, 0x61)), Ok(()));
    }
    dom0.read_only(dom0.a);
    assert_eq!(dom0.xen.store(OTHER, page, pte(dom0.c, 0x61)), Ok(()), "nobody has flushed yet");
    assert_eq!(dom0.mx(PIN_L1, dom0.a.number()), OK);
    dom0.audit();
    let second = VirtAddr::unchecked(page.value() + 8);
    assert!(dom0.xen.store(OTHER, second, pte(dom0.root(), 0x63)).is_err(), "now Xen looks at it");
    assert_eq!(dom0.mx(UNPIN, dom0.a.number()), OK);
    assert_eq!(dom0.writable(dom0.a), OK);
    assert_eq!(dom0.xen.store(CPU, second, 1), Ok(()), "a right that was lacking is looked up again");
}

#[test]
fn a_flush_since_the_last_use_spares_the_next_one() {
    let dom0 = stale();
    assert_eq!(dom0.xen.store(OTHER, VirtAddr::unchecked(dom0.va(dom0.d)), 1), Ok(()));
    dom0.read_only(dom0.d);
    assert_eq!(dom0.mx(TLB_FLUSH_LOCAL, 0), OK);
    assert_eq!(seen(&dom0, CPU), 0xb);
    assert_eq!(dom0.uvm(dom0.va(dom0.w), pte(dom0.c, 0x63), 0), OK);
    assert_eq!(dom0.mx(PIN_L1, dom0.d.number()), OK);
    assert_eq!((seen(&dom0, CPU), seen(&dom0, OTHER)), (0xb, 0), "the other vCPU was flushed for D, this one not");
    dom0.audit();
}

#[test]
fn arguments_are_read_through_the_tlb() {
    let dom0 = stale();
    let array = dom0.va(dom0.w);
    for (page, value) in [(dom0.a, 1), (dom0.b, 2)] {
        dom0.put(page, 0, at(dom0.c, 0));
        dom0.put(page, 1, value);
    }
    let call = (hypercall::abi::HYPERCALL_MMU_UPDATE, [array, 1, 0, SELF, 0]);
    assert_eq!((dom0.call(call).value, dom0.read(at(dom0.c, 0))), (OK, 1), "A's words");
    assert_eq!(dom0.mx(INVLPG_LOCAL, array), OK);
    assert_eq!((dom0.call(call).value, dom0.read(at(dom0.c, 0))), (OK, 2), "B's words");
}

#[test]
fn a_table_that_is_removed_is_gone_for_everybody() {
    let dom0 = Dom0::new();
    let (entry, address) = dom0.free_l2();
    dom0.put(dom0.a, 0, pte(dom0.b, 0x63));
    dom0.read_only(dom0.a);
    assert_eq!(dom0.set(entry, pte(dom0.a, 0x67)), OK);
    let page = VirtAddr::unchecked(address);
    assert_eq!((dom0.xen.load(CPU, page), dom0.xen.load(OTHER, page)), (Ok(0), Ok(0)));
    assert_eq!(dom0.set(entry, 0), OK);
    assert!(dom0.xen.load(CPU, page).is_err() && dom0.xen.load(OTHER, page).is_err());
    let table = PteSlot::from_bits(dom0.slot_at(dom0.va(dom0.a), Level::L1)).table();
    assert_eq!(dom0.map(table, 0x63), EBUSY);
    dom0.audit();
}
