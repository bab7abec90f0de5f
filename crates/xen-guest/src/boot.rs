//! From Xen's entry to the kernel's main.
//!
//! Xen enters with rsi at `start_info`, on a stack of its own that is not used any further, upcalls
//! masked on every vCPU. The order below matters: per-vCPU data before anything asks which vCPU this
//! is, handlers before the events, and upcalls are opened last.

use core::arch::naked_asm;

use hypercall::{Errno, FlushScope, Pte, PteFlags, TaskContext, VaFlush, VirtAddr};

use crate::{
    calls,
    layout::StartInfo,
    mask,
    percpu::{self, AREAS, SHARED, current_vcpu},
    shutdown::{Reason, crash, shutdown},
    stack::Stack,
    start_info, tasks, timer, traps, upcall,
};

/// The type of a kernel's main function. It runs as task 0 of vCPU 0; when it returns, the domain
/// reboots.
pub type KernelMain = fn(&TaskContext);

/// Bytes of the stack that main runs on.
const STACK_BYTES: usize = 256 << 10;

static STACK: Stack<STACK_BYTES> = Stack::new();

#[cfg(not(test))]
mod image {
    //! What makes the program a kernel's image.

    use core::arch::global_asm;

    unsafe extern "C" {
        /// Defined by `guest.ld` and by nothing else.
        static xen_guest_image: u8;
    }

    /// Ties the runtime to that linker script: no other program that links it is whole.
    #[used]
    static IMAGE: Address = Address(&raw const xen_guest_image);

    struct Address(#[expect(dead_code, reason = "it is the reference that counts")] *const u8);

    // SAFETY: it is never read.
    unsafe impl Sync for Address {}

    // The notes by which Xen's domain builder knows a PV kernel and how to start it
    // (`xen/include/public/elfnote.h`). Virtual addresses are physical ones: base and offset are 0.
    global_asm!(
        ".macro xen_note type, kind, value:vararg",
        ".pushsection .note.Xen, \"a\", @note",
        ".balign 4",
        ".long 4, 3f - 2f, \\type",
        ".asciz \"Xen\"",
        "2: \\kind \\value",
        "3: .balign 4",
        ".popsection",
        ".endm",
        "xen_note 1, .quad, {entry}",
        "xen_note 3, .quad, 0",
        "xen_note 4, .quad, 0",
        "xen_note 5, .asciz, \"xen-3.0\"",
        "xen_note 6, .asciz, \"xen-guest\"",
        "xen_note 8, .asciz, \"generic\"",
        // No direct stores to page tables: what the kernel writes there by itself is a mistake.
        "xen_note 10, .asciz, \"!writable_page_tables\"",
        entry = sym super::entry,
    );
}

/// Where Xen enters.
#[unsafe(naked)]
#[unsafe(export_name = "xen_guest_entry")]
unsafe extern "C" fn entry() -> ! {
    naked_asm!(
        "cld",
        "lea rsp, [rip + {stack} + {end}]",
        "mov rdi, rsi",
        "xor ebp, ebp",
        "call {boot}",
        "ud2",
        stack = sym STACK,
        end = const Stack::<STACK_BYTES>::END,
        boot = sym boot,
    )
}

#[cfg(not(test))]
unsafe extern "Rust" {
    /// Named by [`kernel!`](crate::kernel).
    safe fn xen_guest_kernel_main(context: &TaskContext);
}

/// A test has no kernel to start.
#[cfg(test)]
fn xen_guest_kernel_main(_: &TaskContext) {}

/// # Safety
/// The caller is the entry, and `address` what Xen has put in rsi.
unsafe extern "C" fn boot(address: *mut StartInfo) -> ! {
    // SAFETY: the caller's promise.
    unsafe { start_info::keep(address) };
    if let Err(errno) = set_up() {
        crash(format_args!("booting failed: Xen answered {errno}"));
    }
    // SAFETY: this is vCPU 0's task 0, and the token is gone when main has returned.
    let context = unsafe { TaskContext::assume() };
    xen_guest_kernel_main(&context);
    shutdown(Reason::Reboot)
}

fn set_up() -> Result<(), Errno> {
    if !start_info::is_xen() {
        return Err(Errno::NOSYS);
    }
    // SAFETY: vCPU 0's area stays where it is.
    unsafe { calls::set_gs_base((&raw const AREAS[0]).expose_provenance() as u64) }?;
    map_shared_info()?;
    percpu::register_info(current_vcpu())?;
    traps::install()?;
    let [event, failsafe, syscall] = entries();
    // SAFETY: the stubs for these purposes.
    unsafe { calls::set_callbacks(event, failsafe, syscall) }?;
    STACK.guard()?;
    tasks::guard_stacks()?;
    timer::bind(current_vcpu())?;
    timer::stop_ticker()?;
    mask::open();
    Ok(())
}

/// Puts the shared frame in the place of the page kept for it.
fn map_shared_info() -> Result<(), Errno> {
    let flags = PteFlags::PRESENT | PteFlags::RW | PteFlags::ACCESSED | PteFlags::DIRTY;
    let pte = Pte::new(start_info::shared_info().frame(), flags);
    let address = VirtAddr::unchecked((&raw const SHARED).expose_provenance() as u64);
    // SAFETY: the page consists of atomics, and nobody has used it yet.
    unsafe { calls::set_mapping(address, pte, VaFlush::Invlpg(FlushScope::Local)) }
}

/// The entry points a vCPU has beside its traps: upcall, failed return, system call.
pub(crate) fn entries() -> [u64; 3] {
    [upcall::upcall as *const (), failsafe as *const (), syscall as *const ()].map(|stub| stub.addr() as u64)
}

/// Where Xen enters when it cannot return to a frame the kernel gave it.
#[unsafe(naked)]
unsafe extern "C" fn failsafe() -> ! {
    naked_asm!("and rsp, -16", "call {}", sym on_failsafe)
}

/// Where Xen enters for a system call of user mode, which this kernel does not have.
#[unsafe(naked)]
unsafe extern "C" fn syscall() -> ! {
    naked_asm!("and rsp, -16", "call {}", sym on_syscall)
}

extern "C" fn on_failsafe() -> ! {
    crash(format_args!("Xen could not return to a frame: a selector in it is bad"))
}

extern "C" fn on_syscall() -> ! {
    crash(format_args!("a system call came in, and there is no user mode"))
}
