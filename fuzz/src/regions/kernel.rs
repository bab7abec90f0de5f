//! The kernel under the library: two vCPUs with small queues, driven by one thread, and what it has been told.

use std::cell::{Cell, RefCell};

use crate::Finding;
use crossbeam::utils::CachePadded;
use hypercall::{InterruptContext, Mfn, Pte, PteSlot, SwitchContext, TaskContext, VcpuId, VcpuMask};
use mock_xen::MockVcpu;
use mock_xen::testing::{Answer, Failed, TestGuest};
use pv_mmu::{Failure, Failures, Mmu, Platform, Report, VcpuQueue};

/// A queue that is full soon.
type Queue = VcpuQueue<8, 4, 32>;

/// Operations handed over with upcalls masked, at most.
pub(super) const MASKED_BOUND: u32 = Queue::MASKED_BOUND as u32;

/// A rule that the library is to break: none, where none can be planted.
#[cfg(feature = "planted")]
pub type Planted = Option<pv_mmu::Fault>;
/// A rule that the library is to break: none, where none can be planted.
#[cfg(not(feature = "planted"))]
pub type Planted = Option<std::convert::Infallible>;

type Vcpu<'g> = CachePadded<RefCell<(Queue, MockVcpu<'g>)>>;

/// What it has and what it was told; what follows a refusal is attempted.
pub(super) struct Kernel<'g> {
    guest: &'g TestGuest,
    vcpus: [Vcpu<'g>; 2],
    pub(super) current: Cell<usize>,
    reports: RefCell<Vec<Report>>,
    /// Failures that somebody was told.
    told: Cell<u64>,
    #[cfg_attr(not(feature = "planted"), expect(dead_code, reason = "nothing can be planted"))]
    planted: Planted,
    task: TaskContext,
    interrupt: InterruptContext,
    switch: SwitchContext,
}

impl<'g> Kernel<'g> {
    pub(super) fn new(guest: &'g TestGuest, planted: Planted) -> Self {
        let vcpu = |id| CachePadded::new(RefCell::new((queue(planted), guest.hypervisor(VcpuId::new(id)))));
        Self {
            guest,
            vcpus: [vcpu(0), vcpu(1)],
            current: Cell::new(0),
            reports: RefCell::default(),
            told: Cell::default(),
            planted,
            task: TaskContext::in_user_space(),
            interrupt: InterruptContext::in_user_space(),
            switch: SwitchContext::in_user_space(),
        }
    }

    pub(super) const fn mmu(&self) -> Mmu<'_, Self> {
        Mmu::new(self)
    }

    pub(super) const fn task(&self) -> &TaskContext {
        &self.task
    }

    pub(super) const fn interrupt(&self) -> &InterruptContext {
        &self.interrupt
    }

    pub(super) const fn switch(&self) -> &SwitchContext {
        &self.switch
    }

    /// Tells the referee what the platform has been told.
    pub(super) fn pass_reports(&self) {
        let vcpu = VcpuId::new(self.current.get() as u32);
        for report in self.reports.take() {
            match report {
                Report::Failed(failure) => self.pass_failure(vcpu, &failure),
                Report::MulticallRefused(errno) => self.guest.referee().hypercall_refused(vcpu, errno),
                _ => {}
            }
        }
    }

    /// The library's failures, as the referee takes them.
    pub(super) fn told(&self, failures: &Failures) -> Answer {
        self.failed(failures.iter())
    }

    /// The answer to an operation that does not wait.
    pub(super) fn answer_of(&self, result: Result<(), Failure>) -> Answer {
        self.failed(result.err().iter())
    }

    fn failed<'f>(&self, failures: impl Iterator<Item = &'f Failure>) -> Answer {
        let failed = |failure: &Failure| Failed { operation: *failure.operation(), errno: failure.errno() };
        let failures: Vec<_> = failures.map(failed).collect();
        self.told.set(self.told.get() + failures.len() as u64);
        failures.into()
    }

    /// Whether each operation has one fate, and each that is not effective has been told (R14, R17).
    pub(super) fn counts_add_up(&self) -> Result<(), Finding> {
        let mut failed = 0;
        for vcpu in 0..self.vcpus.len() {
            self.current.set(vcpu);
            let stats = self.mmu().stats();
            let settled = stats.applied + stats.refused + stats.not_attempted + stats.merged + stats.superseded;
            let by_reason: u64 = stats.flushes_by_reason.iter().sum();
            if stats.pending > 0 || stats.queued != settled || stats.flushes != by_reason {
                return Err(Finding::new(format_args!("the counts do not add up: {stats:?}")));
            }
            failed += stats.refused + stats.not_attempted;
        }
        let told = self.told.get();
        if failed == told { Ok(()) } else { Err(Finding::new(format_args!("{failed} have failed, {told} were told"))) }
    }

    fn pass_failure(&self, vcpu: VcpuId, failure: &Failure) {
        self.told.set(self.told.get() + 1);
        match failure.errno() {
            Some(errno) => self.guest.referee().failed(vcpu, failure.operation(), errno),
            None => self.guest.referee().not_attempted(vcpu, failure.operation()),
        }
    }
}

#[cfg(not(feature = "planted"))]
const fn queue(_planted: Planted) -> Queue {
    Queue::new()
}

#[cfg(feature = "planted")]
fn queue(planted: Planted) -> Queue {
    let mut queue = Queue::new();
    planted.into_iter().for_each(|fault| queue.plant(fault));
    queue
}

impl<'g> Platform for Kernel<'g> {
    type Hypervisor = MockVcpu<'g>;
    type Queue = Queue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut Queue, &mut MockVcpu<'g>) -> R) -> R {
        let vcpu = self.current.get();
        let mut present = self.vcpus[vcpu].borrow_mut();
        let (queue, hypervisor) = &mut *present;
        self.guest.referee().masked(VcpuId::new(vcpu as u32));
        let answer = step(queue, hypervisor);
        self.guest.referee().unmasked(VcpuId::new(vcpu as u32));
        answer
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.guest.xen().read_entry(slot).expect("the slot is in the guest's memory")
    }

    fn online(&self) -> VcpuMask {
        VcpuMask::from_words([0b11, 0])
    }

    /// The other vCPU is interrupted, and its handler flushes.
    fn flush_others(&self, _table: Mfn) {
        let here = self.current.replace(1 - self.current.get());
        self.mmu().interrupt(&self.interrupt).flush();
        self.current.set(here);
    }

    #[cfg(feature = "planted")]
    fn planted(&self) -> Planted {
        self.planted
    }

    fn report(&self, report: &Report) {
        self.reports.borrow_mut().push(*report);
    }
}
