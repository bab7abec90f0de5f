//! Exceptions: a faulting probe returns its fault, everything else ends the domain with its registers
//! as last words.
//!
//! Upcalls are masked from a trap's entry to its return.

use core::arch::naked_asm;
use core::sync::atomic::Ordering::SeqCst;

use hypercall::{Errno, VirtAddr};

use crate::{
    calls,
    frame::{Frame, SAVED_FPU, resume, save},
    layout::{KERNEL_CS, TrapInfo},
    memory::probe,
    percpu::{current_vcpu, vcpu_info},
    shutdown::crash,
};

/// Exceptions with a handler, and one empty element behind them.
const TRAPS: usize = 15 + 1;
const PAGE_FAULT: u32 = 14;

macro_rules! stub {
    ($vector:literal, $error_code:literal) => {{
        /// Entered by Xen with its frame on the stack.
        #[unsafe(naked)]
        unsafe extern "C" fn stub() -> ! {
            naked_asm!(
                "pop rcx",
                "pop r11",
                $error_code,
                "mov dword ptr [rsp + 4], {vector}",
                "push rcx; push r11; push rax",
                "jmp {common}",
                vector = const $vector,
                common = sym trap,
            )
        }
        ($vector, stub as unsafe extern "C" fn() -> !)
    }};
}

macro_rules! with_error {
    ($vector:literal) => {
        stub!($vector, "")
    };
}
macro_rules! without_error {
    ($vector:literal) => {
        stub!($vector, "push 0")
    };
}

#[unsafe(naked)]
unsafe extern "C" fn trap() -> ! {
    naked_asm!(
        save!(),
        "call {handler}",
        "jmp {resume}",
        saved_fpu = const SAVED_FPU,
        handler = sym on_trap,
        resume = sym resume,
    )
}

/// The stubs by vector. NMIs and machine checks are not delivered to a domain that did not ask.
fn stubs() -> [(u8, unsafe extern "C" fn() -> !); TRAPS - 1] {
    [
        without_error!(0),
        without_error!(1),
        without_error!(3),
        without_error!(4),
        without_error!(5),
        without_error!(6),
        without_error!(7),
        with_error!(8),
        with_error!(10),
        with_error!(11),
        with_error!(12),
        with_error!(13),
        with_error!(14),
        without_error!(16),
        without_error!(19),
    ]
}

/// The handlers, in the form that Xen and a new vCPU's state have them.
pub(crate) fn table() -> [TrapInfo; TRAPS] {
    let mut table = [TrapInfo::EMPTY; TRAPS];
    for (place, (vector, stub)) in table.iter_mut().zip(stubs()) {
        let address = (stub as *const ()).addr() as u64;
        *place = TrapInfo { vector, flags: TrapInfo::MASK_UPCALLS, cs: KERNEL_CS as u16, address };
    }
    table
}

/// Sets the handlers on the calling vCPU.
pub(crate) fn install() -> Result<(), Errno> {
    // SAFETY: each address is the stub for its vector.
    unsafe { calls::set_trap_table(&table()) }
}

/// # Safety
/// `frame` is the frame a stub has just saved.
unsafe extern "C" fn on_trap(frame: *mut Frame) -> *mut Frame {
    // SAFETY: the stub's promise; nobody else knows the frame.
    let saved = unsafe { &mut *frame };
    let address = VirtAddr::unchecked(if saved.vector == PAGE_FAULT { vcpu_info().cr2.load(SeqCst) } else { 0 });
    if !probe::recover(saved, address) {
        report(saved, address);
    }
    frame
}

fn report(frame: &Frame, address: VirtAddr) -> ! {
    let Frame { rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, .. } = frame;
    crash(format_args!(
        "trap {} on {}: error {:#x}, at rip {:#x}, address {:#x}\n\
         rsp {rsp:016x} rflags {:x} cs {:x}\n\
         rax {rax:016x} rbx {rbx:016x} rcx {rcx:016x} rdx {rdx:016x}\n\
         rsi {rsi:016x} rdi {rdi:016x} rbp {rbp:016x} r8  {r8:016x}\n\
         r9  {r9:016x} r10 {r10:016x} r11 {r11:016x} r12 {r12:016x}\n\
         r13 {r13:016x} r14 {r14:016x} r15 {r15:016x}",
        frame.vector,
        current_vcpu(),
        frame.error,
        frame.rip,
        address.value(),
        frame.rflags,
        frame.cs as u32,
    ))
}
