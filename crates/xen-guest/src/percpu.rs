//! Which vCPU this is, and what belongs to it alone.

use core::arch::asm;
use core::cell::RefCell;

use crossbeam::utils::CachePadded;
use hypercall::VcpuId;

use crate::{
    layout::{SharedInfo, VcpuInfo},
    mask::mask,
};

/// vCPUs the runtime has room for.
pub const MAX_VCPUS: usize = 2;

/// What the GS base of a vCPU points at.
#[repr(C)]
pub(crate) struct VcpuArea {
    number: u32,
}

/// Each vCPU's area, by number.
pub(crate) static AREAS: [CachePadded<VcpuArea>; MAX_VCPUS] =
    [CachePadded::new(VcpuArea { number: 0 }), CachePadded::new(VcpuArea { number: 1 })];

/// The page Xen and the guest share. Boot maps the real frame in its place before anything looks.
pub(crate) static SHARED: SharedInfo = SharedInfo::zero();

/// The vCPU that executes this. A task stays on its vCPU, so the answer keeps.
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

/// The calling vCPU's part of the shared page.
pub(crate) fn vcpu_info() -> &'static VcpuInfo {
    &SHARED.vcpus[current_vcpu().number() as usize]
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
