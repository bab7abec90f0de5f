//! Batch your first region: a kernel of one task and two vCPUs on the mock hypervisor, and what the
//! referee says of it.
//!
//! `cargo run -p pv-mmu-examples --bin first-region`
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};

use crossbeam::utils::CachePadded;
use hypercall::{Mfn, MmuextOp, Pte, PteSlot, TaskContext, VcpuId, VcpuMask, VirtAddr};
use mock_xen::{
    MockVcpu,
    referee::Profile,
    testing::{Failed, TestGuest, mmuext, update},
};
use pv_mmu::{Failures, Mmu, Operations, Platform, Report, TaskState, VcpuQueue};

/// What a kernel has for each vCPU; padded, so that no two share a cache line.
type Vcpu<'g> = CachePadded<RefCell<(VcpuQueue, MockVcpu<'g>)>>;

/// The kernel: which vCPU this thread is on, and what each vCPU has.
struct Kernel<'g> {
    guest: &'g TestGuest,
    vcpus: [Vcpu<'g>; 2],
    current: Cell<usize>,
}

impl<'g> Kernel<'g> {
    fn new(guest: &'g TestGuest) -> Self {
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
    }
}

/// The library's failures, as the referee takes them.
fn told(left: Result<(), Failures>) -> Vec<Failed> {
    let failed = |failure: &pv_mmu::Failure| Failed { operation: *failure.operation(), errno: failure.errno() };
    left.err().iter().flat_map(|failures| failures.iter().map(failed).collect::<Vec<_>>()).collect()
}

fn main() {
    let guest = TestGuest::new(Profile::Strict);
    let kernel = Kernel::new(&guest);
    let (mmu, context, mut state) = (Mmu::new(&kernel), TaskContext::in_user_space(), TaskState::new());
    let task = guest.task(1, VcpuId::new(0));

    // A region with eight writes, one that the hypervisor will refuse, and a TLB flush.
    let mut region = mmu.enter(&mut state, &context);
    task.enter(|| true);
    for n in 0..9 {
        let (slot, pte) = (guest.slot(n), if n == 4 { guest.refused_pte() } else { guest.pte(n) });
        task.ask(update(slot, pte), |_| {
            region.set_pte(slot, pte);
            Ok(())
        });
    }
    let flush = MmuextOp::InvlpgLocal { address: VirtAddr::unchecked(0x7000_0000) };
    task.ask(mmuext(flush), |_| {
        region.mmuext(flush);
        Ok(())
    });
    println!("before leave: entry 0 holds {}", guest.xen().read_entry(guest.slot(0)).expect("in the table"));
    task.leave(|| {
        let left = region.leave();
        if let Err(failures) = &left {
            println!("leave says: {failures}");
        }
        told(left)
    });
    println!("after leave:  entry 0 holds {}", guest.xen().read_entry(guest.slot(0)).expect("in the table"));

    let stats = mmu.stats();
    println!(
        "{} operations asked, {} applied, {} refused, {} batch",
        stats.queued, stats.applied, stats.refused, stats.flushes
    );
    println!("the referee: {}", guest.verdict());
    guest.assert_clean();
}
