// A kernel of two vCPUs on the mock hypervisor, in one thread of user space: the least that runs the library. For the
// examples in its documentation, and for those who start.

use std::cell::{Cell, RefCell};

use crossbeam::utils::CachePadded;
use hypercall::{Mfn, Pte, PteFlags, PteSlot, VcpuId, VcpuMask, VirtAddr};
use mock_xen::{
    MockVcpu,
    testing::{Failed, TestGuest},
};
use pv_mmu::{
    Failure, Failures, Platform, Report, VcpuQueue,
    table::{Alias, TableMemory},
};

/// What a kernel has for each vCPU; padded, so that no two share a cache line.
type Vcpu<'g> = CachePadded<RefCell<(VcpuQueue, MockVcpu<'g>)>>;

/// The kernel: which vCPU this thread is on, and what each vCPU has.
#[derive(Debug)]
pub struct Kernel<'g> {
    guest: &'g TestGuest,
    vcpus: [Vcpu<'g>; 2],
    current: Cell<usize>,
}

impl<'g> Kernel<'g> {
    /// On vCPU 0 of `guest`, with empty queues.
    #[must_use]
    pub fn new(guest: &'g TestGuest) -> Self {
        let vcpu = |id| CachePadded::new(RefCell::new((VcpuQueue::new(), guest.hypervisor(VcpuId::new(id)))));
        Self { guest, vcpus: [vcpu(0), vcpu(1)], current: Cell::new(0) }
    }
}

impl<'g> Platform for Kernel<'g> {
    type Hypervisor = MockVcpu<'g>;
    type Queue = VcpuQueue;

    /// In a kernel: disable preemption, mask upcalls, run the step, undo both.
    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut MockVcpu<'g>) -> R) -> R {
        let mut vcpu = self.vcpus[self.current.get()].borrow_mut();
        let (queue, hypervisor) = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.guest.xen().read_entry(slot).expect("a slot of this guest")
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::from_words([0b11, 0])
    }

    /// Here one thread plays both vCPUs and never leaves a switch half done.
    fn flush_others(&self, _table: Mfn) {}

    fn report(&self, report: &Report) {
        println!("the library reports: {report}");
        if let Report::Failed(failure) = report {
            self.guest.reported(VcpuId::new(self.current.get() as u32), named(failure));
        }
    }
}

/// The library's failures, as the referee takes them.
#[must_use]
pub fn told(left: Result<(), Failures>) -> Vec<Failed> {
    left.err().iter().flat_map(|failures| failures.iter().map(named).collect::<Vec<_>>()).collect()
}

fn named(failure: &Failure) -> Failed {
    Failed { operation: *failure.operation(), errno: failure.errno() }
}

/// A page of the guest's that can serve as a table, reached where its kernel has it mapped.
#[derive(Debug)]
pub struct Page<'g> {
    guest: &'g TestGuest,
    frame: Mfn,
}

impl<'g> Page<'g> {
    /// Page `number` of `guest`, which nothing else maps writable.
    ///
    /// # Panics
    /// For a page the guest does not have.
    #[must_use]
    pub fn new(guest: &'g TestGuest, number: usize) -> Self {
        Self { guest, frame: guest.page(number) }
    }

    fn word(&self, index: usize) -> VirtAddr {
        VirtAddr::unchecked(self.alias().address.value() + 8 * index as u64)
    }
}

impl TableMemory for Page<'_> {
    fn frame(&self) -> Mfn {
        self.frame
    }

    fn alias(&self) -> Alias {
        let address = self.guest.xen().direct_map(self.frame).expect("a page of the guest");
        Alias { address, writable: Pte::new(self.frame, PteFlags::PRESENT | PteFlags::RW) }
    }

    fn load(&self, index: usize) -> Pte {
        Pte::from_bits(self.guest.xen().load(VcpuId::new(0), self.word(index)).expect("it is mapped"))
    }

    fn store(&mut self, index: usize, pte: Pte) {
        self.guest.xen().store(VcpuId::new(0), self.word(index), pte.bits()).expect("a draft is mapped writable");
    }
}
