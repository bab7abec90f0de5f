//! Translations that processors keep.
//!
//! A vCPU's TLB is the worst there could be: a translation once used stays until it is flushed,
//! whatever becomes of the entries it was read from. That is within what the architecture allows, so a
//! guest that works here has all the flushes it needs; one that lacks one may still work on a
//! processor that forgets. Translations that are not there are not kept, and one that lacks a
//! right which an access needs is looked up again, as processors do.
//!
//! Xen flushes by itself only where its own safety needs it: when an entry of an upper level has
//! changed, when a base pointer is loaded, and when a frame changes its type, on those processors
//! that have not flushed since the frame was last in use. For the latter there is a clock that
//! ticks with every flush of a whole TLB.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use hypercall::{FlushScope, Mfn, PAGE_SHIFT, PAGE_SIZE, VcpuId, VirtAddr};
use parking_lot::Mutex;

/// A translation that a processor keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TlbEntry {
    /// The frame.
    pub frame: Mfn,
    /// Whether the page may be written through it.
    pub writable: bool,
    /// Whether the entry it was read from is known to be marked as dirty.
    pub dirty: bool,
}

/// One processor's.
#[derive(Debug)]
pub(crate) struct Tlb {
    /// By page number.
    entries: BTreeMap<u64, TlbEntry>,
    /// When it was last flushed as a whole.
    flushed: u64,
}

impl Tlb {
    /// The translation of the page `address` lies in.
    pub(crate) fn get(&self, address: u64) -> Option<TlbEntry> {
        self.entries.get(&(address >> PAGE_SHIFT)).copied()
    }

    /// Keeps a translation.
    pub(crate) fn keep(&mut self, address: u64, entry: TlbEntry) {
        self.entries.insert(address >> PAGE_SHIFT, entry);
    }
}

/// All processors'.
#[derive(Debug)]
pub(crate) struct Tlbs {
    /// Ticks with every flush.
    clock: AtomicU64,
    vcpus: Vec<CachePadded<Mutex<Tlb>>>,
}

impl Tlbs {
    /// Empty ones.
    pub(crate) fn new(vcpus: u32) -> Self {
        let empty = || CachePadded::new(Mutex::new(Tlb { entries: BTreeMap::new(), flushed: 1 }));
        Self { clock: AtomicU64::new(1), vcpus: (0..vcpus).map(|_| empty()).collect() }
    }

    /// The time.
    pub(crate) fn now(&self) -> u64 {
        self.clock.load(Ordering::SeqCst)
    }

    /// One processor's.
    pub(crate) fn of(&self, vcpu: VcpuId) -> &Mutex<Tlb> {
        &self.vcpus[vcpu.number() as usize]
    }

    /// Flushes whole TLBs; `by` is who asks.
    pub(crate) fn flush(&self, by: VcpuId, scope: FlushScope) {
        self.each(by, scope, |tlb| self.empty(tlb));
    }

    /// Flushes whole TLBs everywhere.
    pub(crate) fn flush_everywhere(&self) {
        self.flush(VcpuId::new(0), FlushScope::All);
    }

    /// Drops the translation of one page.
    pub(crate) fn invalidate(&self, by: VcpuId, scope: FlushScope, address: VirtAddr) {
        self.each(by, scope, |tlb| _ = tlb.entries.remove(&(address.value() >> PAGE_SHIFT)));
    }

    /// Flushes where that has not happened since `unused`, when the frame that is to become
    /// something else was last in use.
    pub(crate) fn flush_stale(&self, unused: u64) {
        for tlb in &self.vcpus {
            let mut tlb = tlb.lock();
            if tlb.flushed <= unused {
                self.empty(&mut tlb);
            }
        }
    }

    /// The translations a processor keeps, by address.
    pub(crate) fn entries(&self, vcpu: VcpuId) -> BTreeMap<VirtAddr, TlbEntry> {
        let address = |page: u64| VirtAddr::unchecked(page * PAGE_SIZE);
        self.of(vcpu).lock().entries.iter().map(|(page, entry)| (address(*page), *entry)).collect()
    }

    /// When a processor that keeps translations was last flushed as a whole; `None` for one that keeps none.
    pub(crate) fn cached(&self, vcpu: VcpuId) -> Option<u64> {
        let tlb = self.of(vcpu).lock();
        (!tlb.entries.is_empty()).then_some(tlb.flushed)
    }

    /// Drops every translation, without a tick of the clock.
    pub(crate) fn forget(&self) {
        self.vcpus.iter().for_each(|tlb| tlb.lock().entries.clear());
    }

    /// Feeds every translation.
    pub(crate) fn digest(&self, hasher: &mut impl Hasher) {
        self.vcpus.iter().for_each(|tlb| tlb.lock().entries.hash(hasher));
    }

    fn empty(&self, tlb: &mut Tlb) {
        tlb.flushed = self.clock.fetch_add(1, Ordering::SeqCst) + 1;
        tlb.entries.clear();
    }

    fn each(&self, by: VcpuId, scope: FlushScope, act: impl Fn(&mut Tlb)) {
        match scope {
            FlushScope::Local => act(&mut self.of(by).lock()),
            FlushScope::All => self.vcpus.iter().for_each(|tlb| act(&mut tlb.lock())),
            FlushScope::Vcpus(vcpus) => vcpus.iter().for_each(|vcpu| act(&mut self.of(vcpu).lock())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: TlbEntry = TlbEntry { frame: Mfn::new(7), writable: true, dirty: false };

    #[test]
    fn a_type_change_flushes_who_has_not_flushed_since() {
        let tlbs = Tlbs::new(2);
        let [a, b] = [0, 1].map(VcpuId::new);
        for vcpu in [a, b] {
            tlbs.of(vcpu).lock().keep(0x5000, ENTRY);
        }
        let unused = tlbs.now();
        tlbs.flush(a, FlushScope::Local);
        tlbs.of(a).lock().keep(0x6000, ENTRY);
        tlbs.flush_stale(unused);
        assert_eq!((tlbs.entries(a).len(), tlbs.entries(b).len()), (1, 0));
        tlbs.invalidate(b, FlushScope::All, VirtAddr::unchecked(0x6fff));
        assert_eq!(tlbs.entries(a).len(), 0);
    }
}
