//! Tasks, and the regions they are in.
//!
//! "Pointers": each is null or points at what its type says, for the length of the call; `task` is the task that calls, or
//! in a handler the one that was interrupted.

use pv_mmu::{Profile, TaskState};

use crate::{
    error::{Code, Refusal, Why, answer},
    face::{as_task, with_task},
    platform::{Functions, Kernel},
    storage::{self, Storage},
};

/// A region never nests (R4).
pub const PVMMU_PROFILE_STRICT: u32 = 0;
/// Enter and leave count; every leave flushes, the outermost ends laziness (R4).
pub const PVMMU_PROFILE_NESTED: u32 = 1;

/// Words of `struct pvmmu_task`.
pub const PVMMU_TASK_WORDS: usize = 192;

/// What the library keeps of a task: a depth, a pause count, and failures until the leave. Never a queue.
#[repr(C, align(16))]
pub struct Task {
    opaque: [u64; PVMMU_TASK_WORDS],
}

/// What lies in a [`Task`]: of all calls that are made by it at once, all look at the kernel and one has the state.
pub(crate) struct TaskOf {
    kernel: *const Functions,
    pub(crate) state: TaskState,
}

impl TaskOf {
    /// The kernel the task is of.
    ///
    /// # Safety
    /// 1. `task` has been initialised.
    #[inline]
    pub(crate) const unsafe fn kernel<'k>(task: *const Self) -> &'k Functions {
        // SAFETY: 1. the caller's promise; 2. the field is never written again; 3. by the promise given to
        // `pvmmu_kernel_init` the kernel outlives its tasks.
        unsafe { &*(*task).kernel }
    }
}

impl Storage for Task {
    type Value = TaskOf;
    const MARK: u64 = u64::from_le_bytes(*b"pvmmu/t1");
}

/// Initialises the state of a task of `kernel`, of `bytes` bytes (`sizeof(struct pvmmu_task)`), outside any region.
/// `profile`: `PVMMU_PROFILE_STRICT` or `PVMMU_PROFILE_NESTED` (R4).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`, `PVMMU_ERROR_NOT_INITIALISED` (the kernel),
/// `PVMMU_ERROR_ARGUMENT`.
///
/// # Safety
/// 1. Pointers; `task` has `bytes` bytes, and nobody uses it yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_task_init(
    task: *mut Task,
    bytes: usize,
    kernel: *const Kernel,
    profile: u32,
    why: *mut Why,
) -> Code {
    let state = match profile {
        PVMMU_PROFILE_STRICT => Ok(TaskState::with_profile(Profile::Strict)),
        PVMMU_PROFILE_NESTED => Ok(TaskState::with_profile(Profile::Nested)),
        other => Err(Refusal::of(Code::Argument, other.into())),
    };
    // SAFETY: 1. the caller's promise.
    let kernel = unsafe { storage::check(kernel, 3) }.map(storage::Kept::get);
    let value = state.and_then(|state| kernel.map(|kernel| TaskOf { kernel, state }));
    // SAFETY: 1. the caller's promise.
    unsafe { answer(value.and_then(|value| storage::init(task, bytes, 1, value)), why) }
}

/// The task ends: a region or pause still open is flushed and reported as leaked (R2), and the storage is given back.
///
/// Errors: `PVMMU_ERROR_INTERRUPT`, and those of every call by a task: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`,
/// `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_WRONG_VCPU`, `PVMMU_ERROR_CONTEXT`, `PVMMU_ERROR_WITHIN_STEP`,
/// `PVMMU_ERROR_BUSY`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_task_exit(task: *mut Task, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let result = unsafe {
        as_task(task, |dynamic| {
            dynamic.exit();
            Ok(())
        })
    };
    if result.is_ok() {
        // SAFETY: 1. the caller's promise.
        let _ = unsafe { storage::check(task, 1) }.map(storage::Kept::forget);
    }
    // SAFETY: 1. the caller's promise.
    unsafe { answer(result, why) }
}

/// Enters a region: until it is left, the task's operations may wait (R1, R4).
///
/// Errors: `PVMMU_ERROR_NESTED`, `PVMMU_ERROR_TOO_DEEP`, `PVMMU_ERROR_INTERRUPT` (R6); those of every call by a task
/// (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_enter(task: *mut Task, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    unsafe { answer(with_task(task, |dynamic| Ok(dynamic.enter()?)), why) }
}

/// Leaves a region: when this returns, each of its operations is effective or named as failed (R2, R4).
///
/// Errors: `PVMMU_ERROR_NOT_ENTERED`, `PVMMU_ERROR_INTERRUPT`; `PVMMU_ERROR_FAILED`: the region is left, and `failed`
/// of its operations are not effective; those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_leave(task: *mut Task, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    unsafe { answer(with_task(task, |dynamic| Ok(dynamic.leave()?)), why) }
}

/// Pauses laziness at any depth: flushes, and makes operations immediate (R5). Pauses nest; legal outside a region too.
///
/// Errors: `PVMMU_ERROR_TOO_DEEP`, `PVMMU_ERROR_INTERRUPT`; `PVMMU_ERROR_FAILED`: it is paused, and operations asked
/// for before are not effective; those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_pause(task: *mut Task, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    unsafe { answer(with_task(task, |dynamic| Ok(dynamic.pause()?)), why) }
}

/// Ends a pause; the depth is what it was (R5).
///
/// Errors: `PVMMU_ERROR_NOT_PAUSED`, `PVMMU_ERROR_INTERRUPT`; `PVMMU_ERROR_OPEN_REGIONS`: it is ended, and regions
/// opened in it are closed; those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_resume(task: *mut Task, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    unsafe { answer(with_task(task, |dynamic| Ok(dynamic.resume()?)), why) }
}

/// Hands over what is queued on this vCPU; laziness goes on. Failures: the task's next leave, a handler's `report`
/// (R14).
///
/// Errors: those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_flush(task: *mut Task, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    unsafe {
        answer(
            with_task(task, |dynamic| {
                dynamic.flush();
                Ok(())
            }),
            why,
        )
    }
}

/// Whether an operation asked for now may wait: 1, or 0 outside a region, in a pause, in a handler (R1, R5, R6).
///
/// Errors: `PVMMU_ERROR_NULL` (`lazy`), and those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_is_lazy(task: *mut Task, lazy: *mut u32, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let result = unsafe { with_task(task, |dynamic| Ok(dynamic.is_lazy())) };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(result.and_then(|is_lazy| put(lazy, 2, is_lazy.into())), why) }
}

/// Writes an answer where C wants it, argument `argument` of the call.
///
/// # Safety
/// 1. `place` is null, unaligned or the caller's to write.
pub(crate) unsafe fn put<T>(place: *mut T, argument: u64, value: T) -> Result<(), Refusal> {
    can_put(place, argument)?;
    // SAFETY: 1. the caller's promise; 2. neither null nor unaligned.
    unsafe { place.write(value) };
    Ok(())
}

/// Whether an answer could be written there: asked before anything is done for it.
pub(crate) fn can_put<T>(place: *mut T, argument: u64) -> Result<(), Refusal> {
    if place.is_null() {
        return Err(Refusal::null(argument));
    }
    if place.is_aligned() { Ok(()) } else { Err(Refusal::of(Code::Unaligned, place.addr() as u64)) }
}
