//! What lies on the stack while code is interrupted: every register, and how it is put there and taken
//! away again.
//!
//! Xen enters the kernel's mode with its frame on the stack of whatever ran, right below rsp rounded
//! down to 16: rcx, r11, for some exceptions an error code, then rip, cs, rflags, rsp, ss, lowest first.
//! The entry stubs bring that into the order of [`Frame`], in which the `iret` hypercall takes it back.
//! The frame to go on with need not be the one that was entered with: that is the context switch.

use core::arch::naked_asm;
use core::mem::{offset_of, size_of};

/// Everything an interrupted piece of code needs to go on. Lowest address first.
#[repr(C)]
pub(crate) struct Frame {
    /// `fxsave64` image, at a multiple of 16.
    pub(crate) fpu: [u8; 512],
    pad: u64,
    pub(crate) r15: u64,
    pub(crate) r14: u64,
    pub(crate) r13: u64,
    pub(crate) r12: u64,
    pub(crate) r10: u64,
    pub(crate) r9: u64,
    pub(crate) r8: u64,
    pub(crate) rdi: u64,
    pub(crate) rsi: u64,
    pub(crate) rbp: u64,
    pub(crate) rbx: u64,
    pub(crate) rdx: u64,
    // From here on as the iret hypercall takes it.
    pub(crate) rax: u64,
    pub(crate) r11: u64,
    pub(crate) rcx: u64,
    /// Error code of an exception; with `vector` the place of the hypercall's flags.
    pub(crate) error: u32,
    /// Exception vector.
    pub(crate) vector: u32,
    pub(crate) rip: u64,
    /// Code selector with privilege level 0; the upper half is Xen's.
    pub(crate) cs: u64,
    /// The interrupt flag tells whether upcalls were open.
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
}

const _: () = {
    assert!(size_of::<Frame>() == 688 && size_of::<Frame>().is_multiple_of(16));
    assert!(offset_of!(Frame, r15) == SAVED_FPU && offset_of!(Frame, rax) == SAVED_FPU + 12 * 8);
    assert!(offset_of!(Frame, error) - offset_of!(Frame, rax) == 24);
};

/// Bytes the stubs make room for below the general registers.
pub(crate) const SAVED_FPU: usize = 520;
/// x87 control word and MXCSR of a fresh processor, for tasks that have not run.
const FRESH_FCW: u16 = 0x37f;
const FRESH_MXCSR: u32 = 0x1f80;

impl Frame {
    /// The frame of code that has not run yet: it starts at `rip`, on a stack that ends at `stack_end` (a
    /// multiple of 16), with upcalls open.
    pub(crate) fn fresh(rip: u64, stack_end: u64) -> Self {
        let mut fpu = [0; 512];
        fpu[..2].copy_from_slice(&FRESH_FCW.to_le_bytes());
        fpu[24..28].copy_from_slice(&FRESH_MXCSR.to_le_bytes());
        Self {
            fpu,
            pad: 0,
            r15: 0,
            r14: 0,
            r13: 0,
            r12: 0,
            r10: 0,
            r9: 0,
            r8: 0,
            rdi: 0,
            rsi: 0,
            rbp: 0,
            rbx: 0,
            rdx: 0,
            rax: 0,
            r11: 0,
            rcx: 0,
            error: 0,
            vector: 0,
            rip,
            cs: crate::layout::FRAME_CS,
            rflags: crate::layout::OPEN_RFLAGS,
            // As if called: a return address lies below a multiple of 16.
            rsp: stack_end - 8,
            ss: crate::layout::KERNEL_SS,
        }
    }
}

/// Instructions that save what the stub has not, leave rsp at the frame and hand it over in rdi. The
/// stack holds the frame from rax upward, 8 below a multiple of 16.
macro_rules! save {
    () => {
        "push rdx; push rbx; push rbp; push rsi; push rdi; push r8; push r9; push r10; \
         push r12; push r13; push r14; push r15; \
         sub rsp, {saved_fpu}; fxsave64 [rsp]; cld; mov rdi, rsp"
    };
}
pub(crate) use save;

#[cfg(not(feature = "planted-lost-sse"))]
macro_rules! restore_fpu {
    () => {
        "fxrstor64 [rsp]"
    };
}

#[cfg(feature = "planted-lost-sse")]
macro_rules! restore_fpu {
    () => {
        "xorps xmm0, xmm0; xorps xmm1, xmm1; xorps xmm2, xmm2"
    };
}

/// Goes on with the frame whose address is in rax. Not for calls: a stub jumps here with upcalls
/// masked; the iret hypercall opens them as the frame's rflags say.
#[unsafe(naked)]
pub(crate) unsafe extern "C" fn resume() -> ! {
    naked_asm!(
        "mov rsp, rax",
        restore_fpu!(),
        "add rsp, {saved_fpu}",
        "pop r15; pop r14; pop r13; pop r12; pop r10; pop r9; pop r8",
        "pop rdi; pop rsi; pop rbp; pop rbx; pop rdx",
        // Flags 0: a full return, which restores rcx and r11 too.
        "mov qword ptr [rsp + 24], 0",
        "mov eax, {iret}",
        "syscall",
        "ud2",
        saved_fpu = const SAVED_FPU,
        iret = const hypercall::abi::HYPERCALL_IRET,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_code_starts_as_if_called_with_upcalls_open() {
        let frame = Frame::fresh(0x1000, 0x8000);
        assert_eq!((frame.rip, frame.rsp % 16), (0x1000, 8));
        assert_ne!(frame.rflags & 0x200, 0);
        assert_eq!(frame.fpu[24..28], FRESH_MXCSR.to_le_bytes());
    }
}
