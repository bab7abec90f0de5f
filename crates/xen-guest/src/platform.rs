//! [`pv_mmu::Platform`] on this runtime.
//!
//! Each vCPU's queue and hypervisor are its own ([`PerVcpu`]), so a step has upcalls masked and its vCPU
//! to itself. Entries are read where the domain's builder has mapped the tables. Another vCPU is made to
//! flush by an upcall of its own, [`GuestPlatform::listen`]; whoever waits for one answers requests to
//! itself meanwhile, so two that ask each other both go on.

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hypercall::{Errno, Hypervisor, InterruptContext, Mfn, Pte, PteSlot, VcpuId, VcpuMask};
use pv_mmu::{
    Mmu, Platform, Report, VcpuQueue,
    table::{Alias, TableMemory},
};
use spin::Once;

use crate::{
    events::{self, Handler, Port},
    mask::mask,
    memory::{Page, tables},
    percpu::{MAX_VCPUS, PerVcpu, current_vcpu},
    smp,
};

/// A kernel's queues, one for each vCPU, before a hypervisor `H`.
#[derive(Debug)]
pub struct GuestPlatform<H> {
    vcpus: PerVcpu<(VcpuQueue, H)>,
    report: fn(&Report),
    ports: [Once<Port>; MAX_VCPUS],
    /// Flushes asked of each vCPU, and those it has done.
    asked: [AtomicU64; MAX_VCPUS],
    done: [AtomicU64; MAX_VCPUS],
}

impl<H: Hypervisor> GuestPlatform<H> {
    /// Empty queues before the hypervisors of vCPU 0 and vCPU 1; `report` is told what no caller is.
    ///
    /// # Safety
    /// Every update that is asked for is of a table of the kernel's that no reference depends on, such
    /// as one made of [`Page`]s.
    #[must_use]
    pub const unsafe fn new(first: H, second: H, report: fn(&Report)) -> Self {
        Self {
            vcpus: PerVcpu::new((VcpuQueue::new(), first), (VcpuQueue::new(), second)),
            report,
            ports: [const { Once::new() }; MAX_VCPUS],
            asked: [const { AtomicU64::new(0) }; MAX_VCPUS],
            done: [const { AtomicU64::new(0) }; MAX_VCPUS],
        }
    }

    /// Lets `vcpu` be asked to flush, once it is online; `handler` calls [`GuestPlatform::answer`].
    ///
    /// # Errors
    /// Xen's refusal of a port.
    pub fn listen(&self, vcpu: VcpuId, handler: Handler) -> Result<(), Errno> {
        let port = self.ports.get(vcpu.number() as usize).ok_or(Errno::NOENT)?;
        port.try_call_once(|| events::bind_ipi(vcpu, handler)).map(drop)
    }

    /// Hands over what the calling vCPU has queued, as it was asked to.
    pub fn answer(&self, context: &InterruptContext) {
        let vcpu = current_vcpu().number() as usize;
        // Read before: what is asked for during the flush is another one.
        let asked = self.asked[vcpu].load(SeqCst);
        Mmu::new(self).interrupt(context).flush();
        self.done[vcpu].fetch_max(asked, SeqCst);
    }

    /// Runs `step` with the calling vCPU's hypervisor.
    pub fn with_hypervisor<R>(&self, step: impl FnOnce(&mut H) -> R) -> R {
        self.vcpus.with(|(_, hypervisor)| step(hypervisor))
    }

    fn ask(&self, vcpu: VcpuId) {
        let number = vcpu.number() as usize;
        let Some(port) = self.ports[number].get() else {
            panic!("{vcpu} is online and cannot be asked to flush; `listen` to it before it is started")
        };
        let ticket = self.asked[number].fetch_add(1, SeqCst) + 1;
        port.send();
        while self.done[number].load(SeqCst) < ticket {
            self.answer_while_waiting();
            smp::relax();
        }
    }

    /// With upcalls masked, a request to this vCPU would wait for the one it waits for itself.
    fn answer_while_waiting(&self) {
        // Upcalls stay masked for as long as it takes the handler's place, which no task leaves its vCPU in.
        let _masked = mask();
        let number = current_vcpu().number() as usize;
        if self.done[number].load(SeqCst) < self.asked[number].load(SeqCst) {
            // SAFETY: what follows is what the handler does if it interrupts here, and the token goes with it.
            self.answer(&unsafe { InterruptContext::assume() });
        }
    }
}

impl<H: Hypervisor> Platform for GuestPlatform<H> {
    type Hypervisor = H;
    type Queue = VcpuQueue;

    #[inline]
    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut H) -> R) -> R {
        self.vcpus.with(|(queue, hypervisor)| step(queue, hypervisor))
    }

    #[inline]
    fn read_pte(&self, slot: PteSlot) -> Pte {
        let table = tables::peek_at(slot.table());
        table.map(|read| read(slot.index())).unwrap_or_else(|error| panic!("cannot read {slot}: {error}"))
    }

    #[inline]
    fn read_table(&self, table: Mfn) -> impl Fn(usize) -> Pte {
        tables::peek_at(table).unwrap_or_else(|error| panic!("cannot read the table in {table}: {error}"))
    }

    fn online(&self) -> VcpuMask {
        smp::online()
    }

    fn flush_others(&self, _: Mfn) {
        let me = current_vcpu();
        smp::online().iter().filter(|vcpu| *vcpu != me).for_each(|vcpu| self.ask(vcpu));
    }

    fn report(&self, report: &Report) {
        (self.report)(report);
    }
}

/// A page of the pool as a table that `pv-mmu` takes into use and out of it.
impl TableMemory for Page {
    fn frame(&self) -> Mfn {
        Self::frame(self)
    }

    fn alias(&self) -> Alias {
        Alias { address: self.address(), writable: Pte::new(Self::frame(self), Self::WRITABLE) }
    }

    #[inline]
    fn load(&self, index: usize) -> Pte {
        Pte::from_bits(self.peek(index))
    }

    #[inline]
    fn store(&mut self, index: usize, pte: Pte) {
        self.poke(index, pte.bits());
    }
}
