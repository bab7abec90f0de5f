//! Batch your first region: a kernel of one task and two vCPUs on the mock hypervisor, and what the
//! referee says of it.
//!
//! `cargo run -p pv-mmu-examples --bin first-region`
#![forbid(unsafe_code)]

use hypercall::{MmuextOp, TaskContext, VcpuId, VirtAddr};
use mock_xen::{
    referee::Profile,
    testing::{TestGuest, mmuext, update},
};
use pv_mmu::{Mmu, Operations, TaskState};
use pv_mmu_examples::kernel::{Kernel, told};

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
    println!(
        "  (arrivals are attempts: behind the refused write the flush, which had gone out with it, was issued again)"
    );
    guest.assert_clean();
}
