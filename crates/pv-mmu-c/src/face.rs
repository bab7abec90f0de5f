//! The C platform as `pv-mmu` has it, for the length of one call.

use core::cell::Cell;

use hypercall::{
    ENTRIES_PER_TABLE, Errno, Hypervisor, InterruptContext, Mfn, MmuUpdate, Outcome, PreparedCall, PreparedCalls, Pte,
    PteSlot, Subject, TaskContext, VcpuMask, abi,
};
use pv_mmu::{Context, Dynamic, Mmu, Report, TaskState, VcpuQueue};

use crate::{
    error::{Code, Refusal},
    platform::{Functions, Locked, PVMMU_CONTEXT_TASK},
    region::{Task, TaskOf},
    storage,
};

/// A call's way to the platform. The vCPU is taken before the call begins, and the first step has it.
pub(crate) struct Face<'k> {
    kernel: &'k Functions,
    first: Cell<Option<Locked>>,
}

/// Xen, by the kernel's own hypercall.
pub(crate) struct Raw<'k>(&'k Functions);

impl<'k> Face<'k> {
    pub(crate) const fn new(kernel: &'k Functions, first: Locked) -> Self {
        Self { kernel, first: Cell::new(Some(first)) }
    }

    /// Lets the vCPU go, if no step has had it: what follows may take long or wait.
    #[inline]
    fn release(&self) {
        if let Some(locked) = self.first.take() {
            self.kernel.unlock(&locked);
        }
    }
}

impl Drop for Face<'_> {
    #[inline]
    fn drop(&mut self) {
        self.release();
    }
}

impl<'k> pv_mmu::Platform for Face<'k> {
    type Hypervisor = Raw<'k>;
    type Queue = VcpuQueue;

    #[inline]
    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Raw<'k>) -> R) -> R {
        let locked = match self.first.take() {
            Some(locked) => locked,
            None => self.kernel.lock().unwrap_or_else(|refusal| self.kernel.fatal(&refusal)),
        };
        // SAFETY: 1. it is released below, and nobody else knows it.
        let answer = step(unsafe { locked.queue() }, &mut Raw(self.kernel));
        self.kernel.unlock(&locked);
        answer
    }

    #[inline]
    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.kernel.load(slot)
    }

    #[inline]
    fn read_table(&self, table: Mfn) -> impl Fn(usize) -> Pte {
        let words = self.kernel.table(table);
        move |index| {
            if words.is_null() {
                return self.kernel.load(PteSlot::of(table, index));
            }
            // SAFETY: 1. by the promise given to `pvmmu_kernel_init`, 512 entries are mapped there; 2. Rust has no reference
            // to them, and a volatile load makes none.
            Pte::from_bits(unsafe { words.wrapping_add(index % ENTRIES_PER_TABLE).read_volatile() })
        }
    }

    fn online(&self) -> VcpuMask {
        self.release();
        self.kernel.online()
    }

    fn flush_others(&self, table: Mfn) {
        self.release();
        self.kernel.flush_others(table);
    }

    fn report(&self, report: &Report) {
        self.release();
        self.kernel.report(report);
    }
}

impl Hypervisor for Raw<'_> {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let mut done = 0_u32;
        let arguments = [
            updates.as_ptr().expose_provenance() as u64,
            updates.len() as u64,
            (&raw mut done).expose_provenance() as u64,
            subject.bits().into(),
            0,
        ];
        let answer = self.0.hypercall(abi::HYPERCALL_MMU_UPDATE.into(), &arguments);
        Outcome { done, result: Errno::from_return(answer).map(drop) }
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        call.memory().expose();
        let answer = self.0.hypercall(call.raw().number.into(), &call.raw().args);
        call.outcome(answer)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let arguments = [calls.expose(), calls.len() as u64, 0, 0, 0];
        let answer = self.0.hypercall(abi::HYPERCALL_MULTICALL.into(), &arguments);
        Errno::from_return(answer).map(drop)
    }
}

/// Runs `call` in the context the caller is in: as `task`, which is argument 1, or as a handler that has interrupted
/// it.
///
/// # Safety
/// 1. `task` is a task's state of the kernel's or nothing that passes for one.
#[inline]
pub(crate) unsafe fn with_task<T>(
    task: *const Task,
    call: impl FnOnce(&mut Dynamic<'_, Face<'_>>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    // SAFETY: 1. the caller's promise.
    let kept = unsafe { storage::check(task, 1) }?;
    // SAFETY: 1. what is read here is written by `init` only.
    let kernel = unsafe { TaskOf::kernel(kept.get()) };
    let locked = kernel.lock()?;
    if locked.here.context == PVMMU_CONTEXT_TASK {
        let _taken = match kept.take() {
            Ok(taken) => taken,
            Err(refusal) => {
                kernel.unlock(&locked);
                if crate::is_planted!(ReleasedTwice) {
                    kernel.unlock(&locked);
                }
                return Err(refusal);
            }
        };
        // SAFETY: 1. it has been taken, and calls that are refused look at the other field only.
        let state = unsafe { &mut (*kept.get()).state };
        // SAFETY: 1. `lock` has told that this is a task's code.
        let context = unsafe { TaskContext::assume() };
        let face = Face::new(kernel, locked);
        return call(&mut Mmu::new(&face).dynamic(state, Context::Task(&context)));
    }
    // SAFETY: 1. `lock` has told that this is a handler.
    let context = unsafe { InterruptContext::assume() };
    let face = Face::new(kernel, locked);
    // A handler has nothing to do with the state of the task it interrupts.
    let mut nobody = TaskState::new();
    call(&mut Mmu::new(&face).dynamic(&mut nobody, Context::Interrupt(&context)))
}

/// The same, refused to handlers.
///
/// # Safety
/// As [`with_task`].
#[inline]
pub(crate) unsafe fn as_task<T>(
    task: *const Task,
    call: impl FnOnce(&mut Dynamic<'_, Face<'_>>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let call = |dynamic: &mut Dynamic<'_, Face<'_>>| {
        if dynamic.is_interrupt() { Err(Refusal::plain(Code::Interrupt)) } else { call(dynamic) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { with_task(task, call) }
}
