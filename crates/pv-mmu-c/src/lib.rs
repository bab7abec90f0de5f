//! The library for kernels written in C: `include/pvmmu.h` is made from this crate, and says to each function its rule,
//! its units and its errors.
//!
//! Protocol. The kernel provides the memory of everything: a kernel object, a queue for each vCPU, a state for each task.
//! Each is initialised once, stays where it is, and is known by a mark from then on. A call takes the vCPU
//! (`pvmmu_platform::lock`) before it does anything, so what can be wrong with its caller is found while nothing has been
//! done: it is refused with an error, and the vCPU released. What the call goes on with are the run-time checked rules of
//! `pv_mmu::Dynamic`. A task is in one call at a time: a callback that comes back by the same task is refused, and a handler
//! touches no task's state at all.
//!
//! What cannot be checked is promised by the kernel: that memory is what it is passed as, that callbacks do what they say,
//! and that they return.
#![no_std]

pub mod entries;
pub mod error;
mod face;
pub mod operation;
/// cbindgen:ignore
#[cfg(feature = "planted")]
pub mod planted;
pub mod platform;
pub mod region;
pub mod report;
mod storage;
pub mod switch;
pub mod table;
pub mod words;

/// Whether the face is to break what this planted fault is about: never, but for tests of whoever checks it.
macro_rules! is_planted {
    ($fault:ident) => {{
        #[cfg(feature = "planted")]
        let is_planted = $crate::planted::has($crate::planted::Fault::$fault);
        #[cfg(not(feature = "planted"))]
        let is_planted = false;
        is_planted
    }};
}
use is_planted;

// `xen-sys` has functions that jump to a hypercall page of this name. Nobody calls them, so no kernel needs to have one.
core::arch::global_asm!(".weak HYPERCALL_PAGE");

#[cfg(not(feature = "user-space"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// What the gate on panics exists to find.
/// cbindgen:ignore
#[cfg(feature = "planted-panic")]
#[unsafe(no_mangle)]
pub extern "C" fn planted(values: &[u32; 4], index: usize) -> u32 {
    values[index]
}
