//! The real Xen, called by the `syscall` instruction.
//!
//! Xen takes a hypercall's number in rax and its arguments in rdi, rsi, rdx, r10 and r8, and answers
//! in rax (`xen/include/public/arch-x86/xen-x86_64.h`); `syscall` itself destroys rcx and r11. A call
//! that Xen interrupts is continued by executing the same `syscall` again with rewritten argument
//! registers, so these are outputs as well: after the call they hold what the last pass was given.
//!
//! The hypercall page is not used. Its stubs push two words, which an inline `syscall` does not, and a
//! kernel without the page needs no ELF note for it.

#[cfg(not(target_arch = "x86_64"))]
compile_error!("feature `xen`: Xen's PV interface exists on x86_64 only");

use core::arch::asm;

use crate::{Errno, Hypervisor, MmuUpdate, Outcome, PreparedCall, PreparedCalls, RawCall, Subject, abi};

/// Issues hypercall `number` with `args` in rdi, rsi, rdx, r10 and r8. Answers with what Xen returned
/// in rax and with the argument registers as the call left them: unchanged, unless Xen interrupted
/// and continued it.
///
/// # Safety
/// 1. The caller runs in the kernel mode of a Xen PV domain; elsewhere `syscall` enters another kernel.
/// 2. Memory the arguments point at is valid for what the call reads and writes there.
/// 3. The call leaves alone what Rust relies on: no live mapping, stack or descriptor is changed
///    behind a reference.
/// 4. The code around it has no red zone: with upcalls open, Xen pushes a frame below rsp.
#[inline]
pub unsafe fn hypercall(number: u64, args: [u64; 5]) -> (i64, [u64; 5]) {
    let [mut a, mut b, mut c, mut d, mut e] = args;
    let answer: i64;
    // SAFETY: the caller vouches for the call (1 to 4). Every register that `syscall`, Xen or an upcall
    // handler may leave changed is an output, and `nostack` is not claimed, because an upcall at the
    // end of the call writes below rsp.
    unsafe {
        asm!(
            "syscall",
            inout("rax") number => answer,
            inout("rdi") a,
            inout("rsi") b,
            inout("rdx") c,
            inout("r10") d,
            inout("r8") e,
            out("rcx") _,
            out("r11") _,
        );
    }
    (answer, [a, b, c, d, e])
}

/// The real Xen as the calling vCPU sees it.
#[derive(Debug)]
pub struct Xen(());

impl Xen {
    /// The hypervisor this code runs on.
    ///
    /// # Safety
    /// 1. The code runs, now and whenever it calls this value, in the kernel mode of a Xen PV domain
    ///    and without a red zone.
    /// 2. Whoever is given the value changes only page tables, descriptors and stacks that no
    ///    reference of the kernel depends on, or depends on in the way it is changed. The operations
    ///    are safe to call and can replace any mapping of the kernel.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(())
    }
}

impl Hypervisor for Xen {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let mut done = 0_u32;
        let args = [
            updates.as_ptr().expose_provenance() as u64,
            updates.len() as u64,
            (&raw mut done).expose_provenance() as u64,
            subject.bits().into(),
            0,
        ];
        // SAFETY: (1, 3, 4) by the promise given to `Xen::assume`; (2) Xen reads `updates.len()` updates
        // and writes one `u32`, both borrowed here for the length of the call.
        let (answer, _) = unsafe { hypercall(abi::HYPERCALL_MMU_UPDATE.into(), args) };
        Outcome { done, result: Errno::from_return(answer).map(drop) }
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let RawCall { number, args } = *call.raw();
        call.memory.expose();
        // SAFETY: (1, 3, 4) by the promise given to `Xen::assume`; (2) a prepared call's pointers lead
        // into the memory it borrows.
        let (answer, _) = unsafe { hypercall(number.into(), args) };
        call.outcome(answer)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let args = [calls.expose(), calls.len() as u64, 0, 0, 0];
        // SAFETY: (1, 3, 4) by the promise given to `Xen::assume`; (2) the entries and the memory their
        // pointers lead into are borrowed by `calls`.
        let (answer, _) = unsafe { hypercall(abi::HYPERCALL_MULTICALL.into(), args) };
        Errno::from_return(answer).map(drop)
    }
}
