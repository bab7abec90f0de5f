//! Which vCPU this is, and what belongs to it alone.

use core::arch::asm;
use core::cell::RefCell;
use core::mem::offset_of;

use crossbeam::utils::CachePadded;
use hypercall::{Errno, PAGE_SIZE, VcpuId, VirtAddr};

use crate::{
    calls,
    layout::{SharedInfo, VcpuInfo},
    mask::mask,
    memory::p2m,
};

/// vCPUs the runtime has room for.
pub const MAX_VCPUS: usize = 2;

/// What the GS base of a vCPU points at.
#[repr(C)]
pub(crate) struct VcpuArea {
    number: u32,
    /// What Xen and the vCPU share, registered before the vCPU looks at it.
    info: VcpuInfo,
}

impl VcpuArea {
    const fn new(number: u32) -> Self {
        Self { number, info: VcpuInfo::zero() }
    }
}

/// Of an area's `mask` and `pending`, from the GS base.
const MASK: usize = offset_of!(VcpuArea, info) + offset_of!(VcpuInfo, mask);
const PENDING: usize = offset_of!(VcpuArea, info) + offset_of!(VcpuInfo, pending);

/// Each vCPU's area, by number. Its padding keeps it within a page.
pub(crate) static AREAS: [CachePadded<VcpuArea>; MAX_VCPUS] =
    [CachePadded::new(VcpuArea::new(0)), CachePadded::new(VcpuArea::new(1))];

/// The page Xen and the guest share. Boot maps the real frame in its place before anything looks.
pub(crate) static SHARED: SharedInfo = SharedInfo::zero();

/// The vCPU that executes this. The answer keeps while upcalls are masked, in a handler, and in a task
/// that is not spawned to wander.
#[must_use]
pub fn current_vcpu() -> VcpuId {
    let number: u32;
    // SAFETY: boot has pointed the GS base of every vCPU at its area before other code runs on it.
    unsafe {
        asm!("mov {:e}, gs:[0]", out(reg) number, options(nostack, readonly, preserves_flags));
    }
    VcpuId::new(number)
}

/// The GS base the calling vCPU was given: where its area lies.
#[must_use]
pub fn own_base() -> u64 {
    (&raw const AREAS[current_vcpu().number() as usize]).addr() as u64
}

/// What Xen and the calling vCPU share.
pub(crate) fn vcpu_info() -> &'static VcpuInfo {
    &AREAS[current_vcpu().number() as usize].info
}

/// Has Xen keep what it shares with `vcpu` in the vCPU's area. Once, and before the vCPU looks there.
pub(crate) fn register_info(vcpu: VcpuId) -> Result<(), Errno> {
    let area = AREAS.get(vcpu.number() as usize).ok_or(Errno::NOENT)?;
    let address = (&raw const area.info).expose_provenance() as u64;
    let frame = p2m::frame_at(VirtAddr::unchecked(address)).ok_or(Errno::FAULT)?;
    // SAFETY: it consists of atomics, and stays where it is.
    unsafe { calls::register_vcpu_info(vcpu, frame, (address % PAGE_SIZE) as u32) }
}

/// Masks upcalls, and answers whether they were. One instruction: it masks those of the vCPU that executes
/// it, wherever the task has been before.
pub(crate) fn mask_own() -> bool {
    let mut mask = 1_u8;
    // SAFETY: as in `current_vcpu`; the mask is the vCPU's own.
    unsafe {
        asm!("xchg gs:[{at}], {mask}", at = const MASK, mask = inout(reg_byte) mask, options(nostack, preserves_flags));
    }
    mask != 0
}

/// Whether upcalls are masked.
pub(crate) fn is_masked() -> bool {
    let mask: u8;
    // SAFETY: as in `current_vcpu`.
    unsafe {
        asm!("mov {mask}, gs:[{at}]", at = const MASK, mask = out(reg_byte) mask, options(nostack, readonly, preserves_flags));
    }
    mask != 0
}

/// Opens upcalls, and answers whether one was due. Where one comes between the two steps and moves the task, the
/// upcall has been taken, and the answer is of a vCPU that nobody waits for.
pub(crate) fn open_own() -> bool {
    let pending: u8;
    // SAFETY: as in `current_vcpu`; the mask is the vCPU's own.
    unsafe {
        asm!(
            "mov byte ptr gs:[{mask}], 0",
            "mov {due}, gs:[{pending}]",
            mask = const MASK,
            pending = const PENDING,
            due = out(reg_byte) pending,
            options(nostack, preserves_flags),
        );
    }
    pending != 0
}

/// One `T` for each vCPU, reached by that vCPU alone and with upcalls masked, so that nothing comes
/// between: no other vCPU, no upcall, no other task.
#[derive(Debug)]
pub struct PerVcpu<T>([CachePadded<RefCell<T>>; MAX_VCPUS]);

// SAFETY: 1. `with` borrows the calling vCPU's cell only, so no two vCPUs touch one cell's counter or
// content. 2. It masks upcalls first, so on that vCPU nobody else runs while the cell is borrowed; a
// nested borrow is the cell's own panic. 3. `T: Send` as its values may be made on another vCPU.
unsafe impl<T: Send> Sync for PerVcpu<T> {}

impl<T> PerVcpu<T> {
    /// The values of vCPU 0 and vCPU 1.
    #[must_use]
    pub const fn new(first: T, second: T) -> Self {
        Self([CachePadded::new(RefCell::new(first)), CachePadded::new(RefCell::new(second))])
    }

    /// Runs `step` with the calling vCPU's, upcalls masked.
    ///
    /// # Panics
    /// Where it is called from within `step`.
    pub fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        let _masked = mask();
        let cell = &self.0[current_vcpu().number() as usize];
        step(&mut cell.borrow_mut())
    }
}
