//! A kernel of a few lines on the mock, with pages to map and pages to make tables of.

use std::cell::RefCell;
use std::sync::Arc;

use hypercall::{Errno, Level, Mfn, Operation, Pte, PteFlags, PteSlot, TaskContext, VcpuId, VcpuMask, VirtAddr};
use mock_xen::{
    GuestBuilder, MockVcpu, MockXen, Witness,
    referee::{Finding, Profile, Referee, Rule},
};
use pv_mmu::{
    Mmu, Platform, Report, VcpuQueue,
    table::{Alias, TableMemory},
};

const HERE: VcpuId = VcpuId::new(0);
pub(crate) const OTHER: VcpuId = VcpuId::new(1);
pub(crate) const RW: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::USER);
const TABLES: usize = 16;
const PAGES: usize = 40;
/// L3 entries behind the direct map's, under which spaces are attached.
const FIRST_SPACE: usize = 5;

/// Hears of processors only: what is asked of the library is its own tests' business.
struct Ears(Referee);

impl Witness for Ears {
    fn arrived(&self, _: VcpuId, _: &Operation, _: Option<Result<(), Errno>>) {}

    fn replaced(&self, vcpu: VcpuId, slot: PteSlot, old: Pte, new: Pte) {
        self.0.replaced(vcpu, slot, old, new);
    }

    fn noted(&self, _: VcpuId, slot: PteSlot, flags: PteFlags) {
        self.0.noted(slot, flags);
    }

    fn used_stale(&self, vcpu: VcpuId, address: VirtAddr, frame: Mfn, is_store: bool) {
        self.0.used_stale(vcpu, address, frame, is_store);
    }
}

/// The machine.
pub(crate) struct Machine {
    pub(crate) xen: MockXen,
    ears: Arc<Ears>,
    tables: RefCell<Vec<Mfn>>,
    data: RefCell<Vec<Mfn>>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let ears = Arc::new(Ears(Referee::new(Profile::Strict)));
        let mut builder = GuestBuilder::new(2);
        builder.witness(ears.clone());
        let tables = (0..TABLES).map(|_| builder.new_frame()).collect();
        let data = (0..PAGES).map(|_| builder.new_frame()).collect();
        let xen = builder.build().expect("a guest without contradictions");
        Self { xen, ears, tables: RefCell::new(tables), data: RefCell::new(data) }
    }

    pub(crate) fn table_page(&self) -> TablePage<'_> {
        TablePage { xen: &self.xen, frame: self.tables.borrow_mut().pop().expect("enough pages for tables") }
    }

    pub(crate) fn data_page(&self) -> Mfn {
        self.data.borrow_mut().pop().expect("enough pages")
    }

    fn map(&self) -> u64 {
        self.xen.direct_map(self.xen.processor(HERE).base).expect("the guest's own").value()
    }

    /// The L3 entry of space `number`.
    pub(crate) fn at(&self, number: usize) -> PteSlot {
        let first = self.xen.slot_of(HERE, VirtAddr::unchecked(self.map()), Level::L3).expect("it is mapped");
        PteSlot::of(first.table(), FIRST_SPACE + number)
    }

    /// The address of page `page` of space `number`.
    pub(crate) fn address(&self, number: usize, page: usize) -> VirtAddr {
        let half_terabyte = self.map() & !0x7f_ffff_ffff;
        VirtAddr::unchecked(half_terabyte + ((FIRST_SPACE + number) as u64) * (1 << 30) + page as u64 * 4096)
    }

    pub(crate) fn was_stored_to(&self, page: Mfn) -> bool {
        self.xen.read_entry(PteSlot::of(page, 0)).is_some_and(|word| word.bits() != 0)
    }

    pub(crate) fn release(&self, page: Mfn) {
        self.ears.0.released(page);
    }

    pub(crate) fn take(&self, page: Mfn) {
        self.ears.0.taken(page);
    }

    pub(crate) fn seen_table(&self, table: Mfn) {
        self.ears.0.seen_table(table);
    }

    pub(crate) fn violations(&self) -> Vec<(Rule, Finding)> {
        self.ears.0.violations().iter().map(|violation| (violation.rule, violation.finding)).collect()
    }

    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.violations(), []);
        self.xen.audit().expect("the frame counts add up");
        assert!(self.xen.not_modelled().is_empty(), "{:?}", self.xen.not_modelled());
    }
}

/// A page that can be a table, reached as the kernel reaches it.
pub(crate) struct TablePage<'m> {
    xen: &'m MockXen,
    frame: Mfn,
}

impl std::fmt::Debug for TablePage<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "page in {}", self.frame)
    }
}

impl TablePage<'_> {
    fn word(&self, index: usize) -> VirtAddr {
        VirtAddr::unchecked(self.alias().address.value() + 8 * index as u64)
    }
}

impl TableMemory for TablePage<'_> {
    fn frame(&self) -> Mfn {
        self.frame
    }

    fn alias(&self) -> Alias {
        let address = self.xen.direct_map(self.frame).expect("a page of the guest");
        Alias { address, writable: Pte::new(self.frame, PteFlags::PRESENT | PteFlags::RW) }
    }

    fn load(&self, index: usize) -> Pte {
        Pte::from_bits(self.xen.load(HERE, self.word(index)).expect("it is mapped"))
    }

    fn store(&mut self, index: usize, pte: Pte) {
        self.xen.store(HERE, self.word(index), pte.bits()).expect("a draft is mapped writable");
    }
}

/// The kernel, on vCPU 0.
pub(crate) struct Kernel<'m> {
    pub(crate) machine: &'m Machine,
    vcpu: RefCell<(VcpuQueue, MockVcpu<'m>)>,
    pub(crate) context: TaskContext,
}

impl<'m> Kernel<'m> {
    pub(crate) fn new(machine: &'m Machine) -> Self {
        let vcpu = RefCell::new((VcpuQueue::new(), machine.xen.vcpu(HERE)));
        Self { machine, vcpu, context: TaskContext::in_user_space() }
    }

    pub(crate) fn mmu(&self) -> Mmu<'_, Self> {
        Mmu::new(self)
    }

    pub(crate) fn entry(&self, slot: PteSlot) -> Pte {
        self.machine.xen.read_entry(slot).expect("the guest's own")
    }
}

impl<'m> Platform for Kernel<'m> {
    type Hypervisor = MockVcpu<'m>;
    type Queue = VcpuQueue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut MockVcpu<'m>) -> R) -> R {
        let mut vcpu = self.vcpu.borrow_mut();
        let (queue, hypervisor) = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.machine.xen.moment();
        let pte = self.entry(slot);
        self.machine.ears.0.seen(slot, pte);
        pte
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::from_words([3, 0])
    }

    /// The other vCPU runs on the kernel's own root and queues nothing.
    fn flush_others(&self, _: Mfn) {}

    fn report(&self, report: &Report) {
        panic!("nothing is refused here, yet: {report}");
    }
}
