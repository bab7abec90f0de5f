//! Runtime of a PV guest kernel on the real Xen.
//!
//! A kernel is a binary that names its main function with [`kernel!`] and is linked by `guest.ld`. Xen
//! loads it as domain 0 and enters it with upcalls masked on every vCPU; by the time main is called,
//! as a task of vCPU 0, the console, the frame tables, traps, upcalls and the timer are set up and
//! upcalls are open. When main returns, the domain reboots, which ends a QEMU that was told so.
//!
//! Who may run what:
//! - A vCPU's own state ([`PerVcpu`]) is reached by that vCPU alone, with upcalls masked. There is no
//!   lock in the runtime that an upcall handler could wait for.
//! - Handlers run with upcalls masked, on the stack of whatever they interrupted; the entry code saves
//!   every register, SSE included, so they are ordinary Rust. That puts a frame right below rsp: code
//!   of a kernel has no red zone, which a build gate checks in the linked image.
//! - Tasks ([`tasks`]) are preempted by the timer, and stay on their vCPU unless spawned to wander. Before another task's next
//!   step the switch hook runs.
//! - A fault that no [`memory::probe`] asked for, a panic, or a stack that overflows ends the domain
//!   with last words on the console.
//!
//! Nothing here works outside such a kernel, and linking it into another program fails: `guest.ld`
//! defines a symbol that the runtime cannot do without.
#![no_std]

#[cfg(test)]
extern crate std;

mod boot;
mod calls;
mod console;
pub mod events;
mod frame;
pub mod interrupted;
mod layout;
#[cfg(not(test))]
mod library;
mod mask;
pub mod memory;
mod percpu;
pub mod platform;
mod shutdown;
pub mod smp;
mod stack;
pub mod start_info;
pub mod tasks;
pub mod timer;
mod traps;
mod upcall;

pub use boot::KernelMain;
pub use calls::{xen_extra_version, xen_version};
pub use console::{log_line, write_line};
pub use mask::{Masked, mask};
pub use percpu::{MAX_VCPUS, PerVcpu, current_vcpu, own_base};
pub use platform::GuestPlatform;
pub use shutdown::{Reason, end_by_panic, shutdown};
pub use upcall::upcalls;

/// Writes a line to the kernel's log; longer text goes on in further lines.
#[macro_export]
macro_rules! log {
    ($($argument:tt)*) => { $crate::log_line(::core::format_args!($($argument)*)) };
}

/// Names the kernel's main function, a [`KernelMain`], and gives the kernel its panic handler. That is
/// part of the binary, so that this crate can be built beside others that use the standard library.
#[macro_export]
macro_rules! kernel {
    ($main:path) => {
        const _: $crate::KernelMain = $main;

        #[allow(unsafe_code)]
        // SAFETY: the runtime looks for exactly this name and type.
        #[unsafe(export_name = "xen_guest_kernel_main")]
        fn xen_guest_kernel_main(context: &::hypercall::TaskContext) {
            $main(context)
        }

        #[panic_handler]
        fn panic(info: &::core::panic::PanicInfo<'_>) -> ! {
            $crate::end_by_panic(info)
        }
    };
}
