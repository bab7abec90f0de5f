//! The mock itself: what a test or a tool holds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crossbeam::utils::CachePadded;
use hypercall::{ENTRIES_PER_TABLE, Errno, Level, Mfn, Operation, PAGE_SHIFT, Pte, PteSlot, RawCall, VcpuId, VirtAddr};
use parking_lot::{Mutex, MutexGuard};

use crate::frames::{Frame, FrameView, Layout};
use crate::machine::Machine;
use crate::memory::{Access, GuestMemory, HostMemory, Lent, Processor, Translated};
use crate::not_modelled::{NotModelled, NotModelledEvent};
use crate::running::Running;
use crate::schedule::Schedule;
use crate::tlb::TlbEntry;
use crate::validate::Replaced;
use crate::vcpu::{MockVcpu, Vcpu, VcpuState};
use crate::walker::Walker;
use crate::witness::Witness;

/// Xen 4.17 as one PV guest sees it, with the guest's memory.
///
/// Built by [`GuestBuilder`](crate::GuestBuilder). Everything goes through `&self`: threads that play different vCPUs
/// may use it at once.
///
/// # Panics
/// Every method that takes a [`VcpuId`] panics for a vCPU the guest does not have, and those that
/// let it do something for one that is not up.
///
/// ```
/// use hypercall::{Errno, Hypervisor, MmuUpdate, Pte, Subject, VcpuId, VirtAddr};
/// use mock_xen::{Step, testing::TestGuest, referee::Profile};
///
/// let (guest, vcpu) = (TestGuest::new(Profile::Strict), VcpuId::new(0));
/// let xen = guest.xen();
/// let updates = [guest.pte(0), guest.refused_pte(), guest.pte(2)];
/// let updates: Vec<_> = (0..3).map(|n| MmuUpdate::new(guest.slot(n), updates[n])).collect();
///
/// // An array stops where Xen stops, and says how far it came; an event that interrupts it changes nothing of that.
/// xen.set_schedule(vcpu, Step);
/// let outcome = xen.vcpu(vcpu).mmu_update(&updates, Subject::SELF);
/// assert_eq!((outcome.done, outcome.result), (1, Err(Errno::BUSY)));
/// assert_eq!(xen.read_entry(guest.slot(2)), Some(Pte::EMPTY));
/// ```
pub struct MockXen {
    pub(crate) machine: Machine,
    vcpus: Vec<CachePadded<Vcpu>>,
    not_modelled: Mutex<Vec<NotModelledEvent>>,
    witness: Option<Arc<dyn Witness>>,
    spare: Mutex<Vec<Mfn>>,
    direct_map: VirtAddr,
    pub(crate) walker: Mutex<Option<Box<dyn Walker>>>,
}

impl fmt::Debug for MockXen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockXen").field("vcpus", &self.vcpus.len()).finish_non_exhaustive()
    }
}

/// What a [`GuestBuilder`](crate::GuestBuilder) hands over.
pub(crate) struct Parts {
    pub(crate) machine: Machine,
    /// The first base pointer of each vCPU that has one, not yet referenced.
    pub(crate) bases: Vec<Option<Mfn>>,
    pub(crate) witness: Option<Arc<dyn Witness>>,
    pub(crate) spare: Vec<Mfn>,
    pub(crate) direct_map: VirtAddr,
}

/// How a vCPU comes out of Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The call has its answer.
    Answered(i64),
    /// The call is to be entered again with the arguments it has now. A guest's event handler runs
    /// first, and may do anything a guest may.
    Interrupted,
}

impl MockXen {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { machine, bases, witness, spare, direct_map } = parts;
        let state = |base: Option<Mfn>| base.map_or(VcpuState::OFF, VcpuState::running_on);
        let vcpus = bases.into_iter().map(|base| CachePadded::new(Vcpu::new(state(base)))).collect();
        let (not_modelled, spare) = (Mutex::default(), Mutex::new(spare));
        Self { machine, vcpus, not_modelled, witness, spare, direct_map, walker: Mutex::default() }
    }

    /// The typed way to call as `vcpu`.
    #[must_use]
    pub fn vcpu(&self, vcpu: VcpuId) -> MockVcpu<'_> {
        let _exists = self.vcpu_state(vcpu);
        MockVcpu::new(self, vcpu)
    }

    /// A hypercall as raw words, issued by `vcpu` in kernel mode: `call` holds number and argument
    /// registers, pointers among them are virtual addresses under the vCPU's base pointer. Answers
    /// with what `rax` holds afterwards; the argument registers are left as Xen leaves them.
    ///
    /// Where the vCPU's [`Schedule`] interrupts it, it is entered again at once.
    pub fn hypercall(&self, vcpu: VcpuId, call: &mut RawCall) -> i64 {
        let mut memory = GuestMemory::new(&self.machine, vcpu, self.vcpu_state(vcpu));
        self.within_hypercall(vcpu, |running| self.run(vcpu, running, call, &mut memory))
    }

    /// As [`MockXen::hypercall`], with pointers that lead into `memory`.
    pub fn hypercall_from(&self, vcpu: VcpuId, call: &mut RawCall, memory: &mut impl HostMemory) -> i64 {
        self.within_hypercall(vcpu, |running| self.run(vcpu, running, call, &mut Lent(memory)))
    }

    /// One pass of a hypercall: what happens between two executions of the guest's `syscall`
    /// instruction.
    pub fn enter(&self, vcpu: VcpuId, call: &mut RawCall) -> Left {
        let mut memory = GuestMemory::new(&self.machine, vcpu, self.vcpu_state(vcpu));
        self.within_hypercall(vcpu, |running| self.run_once(vcpu, running, call, &mut memory))
    }

    /// From now on `schedule` decides when an event interrupts `vcpu`'s hypercalls.
    pub fn set_schedule(&self, vcpu: VcpuId, schedule: impl Schedule + 'static) {
        self.vcpu_slot(vcpu).running.lock().follow(Some(Box::new(schedule)));
    }

    /// From now on nothing interrupts `vcpu`'s hypercalls, as when the guest was built.
    pub fn clear_schedule(&self, vcpu: VcpuId) {
        self.vcpu_slot(vcpu).running.lock().follow(None);
    }

    /// The translations that `vcpu`'s processor keeps, by the address of the page.
    #[must_use]
    pub fn tlb(&self, vcpu: VcpuId) -> BTreeMap<VirtAddr, TlbEntry> {
        let _exists = self.vcpu_slot(vcpu);
        self.machine.tlbs.entries(vcpu)
    }

    /// Where Xen's own memory and the devices lie.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.machine.frames.layout
    }

    /// The number of vCPUs.
    #[must_use]
    pub const fn vcpu_count(&self) -> u32 {
        self.vcpus.len() as u32
    }

    /// What `vcpu` has loaded.
    #[must_use]
    pub fn processor(&self, vcpu: VcpuId) -> VcpuState {
        self.vcpu_state(vcpu).lock().clone()
    }

    /// Owner, type and counts of a frame; `None` where there is no memory.
    #[must_use]
    pub fn frame(&self, mfn: Mfn) -> Option<FrameView> {
        self.machine.frames.view(mfn)
    }

    /// The entry, or any other word of the guest's memory, at `slot`.
    #[must_use]
    pub fn read_entry(&self, slot: PteSlot) -> Option<Pte> {
        Some(Pte::from_bits(self.machine.frames.guest(slot.table())?.load(slot.index())))
    }

    /// Everything in a frame of the guest.
    #[must_use]
    pub fn table_entries(&self, mfn: Mfn) -> Option<Box<[u64; ENTRIES_PER_TABLE]>> {
        Some(self.machine.frames.guest(mfn)?.contents())
    }

    /// The machine-to-physical word of a frame; `None` where there is no memory.
    #[must_use]
    pub fn read_m2p(&self, mfn: Mfn) -> Option<u64> {
        self.machine.frames.m2p(mfn)
    }

    /// Every table in use with its entries, by frame number: for comparing end states.
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Mfn, Box<[u64; ENTRIES_PER_TABLE]>> {
        let _stopped = self.machine.stopped();
        let in_use = |frame: &&Frame| frame.state.lock().table().is_some();
        self.machine.frames.iter().filter(in_use).map(|frame| (frame.mfn, frame.contents())).collect()
    }

    /// Where the direct map has a frame of the guest.
    #[must_use]
    pub fn direct_map(&self, mfn: Mfn) -> Option<VirtAddr> {
        let pfn = self.machine.frames.guest(mfn)?.pfn?;
        Some(VirtAddr::unchecked(self.direct_map.value() + (pfn.number() << PAGE_SHIFT)))
    }

    /// The entry of `level` by which `vcpu`'s kernel base pointer translates `address` now; `None`
    /// where an entry above it is absent.
    #[must_use]
    pub fn slot_of(&self, vcpu: VcpuId, address: VirtAddr, level: Level) -> Option<PteSlot> {
        let base = self.vcpu_state(vcpu).lock().base;
        let (table, index) = self.machine.frames.walk(base, address.value(), level)?;
        Some(PteSlot::of(table.mfn, index))
    }

    /// One of the frames set apart by [`GuestBuilder::spare`](crate::GuestBuilder::spare), each handed out once.
    #[must_use]
    pub fn alloc_frame(&self) -> Option<Mfn> {
        self.spare.lock().pop()
    }

    /// What was asked for and is not modelled, oldest first.
    #[must_use]
    pub fn not_modelled(&self) -> Vec<NotModelledEvent> {
        self.not_modelled.lock().clone()
    }

    pub(crate) fn spare_frames(&self) -> MutexGuard<'_, Vec<Mfn>> {
        self.spare.lock()
    }

    pub(crate) fn forget_not_modelled(&self) {
        self.not_modelled.lock().clear();
    }

    pub(crate) fn note_not_modelled(&self, what: NotModelled, call: RawCall, vcpu: VcpuId) {
        self.not_modelled.lock().push(NotModelledEvent { what, call, vcpu });
    }

    pub(crate) fn vcpu_slot(&self, vcpu: VcpuId) -> &Vcpu {
        let index = vcpu.number() as usize;
        assert!(index < self.vcpus.len(), "the guest has {} vCPUs and no {vcpu}", self.vcpus.len());
        &self.vcpus[index]
    }

    pub(crate) fn vcpu_state(&self, vcpu: VcpuId) -> &Mutex<VcpuState> {
        &self.vcpu_slot(vcpu).state
    }

    pub(crate) fn all_vcpus(&self) -> impl Iterator<Item = &Vcpu> {
        self.vcpus.iter().map(|vcpu| &**vcpu)
    }

    /// The base pointer that `vcpu` runs on.
    pub(crate) fn base_of(&self, vcpu: VcpuId) -> Mfn {
        let state = self.vcpu_state(vcpu).lock();
        assert!(state.up, "{vcpu} is not up: initialise it and bring it up first");
        state.base
    }

    pub(crate) const fn has_witness(&self) -> bool {
        self.witness.is_some()
    }

    pub(crate) fn tell(
        &self,
        vcpu: VcpuId,
        operation: impl FnOnce() -> Option<Operation>,
        result: Option<Result<(), Errno>>,
    ) {
        if let Some(witness) = &self.witness
            && let Some(operation) = operation()
        {
            witness.arrived(vcpu, &operation, result);
        }
    }

    /// Tells the witness what an update of an L1 entry has replaced.
    pub(crate) fn tell_replaced(&self, vcpu: VcpuId, slot: PteSlot, replaced: Replaced) {
        if let Some(witness) = &self.witness {
            witness.replaced(vcpu, slot, replaced.old, replaced.new);
        }
    }

    /// Tells the witness what a processor's access was, beyond what it was for.
    pub(crate) fn tell_use(&self, processor: Processor, address: VirtAddr, access: Access, found: Translated) {
        let Some(witness) = &self.witness else { return };
        if let Some((slot, flags)) = found.noted {
            witness.noted(processor.vcpu, slot, flags);
        }
        let is_store = access == Access::Write;
        if !self.machine.still_leads(processor.base, address.value(), found.frame, is_store) {
            witness.used_stale(processor.vcpu, address, found.frame, is_store);
        }
    }

    pub(crate) fn within_hypercall<T>(&self, vcpu: VcpuId, body: impl FnOnce(&mut Running) -> T) -> T {
        let _runs_on = self.base_of(vcpu);
        if let Some(witness) = &self.witness {
            witness.hypercall_begins(vcpu);
        }
        self.moment();
        let value = body(&mut self.vcpu_slot(vcpu).running.lock());
        self.moment();
        if let Some(witness) = &self.witness {
            witness.hypercall_ends(vcpu);
        }
        value
    }

    /// Stores a word while the guest is built, when nothing is validated yet.
    pub(crate) fn preset(&self, mfn: Mfn, index: usize, word: u64) {
        if let Some(frame) = self.machine.frames.guest(mfn) {
            frame.store(index, word);
        }
    }
}
