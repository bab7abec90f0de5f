//! The context switch, interrupts, and what a vCPU's queue has done.

use hypercall::{InterruptContext, SwitchContext};
use pv_mmu::{FlushReason, Mmu, Operations as _};

use crate::{
    error::{Code, Refusal, Why, answer},
    face::Face,
    operation::Operation,
    platform::{Functions, Kernel, Locked, PVMMU_CONTEXT_TASK},
    region::put,
    storage,
};

/// Operations of a switch at most; more than a queue has room for would not leave as one batch.
pub const PVMMU_SWITCH_OPERATIONS: usize = 16;

/// The kernel's functions, and the vCPU taken.
///
/// # Safety
/// 1. `kernel` is null or a kernel.
unsafe fn begin<'k>(kernel: *const Kernel) -> Result<(&'k Functions, Locked), Refusal> {
    // SAFETY: 1. the caller's promise.
    let kept = unsafe { storage::check(kernel, 1) }?;
    // SAFETY: 1. a kernel is never written again.
    let functions = unsafe { &*kept.get() };
    functions.lock().map(|locked| (functions, locked))
}

/// The switch hook: what the outgoing task has queued, and then the `count` operations at `operations` (base pointers,
/// stack, segment bases), leave as one ordered batch before this returns (R7, R8). Called between two tasks, with
/// preemption off; it needs no task's state. Failures go to `report`. All operations are looked at before the first is
/// queued.
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`, `PVMMU_ERROR_WITHIN_STEP`;
/// `PVMMU_ERROR_FULL` for more than `PVMMU_SWITCH_OPERATIONS`; `PVMMU_ERROR_ARGUMENT`, `PVMMU_ERROR_SLOT` and
/// `PVMMU_ERROR_ADDRESS` for an operation that is none.
///
/// # Safety
/// 1. Pointers; `count` operations can be read. 2. As for `pvmmu_operation`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_switch(
    kernel: *const Kernel,
    operations: *const Operation,
    count: usize,
    why: *mut Why,
) -> Code {
    // SAFETY: 1. the caller's promise.
    unsafe { answer(list(operations, count).and_then(|all| switch(kernel, all)), why) }
}

/// # Safety
/// 1. As [`pvmmu_switch`].
unsafe fn list<'o>(operations: *const Operation, count: usize) -> Result<&'o [Operation], Refusal> {
    if count > PVMMU_SWITCH_OPERATIONS {
        return Err(Refusal::Value { code: Code::Full, value: count as u64, limit: PVMMU_SWITCH_OPERATIONS as u64 });
    }
    if count == 0 {
        return Ok(&[]);
    }
    if operations.is_null() || !operations.is_aligned() {
        return Err(Refusal::null(2));
    }
    // SAFETY: 1. the caller's promise; 2. neither null nor unaligned.
    let all = unsafe { core::slice::from_raw_parts(operations, count) };
    all.iter().try_for_each(|operation| operation.native().map(drop))?;
    Ok(all)
}

/// # Safety
/// 1. As [`pvmmu_switch`].
unsafe fn switch(kernel: *const Kernel, operations: &[Operation]) -> Result<(), Refusal> {
    // SAFETY: 1. the caller's promise.
    let (functions, locked) = unsafe { begin(kernel) }?;
    // SAFETY: 1. the caller's promise: it is called between two tasks.
    let context = unsafe { SwitchContext::assume() };
    let face = Face::new(functions, locked);
    let mut switch = Mmu::new(&face).switch(&context);
    let operations = if crate::is_planted!(SwitchCut) {
        operations.split_last().map_or(operations, |cut| cut.1)
    } else {
        operations
    };
    for operation in operations.iter().filter_map(|operation| operation.native().ok()) {
        switch.operation(&operation);
    }
    switch.finish();
    Ok(())
}

/// Hands over what is queued on this vCPU, for a handler that another vCPU has asked to (`flush_others`, R12) or that
/// takes the vCPU offline. Failures go to `report`. The interrupted task stays lazy and loses nothing (R6).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`, `PVMMU_ERROR_WITHIN_STEP`;
/// `PVMMU_ERROR_CONTEXT` where `lock` tells of a task.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_interrupt_flush(kernel: *const Kernel, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let result = unsafe { begin(kernel) }.and_then(|(functions, locked)| {
        let context = locked.here.context;
        let face = Face::new(functions, locked);
        if context == PVMMU_CONTEXT_TASK {
            return Err(Refusal::of(Code::Context, context.into()));
        }
        // SAFETY: 1. `lock` has told that this is a handler.
        Mmu::new(&face).interrupt(&unsafe { InterruptContext::assume() }).flush();
        Ok(())
    });
    // SAFETY: 1. the caller's promise.
    unsafe { answer(result, why) }
}

/// Reasons for a flush there are.
pub const PVMMU_FLUSH_REASONS: usize = 12;
const _: () = assert!(PVMMU_FLUSH_REASONS == FlushReason::ALL.len());

/// What a vCPU's queue has done (R17): `queued` = `applied` + `refused` + `not_attempted` + `merged` + `superseded` +
/// `pending`, and the flushes by reason add up to `flushes`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Stats {
    /// Operations asked for.
    pub queued: u64,
    /// Operations that Xen applied.
    pub applied: u64,
    /// Operations it refused.
    pub refused: u64,
    /// Operations not attempted after a refusal.
    pub not_attempted: u64,
    /// Updates joined with a pending one of the same entry.
    pub merged: u64,
    /// TLB flushes that another one beside them made needless.
    pub superseded: u64,
    /// Operations in the queue now.
    pub pending: u64,
    /// Batches handed over.
    pub flushes: u64,
    /// The same by reason: leave, nested leave, pause, explicit, switch, interrupt, immediate, capacity, read hazard,
    /// leak, harvest, table.
    pub flushes_by_reason: [u64; PVMMU_FLUSH_REASONS],
    /// Operations that went out alone, past the queue.
    pub direct: u64,
    /// Operations of the largest batch.
    pub largest_batch: u64,
}

/// Reads the counts of the vCPU the caller is on (R17).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`,
/// `PVMMU_ERROR_WITHIN_STEP`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_stats(kernel: *const Kernel, stats: *mut Stats, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let result = unsafe { begin(kernel) }.and_then(|(functions, locked)| {
        let counts = Mmu::new(&Face::new(functions, locked)).stats();
        // SAFETY: 1. the caller's promise.
        unsafe { put(stats, 2, Stats::of(&counts)) }
    });
    // SAFETY: 1. the caller's promise.
    unsafe { answer(result, why) }
}

impl Stats {
    const fn of(counts: &pv_mmu::Stats) -> Self {
        Self {
            queued: counts.queued,
            applied: counts.applied,
            refused: counts.refused,
            not_attempted: counts.not_attempted,
            merged: counts.merged,
            superseded: counts.superseded,
            pending: counts.pending,
            flushes: counts.flushes,
            flushes_by_reason: counts.flushes_by_reason,
            direct: counts.direct,
            largest_batch: counts.largest_batch,
        }
    }
}
