//! A platform that times how long upcalls are masked.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hypercall::{Mfn, Pte, PteSlot, VcpuMask};
use pv_mmu::{FailurePolicy, Platform, Report};

/// A [`Platform`] around another that notes the longest step with a vCPU, by a clock.
#[derive(Debug)]
pub struct Timed<'p, P> {
    platform: &'p P,
    clock: fn() -> u64,
    longest: AtomicU64,
}

impl<'p, P> Timed<'p, P> {
    /// Times `platform`'s steps.
    pub const fn new(platform: &'p P, clock: fn() -> u64) -> Self {
        Self { platform, clock, longest: AtomicU64::new(0) }
    }

    /// The longest step since this was called last.
    pub fn take_longest(&self) -> u64 {
        self.longest.swap(0, Relaxed)
    }
}

impl<P: Platform> Platform for Timed<'_, P> {
    type Hypervisor = P::Hypervisor;
    type Queue = P::Queue;

    const ON_FAILURE: FailurePolicy = P::ON_FAILURE;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut P::Queue, &mut P::Hypervisor) -> R) -> R {
        self.platform.with_vcpu(|queue, hypervisor| {
            let start = (self.clock)();
            let answer = step(queue, hypervisor);
            self.longest.fetch_max((self.clock)() - start, Relaxed);
            answer
        })
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.platform.read_pte(slot)
    }

    fn read_table(&self, table: Mfn) -> impl Fn(usize) -> Pte {
        self.platform.read_table(table)
    }

    fn online(&self) -> VcpuMask {
        self.platform.online()
    }

    fn flush_others(&self, table: Mfn) {
        self.platform.flush_others(table);
    }

    fn report(&self, report: &Report) {
        self.platform.report(report);
    }
}
