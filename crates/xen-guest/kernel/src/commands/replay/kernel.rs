//! What the replayed kernel is to the library: `pv-mmu`'s platform on the vCPUs of this one.
//!
//! The steps of a trace come one at a time, so a vCPU that is to leave a table before it is unpinned (R12) waits for its
//! turn and looks at what is asked of it.

use core::fmt::Display;
use core::sync::atomic::{AtomicBool, Ordering::SeqCst};

use hypercall::{Mfn, Pte, PteSlot, Record, Recorder, VcpuId, VcpuMask, xen::Xen};
use mmu_replay::Bases;
use mmu_replay::lead::{self, Leader};
use pv_mmu::{Failure, Platform, Report, VcpuQueue};
use spin::Mutex;
use xen_guest::{MAX_VCPUS, PerVcpu, current_vcpu, smp};

use super::{NOTES, under_way};

type Counted = Recorder<Xen, fn(Record)>;

pub(super) struct Replayed {
    vcpus: PerVcpu<(VcpuQueue, Counted)>,
    bases: [Mutex<Bases>; MAX_VCPUS],
    /// Whether a vCPU is to flush.
    asked: [AtomicBool; MAX_VCPUS],
}

impl Replayed {
    pub(super) fn new() -> Self {
        let counted = || {
            // SAFETY: this is a kernel without a red zone. What is led through the library updates tables of frames that
            // only the direct map has, and loads tables that have all of the kernel's own entries.
            let xen = unsafe { Xen::assume() };
            Recorder::new(xen, note as fn(Record))
        };
        Self {
            vcpus: PerVcpu::new((VcpuQueue::new(), counted()), (VcpuQueue::new(), counted())),
            bases: [const { Mutex::new(Bases::new()) }; MAX_VCPUS],
            asked: [const { AtomicBool::new(false) }; MAX_VCPUS],
        }
    }

    /// Does what another vCPU asks of the calling one.
    pub(super) fn answer(&self, leader: &Leader<'_, Self>) {
        let asked = &self.asked[current_vcpu().number() as usize];
        if asked.load(SeqCst) {
            leader.flush();
            asked.store(false, SeqCst);
        }
    }
}

fn note(record: Record) {
    NOTES.lock().record(current_vcpu(), record);
}

impl Platform for Replayed {
    type Hypervisor = Counted;
    type Queue = VcpuQueue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Counted) -> R) -> R {
        self.vcpus.with(|(queue, hypervisor)| step(queue, hypervisor))
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        panic!("{slot} is read through the library, which no step of a trace asks for")
    }

    fn online(&self) -> VcpuMask {
        (0..under_way().head.vcpus).map(VcpuId::new).collect()
    }

    fn flush_others(&self, table: Mfn) {
        let me = current_vcpu();
        for vcpu in self.online().iter().filter(|vcpu| *vcpu != me) {
            let number = vcpu.number() as usize;
            if self.bases[number].lock().leaves(table) {
                self.asked[number].store(true, SeqCst);
                while self.asked[number].load(SeqCst) {
                    smp::relax();
                }
            }
        }
    }

    fn report(&self, report: &Report) {
        match report {
            // The refusal itself has been noted where it came.
            Report::Failed(_) => {}
            other => lead::Kernel::complain(self, other),
        }
    }
}

impl lead::Kernel for Replayed {
    fn with_bases<R>(&self, vcpu: VcpuId, look: impl FnOnce(&mut Bases) -> R) -> R {
        look(&mut self.bases[vcpu.number() as usize].lock())
    }

    fn failed(&self, _: &Failure) {}

    fn complain(&self, what: &dyn Display) {
        NOTES.lock().complain(what);
    }
}
