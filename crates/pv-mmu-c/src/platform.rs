//! The kernel below the library, as functions of C.

use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::sync::atomic::{AtomicBool, Ordering};

use hypercall::VcpuMask;
use pv_mmu::VcpuQueue;

use crate::{
    error::{Code, Refusal, Why, answer},
    report::{PVMMU_REPORT_LEAKED_REGION, Report},
    storage::{self, Kept, Storage},
    words::{Mfn, Pte, Slot, Vcpus},
};

/// A task's own code.
pub const PVMMU_CONTEXT_TASK: u32 = 0;
/// A handler that interrupted it, the upcall's above all (R6).
pub const PVMMU_CONTEXT_INTERRUPT: u32 = 1;

/// Where a step runs: `lock` fills it in, and the same comes back with `unlock`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Here {
    /// The kernel's own: whether upcalls were masked before.
    pub saved: u64,
    /// The vCPU the caller is on.
    pub vcpu: u32,
    /// `PVMMU_CONTEXT_TASK` or `PVMMU_CONTEXT_INTERRUPT`.
    pub context: u32,
}

/// What only the kernel knows. `data` is passed to every function.
///
/// All but `table` and `store` have to be there. The library calls none of them with a vCPU taken but `unlock`,
/// `hypercall`, `load` and `table`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Platform {
    /// The kernel's own.
    pub data: *mut c_void,
    /// 1. Pins the caller to its vCPU, masks upcalls, fills in `here` and answers with the vCPU's queue (R9). Upcalls
    ///    stay masked and nobody else runs on this vCPU until `unlock`. May be called with upcalls masked.
    pub lock: Option<unsafe extern "C" fn(data: *mut c_void, here: *mut Here) -> *mut Queue>,
    /// 2. Undoes `lock`.
    pub unlock: Option<unsafe extern "C" fn(data: *mut c_void, here: *const Here)>,
    /// 3. Makes hypercall `number` with five arguments and answers with what Xen returned in rax. Arguments are numbers
    ///    and addresses; a multicall's entries and done counts are written by Xen.
    pub hypercall: Option<unsafe extern "C" fn(data: *mut c_void, number: u64, arguments: *const u64) -> i64>,
    /// 4. Reads an entry from memory, by a plain load.
    pub load: Option<unsafe extern "C" fn(data: *mut c_void, slot: Slot) -> Pte>,
    /// 5. Fills in the vCPUs that are online.
    pub online: Option<unsafe extern "C" fn(data: *mut c_void, vcpus: *mut Vcpus)>,
    /// 6. Returns once no other vCPU runs on `table`, or has the load away from it queued (R12): interrupts whoever
    ///    may, has the handler leave the table and call `pvmmu_interrupt_flush`, and waits. Nothing to do where there is
    ///    one vCPU.
    pub flush_others: Option<unsafe extern "C" fn(data: *mut c_void, table: Mfn)>,
    /// 7. Is told what no caller is there to be told. The report is gone when it returns.
    pub report: Option<unsafe extern "C" fn(data: *mut c_void, report: *const Report)>,
    /// 8. `lock` has gone wrong in the middle of a call, where nobody can be answered any more: `code` as for a call
    ///    that has not begun. Must not return; if it does, the library spins.
    pub fatal: Option<unsafe extern "C" fn(data: *mut c_void, code: Code)>,
    /// Where the table in frame `table` is mapped, 512 entries; null where it is not. Saves a call of `load` for each
    /// entry of a range. May be missing.
    pub table: Option<unsafe extern "C" fn(data: *mut c_void, table: Mfn) -> *const u64>,
    /// Stores a word of a page that is no table, by a plain store: what `pvmmu_table_*` need. May be missing.
    pub store: Option<unsafe extern "C" fn(data: *mut c_void, slot: Slot, pte: Pte)>,
}

/// Words of `struct pvmmu_kernel`.
pub const PVMMU_KERNEL_WORDS: usize = 16;
/// Words of `struct pvmmu_queue`.
pub const PVMMU_QUEUE_WORDS: usize = 2560;

/// Operations that are handed over with upcalls masked, at most (R15).
pub const PVMMU_MASKED_BOUND: usize = 554;
const _: () = assert!(PVMMU_MASKED_BOUND == VcpuQueue::<512, 32, 128>::MASKED_BOUND);

/// A kernel: its platform, checked. One for all vCPUs, never changed.
#[repr(C)]
pub struct Kernel {
    opaque: [u64; PVMMU_KERNEL_WORDS],
}

/// The queue of one vCPU: 512 updates in 32 calls at most. `lock` hands it out.
#[repr(C, align(128))]
pub struct Queue {
    opaque: [u64; PVMMU_QUEUE_WORDS],
}

/// What lies in a [`Queue`].
pub(crate) struct QueueOf {
    vcpu: u32,
    /// Whether a step is under way.
    in_step: AtomicBool,
    queue: UnsafeCell<VcpuQueue>,
}

impl Storage for Kernel {
    type Value = Functions;
    const MARK: u64 = u64::from_le_bytes(*b"pvmmu/k1");
}

impl Storage for Queue {
    type Value = QueueOf;
    const MARK: u64 = u64::from_le_bytes(*b"pvmmu/q1");
}

/// A platform that has what it must have.
pub(crate) struct Functions {
    data: *mut c_void,
    lock: unsafe extern "C" fn(*mut c_void, *mut Here) -> *mut Queue,
    unlock: unsafe extern "C" fn(*mut c_void, *const Here),
    hypercall: unsafe extern "C" fn(*mut c_void, u64, *const u64) -> i64,
    load: unsafe extern "C" fn(*mut c_void, Slot) -> Pte,
    online: unsafe extern "C" fn(*mut c_void, *mut Vcpus),
    flush_others: unsafe extern "C" fn(*mut c_void, Mfn),
    report: unsafe extern "C" fn(*mut c_void, *const Report),
    fatal: unsafe extern "C" fn(*mut c_void, Code),
    table: Option<unsafe extern "C" fn(*mut c_void, Mfn) -> *const u64>,
    store: Option<unsafe extern "C" fn(*mut c_void, Slot, Pte)>,
}

/// A vCPU that has been taken for a step.
pub(crate) struct Locked {
    pub(crate) here: Here,
    queue: &'static QueueOf,
}

// Each call below is of a function of the platform's, with the promise that is given for it in `pvmmu_kernel_init`:
// "(platform)".
impl Functions {
    fn of(platform: &Platform) -> Result<Self, Refusal> {
        let missing = |number| Refusal::of(Code::MissingFunction, number);
        Ok(Self {
            data: platform.data,
            lock: platform.lock.ok_or(missing(1))?,
            unlock: platform.unlock.ok_or(missing(2))?,
            hypercall: platform.hypercall.ok_or(missing(3))?,
            load: platform.load.ok_or(missing(4))?,
            online: platform.online.ok_or(missing(5))?,
            flush_others: platform.flush_others.ok_or(missing(6))?,
            report: platform.report.ok_or(missing(7))?,
            fatal: platform.fatal.ok_or(missing(8))?,
            table: platform.table,
            store: platform.store,
        })
    }

    /// Takes the vCPU.
    ///
    /// # Errors
    /// The platform has no queue for it, or a step is under way there; it is released again.
    #[inline]
    pub(crate) fn lock(&self) -> Result<Locked, Refusal> {
        let mut here = Here { saved: 0, vcpu: u32::MAX, context: u32::MAX };
        // SAFETY: (platform).
        let queue = unsafe { (self.lock)(self.data, &raw mut here) };
        // SAFETY: 1. (platform): the queue stays as long as the vCPU.
        let checked = unsafe { storage::check(queue, 0) }.and_then(|kept| Self::enter_step(kept, &here));
        match checked {
            Ok(queue) => Ok(Locked { here, queue }),
            Err(refusal) => {
                // SAFETY: (platform).
                unsafe { (self.unlock)(self.data, &raw const here) };
                Err(no_queue(refusal, &here))
            }
        }
    }

    #[inline]
    fn enter_step(kept: &'static Kept<QueueOf>, here: &Here) -> Result<&'static QueueOf, Refusal> {
        // SAFETY: 1. the value is only shared: what changes in it is atomic, or the step's.
        let queue = unsafe { &*kept.get() };
        if queue.vcpu != here.vcpu {
            return Err(Refusal::Value { code: Code::WrongVcpu, value: here.vcpu.into(), limit: queue.vcpu.into() });
        }
        if here.context > PVMMU_CONTEXT_INTERRUPT {
            return Err(Refusal::of(Code::Context, here.context.into()));
        }
        if queue.in_step.swap(true, Ordering::Acquire) {
            return Err(Refusal::plain(Code::WithinStep));
        }
        Ok(queue)
    }

    #[inline]
    pub(crate) fn unlock(&self, locked: &Locked) {
        locked.queue.in_step.store(false, Ordering::Release);
        // SAFETY: (platform).
        unsafe { (self.unlock)(self.data, &raw const locked.here) };
    }

    /// There is nobody to be answered.
    #[cold]
    pub(crate) fn fatal(&self, refusal: &Refusal) -> ! {
        // SAFETY: (platform).
        unsafe { (self.fatal)(self.data, refusal.code()) };
        loop {
            core::hint::spin_loop();
        }
    }

    #[inline]
    pub(crate) fn hypercall(&self, number: u64, arguments: &[u64; 5]) -> i64 {
        // SAFETY: (platform).
        unsafe { (self.hypercall)(self.data, number, arguments.as_ptr()) }
    }

    #[inline]
    pub(crate) fn load(&self, slot: hypercall::PteSlot) -> hypercall::Pte {
        // SAFETY: (platform).
        unsafe { (self.load)(self.data, Slot::of(slot)) }.native()
    }

    /// Where a table is mapped; null where that is not known.
    pub(crate) fn table(&self, table: hypercall::Mfn) -> *const u64 {
        // SAFETY: (platform).
        self.table.map_or(core::ptr::null(), |at| unsafe { at(self.data, Mfn::of(table)) })
    }

    pub(crate) const fn stores(&self) -> bool {
        self.store.is_some()
    }

    pub(crate) fn store(&self, slot: hypercall::PteSlot, pte: hypercall::Pte) {
        if let Some(store) = self.store {
            // SAFETY: (platform).
            unsafe { store(self.data, Slot::of(slot), Pte::of(pte)) };
        }
    }

    pub(crate) fn online(&self) -> VcpuMask {
        let mut vcpus = Vcpus::default();
        // SAFETY: (platform).
        unsafe { (self.online)(self.data, &raw mut vcpus) };
        vcpus.native()
    }

    pub(crate) fn flush_others(&self, table: hypercall::Mfn) {
        if crate::is_planted!(OthersForgotten) {
            return;
        }
        // SAFETY: (platform).
        unsafe { (self.flush_others)(self.data, Mfn::of(table)) };
    }

    pub(crate) fn report(&self, report: &pv_mmu::Report) {
        let report = Report::of(report);
        if crate::is_planted!(LeakUntold) && report.kind == PVMMU_REPORT_LEAKED_REGION {
            return;
        }
        // SAFETY: (platform).
        unsafe { (self.report)(self.data, &raw const report) };
    }
}

/// That a queue is missing is said of the vCPU.
#[cold]
fn no_queue(refusal: Refusal, here: &Here) -> Refusal {
    match refusal {
        Refusal::Value { code: Code::Null, .. } => {
            Refusal::Value { code: Code::WrongVcpu, value: here.vcpu.into(), limit: u64::from(u32::MAX) }
        }
        other => other,
    }
}

impl Locked {
    /// The queue, for the length of the step.
    ///
    /// # Safety
    /// 1. The vCPU has not been released, and nobody else has it of this [`Locked`].
    #[allow(clippy::mut_from_ref, reason = "the caller vouches that it is the only one")]
    #[inline]
    pub(crate) unsafe fn queue(&self) -> &mut VcpuQueue {
        // SAFETY: 1. the caller's promise; 2. `in_step` was not set before and is, so nobody else is in a step with it.
        unsafe { &mut *self.queue.queue.get() }
    }
}

/// Initialises a kernel object of `bytes` bytes (`sizeof(struct pvmmu_kernel)`) with a copy of `platform`. What it
/// promises is what R9 rests on.
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`, `PVMMU_ERROR_MISSING_FUNCTION`.
///
/// # Safety
/// 1. `kernel` has `bytes` bytes and stays where it is while a task of it lives; `platform` can be read; `why` is null
///    or can be written. 2. Each function of the platform can be called in every context the library is used in, keeps
///    what is said of it, and what its answers point at stays: a queue as long as its vCPU.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_kernel_init(
    kernel: *mut Kernel,
    bytes: usize,
    platform: *const Platform,
    why: *mut Why,
) -> Code {
    let functions = if platform.is_null() || !platform.is_aligned() {
        Err(Refusal::null(3))
    } else {
        // SAFETY: 1. neither null nor unaligned, and the caller's promise.
        Functions::of(unsafe { &*platform })
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(functions.and_then(|functions| storage::init(kernel, bytes, 1, functions)), why) }
}

/// Initialises the queue of vCPU number `vcpu`, of `bytes` bytes (`sizeof(struct pvmmu_queue)`). Before the vCPU uses
/// it. It is this vCPU's alone (R8, R9).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`.
///
/// # Safety
/// 1. `queue` has `bytes` bytes, and nobody uses it yet; `why` is null or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_queue_init(queue: *mut Queue, bytes: usize, vcpu: u32, why: *mut Why) -> Code {
    const EMPTY: &VcpuQueue = &VcpuQueue::new();
    // SAFETY: 1. there is room for a value where this is told; 2. an empty queue holds nothing that a copy would share.
    let write = |place: *mut QueueOf| unsafe {
        (&raw mut (*place).vcpu).write(vcpu);
        (&raw mut (*place).in_step).write(AtomicBool::new(false));
        (&raw mut (*place).queue).cast::<VcpuQueue>().copy_from_nonoverlapping(EMPTY, 1);
    };
    // SAFETY: 1. the caller's promise; 2. it writes all fields.
    unsafe { answer(storage::init_by(queue, bytes, 1, write), why) }
}
