//! Accesses that report a fault instead of crashing.
//!
//! Each is one instruction at the start of a function of its own. The trap handler knows their
//! addresses, and lets a faulting.

use core::arch::naked_asm;
use core::fmt;

use hypercall::VirtAddr;

use crate::frame::Frame;

/// An access that was refused: not mapped, read-only, or no canonical address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Exception vector: 14 for a page fault, 13 for an address that is not canonical.
    pub vector: u8,
    /// Error code. In a page fault bit 0 tells that the page is present, bit 1 that it was a write.
    pub error: u32,
    /// The address Xen reports for a page fault.
    pub address: VirtAddr,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exception {} with error {:#x} at {}", self.vector, self.error, self.address)
    }
}

impl core::error::Error for Fault {}

/// In rax and rdx.
#[repr(C)]
struct Probed {
    /// What was read, or the address that faulted.
    value: u64,
    /// 0, or the fault.
    fault: u64,
}

const FAULTED: u64 = 1 << 63;

impl Probed {
    const fn result(self) -> Result<u64, Fault> {
        if self.fault == 0 {
            return Ok(self.value);
        }
        let address = VirtAddr::unchecked(self.value);
        Err(Fault { vector: (self.fault >> 32) as u8, error: self.fault as u32, address })
    }
}

/// Reads the 8-byte word at `address`.
///
/// # Errors
/// [`Fault`] where it cannot be read.
pub fn load(address: VirtAddr) -> Result<u64, Fault> {
    // SAFETY: the read is one instruction that no reference of Rust's is part of, and a fault returns.
    unsafe { load_instruction(address.value()) }.result()
}

/// Writes the 8-byte word at `address`, by a plain store.
///
/// # Safety
/// Nothing that Rust relies on lies there.
///
/// # Errors
/// [`Fault`] where it cannot be written; the word is unchanged then.
pub unsafe fn store(address: VirtAddr, value: u64) -> Result<(), Fault> {
    // SAFETY: the caller vouches for the word; a fault returns.
    unsafe { store_instruction(address.value(), value) }.result().map(drop)
}

/// Replaces the 8-byte word at `address` in one atomic step and answers with what it held.
///
/// # Safety
/// Nothing that Rust relies on lies there.
///
/// # Errors
/// [`Fault`] where it cannot be written; the word is unchanged then.
pub unsafe fn exchange(address: VirtAddr, value: u64) -> Result<u64, Fault> {
    // SAFETY: the caller vouches for the word; a fault returns.
    unsafe { exchange_instruction(address.value(), value) }.result()
}

/// Clears the bits of the 8-byte word at `address` that `mask` has not, in one atomic step.
///
/// # Safety
/// Nothing that Rust relies on lies there.
///
/// # Errors
/// [`Fault`] where it cannot be written; the word is unchanged then.
pub unsafe fn and(address: VirtAddr, mask: u64) -> Result<(), Fault> {
    // SAFETY: the caller vouches for the word; a fault returns.
    unsafe { and_instruction(address.value(), mask) }.result().map(drop)
}

/// Clears the flag [`RW`](hypercall::PteFlags::RW) of the entry at `address` in one atomic step, by the
/// instruction of one byte that Linux has for it.
///
/// # Safety
/// Nothing that Rust relies on lies there.
///
/// # Errors
/// [`Fault`] where it cannot be written; the word is unchanged then.
pub unsafe fn clear_writable(address: VirtAddr) -> Result<(), Fault> {
    // SAFETY: the caller vouches for the word; a fault returns.
    unsafe { clear_writable_instruction(address.value()) }.result().map(drop)
}

#[unsafe(naked)]
unsafe extern "C" fn load_instruction(address: u64) -> Probed {
    naked_asm!("mov rax, [rdi]", "xor edx, edx", "ret");
}

#[unsafe(naked)]
unsafe extern "C" fn store_instruction(address: u64, value: u64) -> Probed {
    naked_asm!("mov [rdi], rsi", "xor eax, eax", "xor edx, edx", "ret");
}

#[unsafe(naked)]
unsafe extern "C" fn exchange_instruction(address: u64, value: u64) -> Probed {
    naked_asm!("xchg [rdi], rsi", "mov rax, rsi", "xor edx, edx", "ret");
}

#[unsafe(naked)]
unsafe extern "C" fn and_instruction(address: u64, mask: u64) -> Probed {
    naked_asm!("lock and [rdi], rsi", "xor eax, eax", "xor edx, edx", "ret");
}

#[unsafe(naked)]
unsafe extern "C" fn clear_writable_instruction(address: u64) -> Probed {
    naked_asm!("lock and byte ptr [rdi], 0xfd", "xor eax, eax", "xor edx, edx", "ret");
}

#[unsafe(naked)]
unsafe extern "C" fn after_fault() -> Probed {
    naked_asm!("ret");
}

/// Makes a faulting access return its fault; `false` where the frame is of something else.
pub(crate) fn recover(frame: &mut Frame, address: VirtAddr) -> bool {
    let accesses = [
        load_instruction as *const (),
        store_instruction as *const (),
        exchange_instruction as *const (),
        and_instruction as *const (),
        clear_writable_instruction as *const (),
    ];
    if !accesses.iter().any(|access| access.addr() as u64 == frame.rip) {
        return false;
    }
    // The stack is as the caller left it: the access is its function's first instruction.
    frame.rip = (after_fault as *const ()).addr() as u64;
    frame.rax = address.value();
    frame.rdx = FAULTED | u64::from(frame.vector) << 32 | u64::from(frame.error);
    true
}
