//! Processors that use pages in the middle of hypercalls.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hypercall::{Hypervisor, MmuUpdate, PteSlot, Subject, VcpuId, VirtAddr};
use mock_xen::{MockXen, SeededWalker};

use crate::dom0::{CPU, Dom0, OK, PRESERVE_AD, SELF, at, pte};

const OTHER: VcpuId = VcpuId::new(1);
const DIRTY: u64 = 0x40;

/// The window page maps A, and nobody has used it.
fn mapped() -> (Dom0, VirtAddr) {
    let dom0 = Dom0::new();
    let window = VirtAddr::unchecked(dom0.va(dom0.w));
    assert_eq!(dom0.uvm(window.value(), pte(dom0.a, 0x03), 2), OK);
    (dom0, window)
}

#[test]
fn a_store_in_front_of_an_update_is_kept_by_a_preserving_one_only() {
    for (command, kept) in [(0, 0), (PRESERVE_AD, DIRTY)] {
        let (dom0, window) = mapped();
        let moments = Arc::new(AtomicU64::new(0));
        let count = moments.clone();
        dom0.xen.set_walker(move |xen: &MockXen| {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = xen.store(OTHER, window, 7);
        });
        let slot = dom0.xen.slot_of(CPU, window, hypercall::Level::L1).expect("the window is mapped");
        let update = MmuUpdate { slot: PteSlot::from_bits(slot.bits() | command), value: 0 };
        assert_eq!(dom0.xen.vcpu(CPU).mmu_update(&[update], Subject::SELF).result, Ok(()));
        assert_eq!(dom0.xen.read_entry(slot).expect("the guest's own").bits() & DIRTY, kept);
        assert_eq!(moments.load(Ordering::SeqCst), 3, "its beginning, its one operation, its end");
        assert_eq!(dom0.read(at(dom0.a, 0)), 7);
    }
}

#[test]
fn a_translation_that_is_kept_stores_on_until_it_is_flushed() {
    let (dom0, window) = mapped();
    assert_eq!(dom0.xen.store(OTHER, window, 1), Ok(()));
    assert_eq!(dom0.uvm(window.value(), 0, 0), OK);
    assert_eq!(dom0.xen.store(OTHER, window, 2), Ok(()), "nobody has flushed");
    assert_eq!(dom0.mx_as(11, window.value(), 0, SELF), OK);
    assert!(dom0.xen.store(OTHER, window, 3).is_err());
    assert_eq!(dom0.read(at(dom0.a, 0)), 2);
}

#[test]
fn a_seed_fixes_what_is_used_and_when() {
    let trace = |seed| {
        let (dom0, window) = mapped();
        dom0.xen.set_walker(SeededWalker::new(seed, OTHER, vec![window]));
        let stores = |_| {
            dom0.xen.moment();
            dom0.read(at(dom0.a, 0))
        };
        (0..64).map(stores).collect::<Vec<_>>()
    };
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5), trace(6));
}
