//! What one vCPU has queued is handed over before another unpins a table (R12).

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use hypercall::{Mfn, MmuextOp, Pte, PteSlot, TaskContext, VcpuId};
use pv_mmu::{FlushReason, Mmu, Operations as _, TaskState};
use xen_guest::memory::{tables, take_page};
use xen_guest::smp;

use super::answer;
use crate::{
    error::Error,
    mmu::{self, FLAGS},
    reply::Reply,
};

const SECOND: VcpuId = VcpuId::new(1);

/// Frame numbers of the second vCPU's table and of the page it maps.
static FRAMES: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
static QUEUED: AtomicBool = AtomicBool::new(false);
static GO_ON: AtomicBool = AtomicBool::new(false);
static FAILED: AtomicBool = AtomicBool::new(false);
static FLUSHED_BY_REQUEST: AtomicU64 = AtomicU64::new(0);

/// On the second vCPU: queues an update and stays in its region until told.
fn hold(context: &TaskContext, _: usize) {
    let [table, data] = [0, 1].map(|which| Mfn::new(FRAMES[which].load(SeqCst)));
    let mut task = TaskState::new();
    let library = Mmu::new(mmu::platform());
    let mut region = library.enter(&mut task, context);
    region.set_pte(PteSlot::of(table, 5), Pte::new(data, FLAGS));
    QUEUED.store(true, SeqCst);
    while !GO_ON.load(SeqCst) {
        smp::relax();
    }
    FAILED.store(region.leave().is_err(), SeqCst);
    let flushes = library.stats().flushes_by_reason[FlushReason::Interrupt as usize];
    FLUSHED_BY_REQUEST.store(flushes, SeqCst);
}

/// Unpins a table while the second vCPU has an update queued.
pub(crate) fn remote(context: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    let (ours, theirs) = (mmu::pinned_table(context)?, mmu::pinned_table(context)?);
    let data = take_page().ok_or(Error::NoPage)?;
    FRAMES[0].store(theirs.frame().number(), SeqCst);
    FRAMES[1].store(data.frame().number(), SeqCst);
    mmu::platform().listen(VcpuId::new(0), mmu::on_flush_request)?;
    mmu::platform().listen(SECOND, mmu::on_flush_request)?;
    smp::start(SECOND)?;
    smp::run(hold, 0)?;
    while !QUEUED.load(SeqCst) {
        smp::relax();
    }
    let before = tables::read(theirs.slot(5))?;
    let mut task = TaskState::new();
    Mmu::new(mmu::platform()).outside(&mut task, context).mmuext(MmuextOp::Unpin { table: ours.frame() })?;
    let after = tables::read(theirs.slot(5))?;
    GO_ON.store(true, SeqCst);
    smp::wait();
    answer!(
        reply,
        "queued_before" = before == Pte::EMPTY,
        "effective_after" = after == Pte::new(data.frame(), FLAGS),
        "flushed_by_request" = FLUSHED_BY_REQUEST.load(SeqCst),
        "failed" = FAILED.load(SeqCst),
    );
    Ok(())
}
