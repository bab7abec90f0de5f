//! The machine below the model: one L1 table with the entries the scenarios write, pages to map in
//! them, and an address space for each task.

use std::sync::Arc;

use hypercall::{DomId, Level, Mfn, MmuUpdate, Operation, Pfn, Pte, PteFlags, PteSlot, Subject, VcpuId, VirtAddr};
use mock_xen::{GuestBuilder, Kept, MockXen, Step, referee::Referee};

/// Pages a guest can map.
const PAGES: usize = 64;
/// The page that interrupt handlers map.
const HANDLERS_PAGE: usize = PAGES - 1;
/// A bit of an entry that Xen leaves to the guest.
const GUESTS_BIT: u32 = 9;
/// Operations of one task that map pages of their own.
const OPERATIONS: usize = 16;

/// The frames of a model, and the machine they are in.
#[derive(Debug)]
pub(crate) struct Fixture {
    pub(crate) xen: MockXen,
    pub(crate) kept: Kept,
    table: Mfn,
    pages: Vec<Mfn>,
    roots: Vec<Mfn>,
    kernel_root: Mfn,
}

impl Fixture {
    /// A machine of `vcpus` vCPUs and address spaces for `tasks` tasks, watched by `referee`.
    pub(crate) fn new(vcpus: usize, tasks: usize, referee: Arc<Referee>) -> Self {
        let mut builder = GuestBuilder::new(vcpus as u32);
        builder.ram(Pfn::new(0), Mfn::new(0x100)).witness(referee);
        let table = builder.new_frame();
        builder.table(table, Level::L1).pin(table);
        let pages = (0..PAGES).map(|_| builder.new_frame()).collect();
        let roots: Vec<Mfn> = (0..vcpus.max(tasks)).map(|_| builder.new_frame()).collect();
        let kernel_root = builder.new_frame();
        for root in roots.iter().chain([&kernel_root]) {
            builder.table(*root, Level::L4).pin(*root);
        }
        for (vcpu, root) in roots.iter().enumerate().take(vcpus) {
            builder.base_pointer(VcpuId::new(vcpu as u32), *root);
        }
        let xen = builder.build().expect("the layout is fixed and sound");
        (0..vcpus as u32).for_each(|vcpu| xen.set_schedule(VcpuId::new(vcpu), Step));
        let kept = xen.keep();
        Self { xen, kept, table, pages, roots: roots.into_iter().take(tasks).collect(), kernel_root }
    }

    /// Entry `number` of the table.
    pub(crate) const fn slot(&self, number: usize) -> PteSlot {
        PteSlot::of(self.table, number)
    }

    /// The number of an entry of the table.
    pub(crate) fn slot_number(&self, slot: PteSlot) -> Option<usize> {
        (slot.table() == self.table).then(|| slot.index())
    }

    /// What task `task` writes by its operation `number`: no two write the same. An odd operation maps the
    /// page of the even one before it and differs in a bit that Xen leaves to the guest, so that a batcher
    /// may join these two and no others.
    pub(crate) fn pte(&self, task: usize, number: usize) -> Pte {
        let page = (task * OPERATIONS + number) / 2 % HANDLERS_PAGE;
        let entry = Pte::new(self.pages[page], PteFlags::PRESENT | PteFlags::RW);
        Pte::from_bits(entry.bits() | (number as u64 % 2) << GUESTS_BIT)
    }

    /// What an interrupt handler writes.
    pub(crate) fn handlers_pte(&self) -> Pte {
        Pte::new(self.pages[HANDLERS_PAGE], PteFlags::PRESENT | PteFlags::RW)
    }

    /// What Xen refuses: a writable mapping of a page table.
    pub(crate) fn refused_pte(&self) -> Pte {
        Pte::new(self.table, PteFlags::PRESENT | PteFlags::RW)
    }

    /// The number that task and operation give to an entry, for pictures.
    pub(crate) fn value_number(&self, pte: Pte) -> Option<usize> {
        let frame = pte.is_present().then(|| pte.frame())?;
        let page = self.pages.iter().position(|page| *page == frame)?;
        Some(page * 2 + (pte.bits() >> GUESTS_BIT & 1) as usize)
    }

    /// The root of a task's address space. Each vCPU begins on that of the task of its number.
    pub(crate) fn root(&self, task: usize) -> Option<Mfn> {
        self.roots.get(task).copied()
    }

    /// The root of no task's address space.
    pub(crate) const fn kernel_root(&self) -> Mfn {
        self.kernel_root
    }

    /// An address the model uses, by the number of the entry that maps it.
    pub(crate) const fn address(number: usize) -> VirtAddr {
        VirtAddr::unchecked(0x7000_0000 + number as u64 * hypercall::PAGE_SIZE)
    }
}

/// An update of an L1 entry.
pub(crate) const fn update(slot: PteSlot, pte: Pte) -> Operation {
    Operation::Update { update: MmuUpdate::new(slot, pte), subject: Subject::SELF }
}

/// An `mmuext_op` of the guest's own.
pub(crate) const fn mmuext(op: hypercall::MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: DomId::SELF }
}
