//! What Xen and the guest share in memory: the layouts of `xen/include/public/xen.h`,
//! `arch-x86/xen.h` and `vcpu.h`, as far as the runtime touches them, with sizes and offsets asserted.

use core::mem::{offset_of, size_of};
use core::sync::atomic::{AtomicI8, AtomicU8, AtomicU32, AtomicU64};

/// Code selector of a 64-bit PV kernel (`FLAT_KERNEL_CS`), as a vCPU is started with.
pub(crate) const KERNEL_CS: u64 = 0xe033;
/// The same as frames carry it: privilege level 0 stands for the guest's kernel mode.
pub(crate) const FRAME_CS: u64 = 0xe030;
/// Stack selector of a 64-bit PV kernel (`FLAT_KERNEL_SS`).
pub(crate) const KERNEL_SS: u64 = 0xe02b;
/// rflags of code with upcalls open: the interrupt flag and the bit that is always 1.
pub(crate) const OPEN_RFLAGS: u64 = 0x202;

/// `struct start_info`: what the domain's builder tells its kernel.
#[repr(C)]
pub(crate) struct StartInfo {
    pub(crate) magic: [u8; 32],
    pub(crate) nr_pages: u64,
    pub(crate) shared_info: u64,
    pub(crate) flags: u32,
    pub(crate) store: [u64; 2],
    pub(crate) console: [u64; 2],
    pub(crate) pt_base: u64,
    pub(crate) nr_pt_frames: u64,
    pub(crate) mfn_list: u64,
    pub(crate) mod_start: u64,
    pub(crate) mod_len: u64,
    pub(crate) cmd_line: [u8; 1024],
    pub(crate) first_p2m_pfn: u64,
    pub(crate) nr_p2m_frames: u64,
}

/// `struct vcpu_time_info`: how to make system time of the TSC.
#[repr(C)]
pub(crate) struct VcpuTime {
    pub(crate) version: AtomicU32,
    pad: u32,
    pub(crate) tsc: AtomicU64,
    pub(crate) system: AtomicU64,
    pub(crate) multiplier: AtomicU32,
    pub(crate) shift: AtomicI8,
    flags: u8,
    pad2: [u8; 2],
}

/// `struct vcpu_info`.
#[repr(C)]
pub(crate) struct VcpuInfo {
    /// Not 0: an upcall is due.
    pub(crate) pending: AtomicU8,
    /// Not 0: no upcall is made.
    pub(crate) mask: AtomicU8,
    pad: [u8; 6],
    /// Which words of [`SharedInfo::pending`] to look at.
    pub(crate) selector: AtomicU64,
    /// The address of the last page fault.
    pub(crate) cr2: AtomicU64,
    pad2: u64,
    pub(crate) time: VcpuTime,
}

/// `struct shared_info`, in the page that boot puts in its frame's place.
#[repr(C, align(4096))]
pub(crate) struct SharedInfo {
    pub(crate) vcpus: [VcpuInfo; 32],
    /// One bit for each event channel.
    pub(crate) pending: [AtomicU64; 64],
    /// The same; a set bit holds the event back.
    pub(crate) mask: [AtomicU64; 64],
    rest: [AtomicU64; 128],
}

impl VcpuInfo {
    /// Nothing due, nothing masked.
    pub(crate) const fn zero() -> Self {
        Self {
            pending: AtomicU8::new(0),
            mask: AtomicU8::new(0),
            pad: [0; 6],
            selector: AtomicU64::new(0),
            cr2: AtomicU64::new(0),
            pad2: 0,
            time: VcpuTime {
                version: AtomicU32::new(0),
                pad: 0,
                tsc: AtomicU64::new(0),
                system: AtomicU64::new(0),
                multiplier: AtomicU32::new(0),
                shift: AtomicI8::new(0),
                flags: 0,
                pad2: [0; 2],
            },
        }
    }
}

impl SharedInfo {
    /// A page of zeros.
    pub(crate) const fn zero() -> Self {
        Self {
            vcpus: [const { VcpuInfo::zero() }; 32],
            pending: [const { AtomicU64::new(0) }; 64],
            mask: [const { AtomicU64::new(0) }; 64],
            rest: [const { AtomicU64::new(0) }; 128],
        }
    }
}

/// `struct trap_info`: an element of the trap table.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct TrapInfo {
    pub(crate) vector: u8,
    pub(crate) flags: u8,
    pub(crate) cs: u16,
    pub(crate) address: u64,
}

impl TrapInfo {
    /// Masks upcalls while the handler runs.
    pub(crate) const MASK_UPCALLS: u8 = 4;
    pub(crate) const EMPTY: Self = Self { vector: 0, flags: 0, cs: 0, address: 0 };
}

/// `struct cpu_user_regs`, of which a new vCPU needs few.
#[repr(C)]
pub(crate) struct UserRegs {
    pub(crate) general: [u64; 14],
    pub(crate) rdi: u64,
    pub(crate) error: u64,
    pub(crate) rip: u64,
    pub(crate) cs: u64,
    pub(crate) rflags: u64,
    pub(crate) rsp: u64,
    pub(crate) ss: u64,
    pub(crate) segments: [u64; 4],
}

/// `struct vcpu_guest_context`: the state a vCPU is started with.
#[repr(C)]
pub(crate) struct VcpuContext {
    pub(crate) fpu: [u8; 512],
    pub(crate) flags: u64,
    pub(crate) regs: UserRegs,
    pub(crate) traps: [TrapInfo; 256],
    pub(crate) ldt: [u64; 2],
    pub(crate) gdt_frames: [u64; 16],
    pub(crate) gdt_entries: u64,
    pub(crate) kernel_ss: u64,
    pub(crate) kernel_sp: u64,
    pub(crate) control: [u64; 8],
    pub(crate) debug: [u64; 8],
    pub(crate) event_rip: u64,
    pub(crate) failsafe_rip: u64,
    pub(crate) syscall_rip: u64,
    pub(crate) assist: u64,
    pub(crate) fs_base: u64,
    pub(crate) gs_base_kernel: u64,
    pub(crate) gs_base_user: u64,
}

impl VcpuContext {
    /// `VGCF_IN_KERNEL`: the vCPU starts in kernel mode.
    pub(crate) const IN_KERNEL: u64 = 4;
    /// The state of no vCPU: all zeros.
    pub(crate) const EMPTY: Self = Self {
        fpu: [0; 512],
        flags: 0,
        regs: UserRegs {
            general: [0; 14],
            rdi: 0,
            error: 0,
            rip: 0,
            cs: 0,
            rflags: 0,
            rsp: 0,
            ss: 0,
            segments: [0; 4],
        },
        traps: [TrapInfo::EMPTY; 256],
        ldt: [0; 2],
        gdt_frames: [0; 16],
        gdt_entries: 0,
        kernel_ss: 0,
        kernel_sp: 0,
        control: [0; 8],
        debug: [0; 8],
        event_rip: 0,
        failsafe_rip: 0,
        syscall_rip: 0,
        assist: 0,
        fs_base: 0,
        gs_base_kernel: 0,
        gs_base_user: 0,
    };
}

const _: () = {
    assert!(size_of::<StartInfo>() == 1168);
    assert!(offset_of!(StartInfo, shared_info) == 40 && offset_of!(StartInfo, pt_base) == 88);
    assert!(offset_of!(StartInfo, mfn_list) == 104 && offset_of!(StartInfo, mod_len) == 120);
    assert!(offset_of!(StartInfo, cmd_line) == 128 && offset_of!(StartInfo, nr_p2m_frames) == 1160);
    assert!(size_of::<VcpuTime>() == 32 && offset_of!(VcpuTime, shift) == 28);
    assert!(size_of::<VcpuInfo>() == 64 && offset_of!(VcpuInfo, cr2) == 16 && offset_of!(VcpuInfo, time) == 32);
    assert!(size_of::<SharedInfo>() == 4096);
    assert!(offset_of!(SharedInfo, pending) == 2048 && offset_of!(SharedInfo, mask) == 2560);
    assert!(size_of::<TrapInfo>() == 16 && offset_of!(TrapInfo, address) == 8);
    assert!(size_of::<UserRegs>() == 200 && offset_of!(UserRegs, rdi) == 112 && offset_of!(UserRegs, rip) == 128);
    assert!(size_of::<VcpuContext>() == 5168 && offset_of!(VcpuContext, traps) == 720);
    assert!(offset_of!(VcpuContext, kernel_ss) == 4968 && offset_of!(VcpuContext, control) == 4984);
    assert!(offset_of!(VcpuContext, event_rip) == 5112 && offset_of!(VcpuContext, gs_base_kernel) == 5152);
};
