//! Laying out a guest: its frames, its page tables, what its vCPUs run on.
//!
//! Declarations may come in any order, except that [`GuestBuilder::new_frame`] and
//! [`GuestBuilder::spare`] take numbers above those declared so far; they are checked by
//! [`GuestBuilder::build`]. The guest is then put together as a guest does it: contents are
//! stored, tables pinned and base pointers loaded, under Xen's own rules.

mod direct_map;
mod error;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hypercall::{DomId, Level, Mfn, Pfn, VcpuId, VcpuMask, VirtAddr};

use crate::MockXen;
use crate::domain::{Domain, FrameOwner};
use crate::frames::{Frame, Frames, Layout};
use crate::machine::Machine;
use crate::mock::Parts;
#[cfg(feature = "planted")]
use crate::planted::Fault;
use crate::planted::Planted;
use crate::running::Running;
use crate::tlb::Tlbs;
use crate::validate::Stop;
use crate::witness::Witness;
use direct_map::DirectMap;
pub use error::BuildError;
use memory::Memory;

/// Where the direct map starts unless [`GuestBuilder::direct_map_at`] says otherwise: where Linux
/// has it.
const DIRECT_MAP: VirtAddr = VirtAddr::unchecked(0xffff_8880_0000_0000);

/// Collects what a guest is to be.
///
/// ```
/// use hypercall::{Level, Mfn, Pfn, PteFlags, VcpuId};
/// use mock_xen::GuestBuilder;
///
/// let mut builder = GuestBuilder::new(2);
/// builder.ram(Pfn::new(0), Mfn::new(0x100));
/// let (table, page) = (builder.new_frame(), builder.new_frame());
/// builder.table(table, Level::L1).word(table, 0, page.number() << 12 | PteFlags::PRESENT.bits()).pin(table);
///
/// let xen = builder.build().unwrap();
/// assert!(xen.table_entries(table).is_some_and(|words| words[0] != 0));
/// assert!(xen.direct_map(page).is_some(), "and the kernel has its pages mapped");
/// assert!(xen.audit().is_ok(), "references are counted as Xen counts them");
/// ```
pub struct GuestBuilder {
    vcpus: u32,
    memory: Memory,
    tables: BTreeMap<Mfn, Level>,
    words: Vec<(Mfn, usize, u64)>,
    pins: Vec<Mfn>,
    bases: BTreeMap<VcpuId, Mfn>,
    user_bases: BTreeMap<VcpuId, Mfn>,
    direct_map: VirtAddr,
    offline: BTreeSet<VcpuId>,
    unprivileged: Option<DomId>,
    spare: Vec<Mfn>,
    witness: Option<Arc<dyn Witness>>,
    planted: Planted,
}

impl std::fmt::Debug for GuestBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GuestBuilder").field("vcpus", &self.vcpus).field("tables", &self.tables).finish_non_exhaustive()
    }
}

impl GuestBuilder {
    /// A guest of `vcpus` vCPUs, 1 to 128, with no memory yet.
    #[must_use]
    pub fn new(vcpus: u32) -> Self {
        Self {
            vcpus,
            memory: Memory::default(),
            tables: BTreeMap::new(),
            words: Vec::new(),
            pins: Vec::new(),
            bases: BTreeMap::new(),
            user_bases: BTreeMap::new(),
            direct_map: DIRECT_MAP,
            offline: BTreeSet::new(),
            unprivileged: None,
            spare: Vec::new(),
            witness: None,
            planted: Planted::default(),
        }
    }

    /// A frame of memory, which the guest counts as `pfn`. Its machine-to-physical word says so.
    pub fn ram(&mut self, pfn: Pfn, mfn: Mfn) -> &mut Self {
        self.memory.declare(pfn, mfn);
        self
    }

    /// `count` frames of memory with consecutive numbers from `pfn` and `mfn` on.
    pub fn ram_range(&mut self, pfn: Pfn, mfn: Mfn, count: u64) -> &mut Self {
        (0..count).for_each(|n| self.memory.declare(Pfn::new(pfn.number() + n), Mfn::new(mfn.number() + n)));
        self
    }

    /// One more frame of memory, with numbers above all declared so far.
    pub fn new_frame(&mut self) -> Mfn {
        self.memory.add_frame()
    }

    /// `count` more frames of memory, to be handed out by [`MockXen::alloc_frame`], lowest first.
    pub fn spare(&mut self, count: usize) -> &mut Self {
        let frames: Vec<_> = (0..count).map(|_| self.new_frame()).collect();
        self.spare.splice(0..0, frames.into_iter().rev());
        self
    }

    /// The frame `mfn` is a table of `level`: the direct map has it read-only. It is in use once it
    /// is pinned, loaded, or reached from a table in use.
    pub fn table(&mut self, mfn: Mfn, level: Level) -> &mut Self {
        self.tables.insert(mfn, level);
        self
    }

    /// The first contents of word `index` of a frame; later calls for one word win. Entries of
    /// tables in use get the flags that Xen gives them.
    pub fn word(&mut self, mfn: Mfn, index: usize, word: u64) -> &mut Self {
        self.words.push((mfn, index, word));
        self
    }

    /// The declared table `mfn` is pinned at its level.
    pub fn pin(&mut self, mfn: Mfn) -> &mut Self {
        self.pins.push(mfn);
        self
    }

    /// `vcpu` runs on the declared L4 `mfn`, whose empty entries are linked to the direct map. A
    /// vCPU for which this is not said runs on an L4 of the mock's own, which is pinned.
    pub fn base_pointer(&mut self, vcpu: VcpuId, mfn: Mfn) -> &mut Self {
        self.bases.insert(vcpu, mfn);
        self
    }

    /// `vcpu` has the declared L4 `mfn` as its user-mode base pointer.
    pub fn user_base_pointer(&mut self, vcpu: VcpuId, mfn: Mfn) -> &mut Self {
        self.user_bases.insert(vcpu, mfn);
        self
    }

    /// `vcpu` is not up: it has no base pointer until another vCPU initialises it.
    pub fn offline(&mut self, vcpu: VcpuId) -> &mut Self {
        self.offline.insert(vcpu);
        self
    }

    /// The guest is no hardware domain but an unprivileged one with the number `domain`: it may not
    /// map I/O frames or choose cache attributes, and stores to its L1 tables are emulated only if it
    /// asks for that.
    ///
    /// These rules are *unproved*: they follow from Xen's source, and no measurement stands behind
    /// them. On processors that are vulnerable to L1TF Xen crashes such a guest for certain absent
    /// entries, which is not modelled.
    pub fn unprivileged(&mut self, domain: DomId) -> &mut Self {
        self.unprivileged = Some(domain);
        self
    }

    /// One of Xen's rules is wrong, as soon as the guest is built.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, fault: Fault) -> &mut Self {
        self.planted.fault = Some(fault);
        self
    }

    /// The address of frame 0 in the direct map.
    pub fn direct_map_at(&mut self, address: VirtAddr) -> &mut Self {
        self.direct_map = address;
        self
    }

    /// Who is told what arrives.
    pub fn witness(&mut self, witness: Arc<dyn Witness>) -> &mut Self {
        self.witness = Some(witness);
        self
    }

    /// Puts the guest together.
    ///
    /// # Errors
    /// The first contradiction found.
    pub fn build(mut self) -> Result<MockXen, BuildError> {
        self.check_vcpus()?;
        let own_roots: Vec<Mfn> = self.own_root().into_iter().chain(self.bases.values().copied()).collect();
        self.memory.check()?;
        let map = DirectMap::plan(self.direct_map, &mut self.memory).ok_or(BuildError::DirectMap(self.direct_map))?;
        self.memory.check()?;
        self.tables.extend(map.tables());
        let mut xen = self.machine();
        self.check_uses(&xen)?;
        self.fill(&xen, &map, &own_roots);
        self.put_in_use(&xen)?;
        xen.machine.planted = self.planted;
        Ok(xen)
    }

    fn check_vcpus(&self) -> Result<(), BuildError> {
        if !(1..=VcpuMask::CAPACITY).contains(&self.vcpus) {
            return Err(BuildError::VcpuCount(self.vcpus));
        }
        let loaded = self.bases.keys().chain(self.user_bases.keys());
        if let Some(vcpu) = loaded.clone().chain(&self.offline).copied().find(|vcpu| vcpu.number() >= self.vcpus) {
            return Err(BuildError::NoSuchVcpu(vcpu));
        }
        let boot = VcpuId::new(0);
        match loaded.chain([&boot]).copied().find(|vcpu| self.offline.contains(vcpu)) {
            Some(vcpu) => Err(BuildError::Offline(vcpu)),
            None => Ok(()),
        }
    }

    /// The L4 of vCPUs without one, where there are such vCPUs.
    fn own_root(&mut self) -> Option<Mfn> {
        let without = |vcpu: &VcpuId| !self.bases.contains_key(vcpu) && !self.offline.contains(vcpu);
        let without: Vec<_> = (0..self.vcpus).map(VcpuId::new).filter(without).collect();
        if without.is_empty() {
            return None;
        }
        let root = self.new_frame();
        self.table(root, Level::L4).pin(root);
        self.bases.extend(without.into_iter().map(|vcpu| (vcpu, root)));
        Some(root)
    }

    fn machine(&self) -> MockXen {
        let memory = self.memory.iter().map(|(pfn, mfn)| Frame::memory(mfn, pfn));
        let frames = Frames::new(Layout::behind(self.memory.end()), memory);
        let domain = self.unprivileged.map_or_else(Domain::hardware, Domain::unprivileged);
        MockXen::new(Parts {
            machine: Machine::new(frames, Tlbs::new(self.vcpus), domain),
            bases: (0..self.vcpus).map(|vcpu| self.bases.get(&VcpuId::new(vcpu)).copied()).collect(),
            witness: self.witness.clone(),
            spare: self.spare.clone(),
            direct_map: self.direct_map,
        })
    }

    fn check_uses(&self, xen: &MockXen) -> Result<(), BuildError> {
        let used = self.words.iter().map(|(mfn, ..)| mfn).chain(self.tables.keys());
        if let Some(mfn) = used.into_iter().find(|mfn| xen.direct_map(**mfn).is_none()) {
            return Err(BuildError::NotDeclared(*mfn));
        }
        if let Some((mfn, index, _)) = self.words.iter().find(|(_, index, _)| *index >= hypercall::ENTRIES_PER_TABLE) {
            return Err(BuildError::NoSuchWord { mfn: *mfn, index: *index });
        }
        let loaded = self.bases.values().chain(self.user_bases.values()).map(|mfn| (mfn, Some(Level::L4)));
        for (mfn, wanted) in self.pins.iter().map(|mfn| (mfn, None)).chain(loaded) {
            let declared = self.tables.get(mfn).copied();
            if declared.is_none() || wanted.is_some() && wanted != declared {
                return Err(BuildError::NotATable { mfn: *mfn, wanted, declared });
            }
        }
        Ok(())
    }

    /// Stores the contents: what was declared, and the direct map where that leaves room.
    fn fill(&self, xen: &MockXen, map: &DirectMap, roots: &[Mfn]) {
        let linked = roots.iter().flat_map(|root| map.root_entries().map(|(index, entry)| (*root, index, entry)));
        let pages = self.memory.iter().filter_map(|(pfn, mfn)| map.entry(pfn, mfn, !self.tables.contains_key(&mfn)));
        for (mfn, index, entry) in linked.chain(map.inner_entries()).chain(pages) {
            xen.preset(mfn, index, entry.bits());
        }
        for (mfn, index, word) in &self.words {
            xen.preset(*mfn, *index, *word);
        }
    }

    /// Loads and pins under Xen's rules.
    fn put_in_use(&self, xen: &MockXen) -> Result<(), BuildError> {
        let running = &mut Running::default();
        for table in self.bases.values() {
            accepted(*table, xen.start_on(running, *table))?;
        }
        for (vcpu, table) in &self.user_bases {
            accepted(*table, xen.load_user_base(running, *vcpu, *table))?;
        }
        for table in &self.pins {
            if let Some(level) = self.tables.get(table) {
                accepted(*table, xen.pin(running, *table, *level, FrameOwner::Domain))?;
            }
        }
        Ok(())
    }
}

/// Nothing is pending while a guest is built, so nothing is interrupted.
fn accepted(table: Mfn, result: Result<(), Stop>) -> Result<(), BuildError> {
    match result {
        Err(Stop::Refused(errno)) => Err(BuildError::Refused { table, errno }),
        Ok(()) | Err(Stop::Preempted) => Ok(()),
    }
}
