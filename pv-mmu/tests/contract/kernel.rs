//! A kernel of a few lines: vCPUs with queues, a current vCPU, and a list of what it was told.

use std::cell::{Cell, RefCell};

use crossbeam::utils::CachePadded;
use hypercall::{Hypervisor, InterruptContext, Mfn, Pte, PteSlot, SwitchContext, TaskContext, VcpuId, VcpuMask};
use pv_mmu::{FailurePolicy, Mmu, Platform, Report, VcpuQueue};

/// Memory as the guest's own instructions see it.
pub(crate) trait Memory {
    /// Reads an entry.
    fn read(&self, slot: PteSlot) -> Pte;
}

/// What a vCPU owns.
type Vcpu<H, const U: usize, const C: usize, const W: usize> = CachePadded<RefCell<(VcpuQueue<U, C, W>, H)>>;

/// A kernel on any hypervisor; `STOP` chooses the failure policy.
pub(crate) struct Kernel<
    H,
    M,
    const U: usize = 512,
    const C: usize = 32,
    const W: usize = 128,
    const STOP: bool = false,
> {
    vcpus: Vec<Vcpu<H, U, C, W>>,
    pub(crate) memory: M,
    pub(crate) current: Cell<usize>,
    pub(crate) online: Cell<VcpuMask>,
    pub(crate) reports: RefCell<Vec<Report>>,
    /// Reports the referee has been told of.
    passed: Cell<usize>,
    pub(crate) settled: RefCell<Vec<Mfn>>,
    /// Steps taken: each masks upcalls once.
    pub(crate) steps: Cell<usize>,
    /// Runs before each step, with the vCPU released: an upcall, a preemption.
    pub(crate) between_steps: RefCell<Option<Box<dyn FnOnce()>>>,
    task: TaskContext,
    interrupt: InterruptContext,
    switch: SwitchContext,
}

impl<H: Hypervisor, M: Memory, const U: usize, const C: usize, const W: usize, const STOP: bool>
    Kernel<H, M, U, C, W, STOP>
{
    pub(crate) fn new(memory: M, hypervisors: impl IntoIterator<Item = H>) -> Self {
        let vcpus: Vec<_> =
            hypervisors.into_iter().map(|h| CachePadded::new(RefCell::new((VcpuQueue::new(), h)))).collect();
        let online = (0..vcpus.len() as u32).map(VcpuId::new).collect();
        Self {
            vcpus,
            memory,
            current: Cell::new(0),
            online: Cell::new(online),
            reports: RefCell::default(),
            passed: Cell::default(),
            settled: RefCell::default(),
            steps: Cell::default(),
            between_steps: RefCell::default(),
            task: TaskContext::in_user_space(),
            interrupt: InterruptContext::in_user_space(),
            switch: SwitchContext::in_user_space(),
        }
    }

    pub(crate) fn mmu(&self) -> Mmu<'_, Self> {
        Mmu::new(self)
    }

    pub(crate) const fn task(&self) -> &TaskContext {
        &self.task
    }

    pub(crate) const fn interrupt(&self) -> &InterruptContext {
        &self.interrupt
    }

    pub(crate) const fn switch(&self) -> &SwitchContext {
        &self.switch
    }

    /// The hypervisor of a vCPU.
    pub(crate) fn hypervisor<R>(&self, vcpu: usize, look: impl FnOnce(&mut H) -> R) -> R {
        look(&mut self.vcpus[vcpu].borrow_mut().1)
    }

    /// Operations queued on a vCPU.
    pub(crate) fn pending(&self, vcpu: usize) -> u64 {
        self.vcpus[vcpu].borrow().0.pending()
    }

    /// The reports that have come since the last call.
    pub(crate) fn take_unpassed(&self) -> Vec<Report> {
        let reports = self.reports.borrow();
        reports[self.passed.replace(reports.len())..].to_vec()
    }

    /// The failures the platform was told, oldest first.
    pub(crate) fn failed(&self) -> Vec<pv_mmu::Failure> {
        let failed = |report: &Report| match report {
            Report::Failed(failure) => Some(*failure),
            _ => None,
        };
        self.reports.borrow().iter().filter_map(failed).collect()
    }
}

impl<H: Hypervisor, M: Memory, const U: usize, const C: usize, const W: usize, const STOP: bool> Platform
    for Kernel<H, M, U, C, W, STOP>
{
    type Hypervisor = H;
    type Queue = VcpuQueue<U, C, W>;
    const ON_FAILURE: FailurePolicy = if STOP { FailurePolicy::Stop } else { FailurePolicy::Continue };

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut Self::Queue, &mut H) -> R) -> R {
        let upcall = self.between_steps.borrow_mut().take();
        if let Some(upcall) = upcall {
            upcall();
        }
        self.steps.set(self.steps.get() + 1);
        let mut vcpu = self.vcpus[self.current.get()].borrow_mut();
        let (queue, hypervisor) = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.memory.read(slot)
    }

    fn online(&self) -> VcpuMask {
        self.online.get()
    }

    fn flush_others(&self, table: Mfn) {
        self.settled.borrow_mut().push(table);
        let here = self.current.get();
        for vcpu in (0..self.vcpus.len()).filter(|vcpu| *vcpu != here) {
            self.current.set(vcpu);
            self.mmu().interrupt(&self.interrupt).flush();
        }
        self.current.set(here);
    }

    fn report(&self, report: &Report) {
        self.reports.borrow_mut().push(*report);
    }
}
