//! The upcall: Xen's way into the kernel when an event is due.
//!
//! All handlers run first; then the next step may be another task's.

use core::arch::naked_asm;
use core::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hypercall::{InterruptContext, VcpuId};

use crate::{
    events,
    frame::{Frame, SAVED_FPU, resume, save},
    interrupted,
    percpu::{MAX_VCPUS, current_vcpu},
    tasks,
};

static UPCALLS: [AtomicU64; MAX_VCPUS] = [const { AtomicU64::new(0) }; MAX_VCPUS];

/// Upcalls `vcpu` has taken; 0 for one there is no room for.
#[must_use]
pub fn upcalls(vcpu: VcpuId) -> u64 {
    UPCALLS.get(vcpu.number() as usize).map_or(0, |count| count.load(SeqCst))
}

/// Where Xen enters the kernel for an upcall.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn upcall() -> ! {
    naked_asm!(
        "pop rcx",
        "pop r11",
        "push 0",
        "push rcx; push r11; push rax",
        save!(),
        "call {handler}",
        "jmp {resume}",
        saved_fpu = const SAVED_FPU,
        handler = sym on_upcall,
        resume = sym resume,
    )
}

/// # Safety
/// `frame` is the frame the stub has just saved, of the task that runs on this vCPU.
unsafe extern "C" fn on_upcall(frame: *mut Frame) -> *mut Frame {
    UPCALLS[current_vcpu().number() as usize].fetch_add(1, SeqCst);
    // SAFETY: the stub's promise; nobody else knows the frame yet.
    interrupted::notice(unsafe { &mut *frame });
    // SAFETY: this is the upcall handler, and the token does not outlive the call.
    events::dispatch(&unsafe { InterruptContext::assume() });
    // SAFETY: the frame is the running task's.
    unsafe { tasks::after_upcall(frame) }
}
