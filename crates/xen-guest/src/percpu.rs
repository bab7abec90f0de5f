//! Which vCPU this is, and what belongs to it alone.

use core::arch::asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use crossbeam::utils::CachePadded;
use hypercall::{Errno, PAGE_SIZE, VcpuId, VirtAddr};

use crate::{
    calls,
    layout::{SharedInfo, VcpuInfo},
    mask,
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
#[inline]
pub fn current_vcpu() -> VcpuId {
    VcpuId::new(current_number() as u32)
}

/// Its number, which is below [`MAX_VCPUS`].
#[inline]
fn current_number() -> usize {
    let number: usize;
    // SAFETY: boot has pointed the GS base of every vCPU at its area before other code runs on it. The upper half is zeroed.
    unsafe {
        asm!("mov {:e}, gs:[0]", out(reg) number, options(nostack, readonly, preserves_flags));
    }
    number
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

/// What the mask holds. Xen looks whether it is 0, and writes 0 and 1.
const MASKED: u8 = 1;
/// Masked by a step of a [`PerVcpu`], in which there is no other.
const IN_STEP: u8 = 2;

/// Masks upcalls as `by` says, unless they are; `false` where they were, and nothing has changed.
///
/// Two instructions do: what is interrupted between them, or even moved to another vCPU, goes on with upcalls open, so it is
/// the mask of the vCPU that executes the second that was open.
#[inline]
fn mask_as<const BY: u8>() -> bool {
    // SAFETY: as in `current_vcpu`; the mask is the vCPU's own. What is relied on while it is set is not moved before it,
    // because the instructions may touch any memory.
    unsafe {
        asm!(
            "cmp byte ptr gs:[{at}], 0",
            "jne {masked}",
            "mov byte ptr gs:[{at}], {by}",
            at = const MASK,
            by = const BY,
            masked = label { return false },
            options(nostack),
        );
    }
    true
}

/// Masks upcalls, and answers whether they were.
#[inline]
pub(crate) fn mask_own() -> bool {
    !mask_as::<MASKED>()
}

fn own_mask() -> u8 {
    let mask: u8;
    // SAFETY: as in `current_vcpu`.
    unsafe {
        asm!("mov {mask}, gs:[{at}]", at = const MASK, mask = out(reg_byte) mask, options(nostack, readonly, preserves_flags));
    }
    mask
}

/// Whether upcalls are masked.
pub(crate) fn is_masked() -> bool {
    own_mask() != 0
}

fn set_mask<const TO: u8>() {
    // SAFETY: as in `mask_as`; they stay masked.
    unsafe { asm!("mov byte ptr gs:[{at}], {to}", at = const MASK, to = const TO, options(nostack, preserves_flags)) }
}

/// Opens upcalls, and answers whether one was due. Where one comes between the two steps and moves the task, it has been
/// taken, and the answer is of a vCPU that nobody waits for.
#[inline]
pub(crate) fn open_own() -> bool {
    let pending: u8;
    // SAFETY: as in `mask_as`.
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
/// between: no other vCPU, no upcall, no other task. There is one step at a time on a vCPU, whatever it is with.
#[derive(Debug)]
pub struct PerVcpu<T>([CachePadded<UnsafeCell<T>>; MAX_VCPUS]);

// SAFETY: 1. `with` borrows the calling vCPU's value only. 2. It masks upcalls first, so on that vCPU nobody else runs while
// it is borrowed; the mask tells of the step, and a second one within it panics. 3. `T: Send` as its values may be made on
// another vCPU.
unsafe impl<T: Send> Sync for PerVcpu<T> {}

impl<T> PerVcpu<T> {
    /// The values of vCPU 0 and vCPU 1.
    #[must_use]
    pub const fn new(first: T, second: T) -> Self {
        Self([CachePadded::new(UnsafeCell::new(first)), CachePadded::new(UnsafeCell::new(second))])
    }

    /// Runs `step` with the calling vCPU's, upcalls masked.
    ///
    /// # Panics
    /// Where it is called from within a step.
    #[inline]
    pub fn with<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        if !mask_as::<IN_STEP>() {
            return self.with_masked(step);
        }
        // SAFETY: upcalls were open and are not any more: the task stays where it is, and as a step has them masked from its
        // begin to its end, none is under way.
        let answer = step(unsafe { self.own() });
        mask::open();
        answer
    }

    /// The same where they are masked already.
    #[cold]
    #[inline(never)]
    fn with_masked<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        assert_ne!(own_mask(), IN_STEP, "a step within a step");
        set_mask::<IN_STEP>();
        // SAFETY: upcalls are masked, and no step was under way.
        let answer = step(unsafe { self.own() });
        set_mask::<MASKED>();
        answer
    }

    /// # Safety
    /// Upcalls are masked, and nobody on this vCPU has it while the answer lives.
    #[inline]
    #[allow(clippy::mut_from_ref, reason = "the caller vouches that it is the only one")]
    unsafe fn own(&self) -> &mut T {
        // SAFETY: 1. The number is below the array's length. 2. The caller's promise.
        unsafe { &mut *self.0.get_unchecked(current_number()).get() }
    }
}
