//! Calls that carry one operation in registers, page tables aside.

use hypercall::{Errno, GdtFrames, Operation, SegmentBase, VirtAddr, abi, xen::hypercall};
use xen_guest::{memory::take_page, timer::tsc};

use super::{issuer::Issuer, meter::Meter};
use crate::error::Error;

/// The selector of the kernel's stack (`FLAT_KERNEL_SS` of `xen/include/public/arch-x86/xen-x86_64.h`).
pub(super) const KERNEL_SS: u64 = 0xe02b;

pub(super) fn measure(issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let page = take_page().ok_or(Error::NoPage)?;
    let descriptor = page.frame().base().map_err(|_| Errno::INVAL)?;
    // The kernel has no user mode: nothing looks at a base of it, or at the stack it would be entered on.
    let base = |which| Operation::SetSegmentBase { which, base: 0 };
    let operations = [
        ("stack_switch", Operation::StackSwitch { ss: KERNEL_SS, sp: VirtAddr::unchecked(0) }),
        ("set_segment_base/fs", base(SegmentBase::Fs)),
        ("set_segment_base/gs-user", base(SegmentBase::GsUser)),
        ("set_segment_base/gs-user-selector", base(SegmentBase::GsUserSelector)),
        ("update_descriptor", Operation::UpdateDescriptor { address: descriptor, descriptor: 0 }),
    ];
    for (name, operation) in operations {
        meter.row(format_args!("{name}"), 1, || issuer.one(&operation))?;
    }
    // The same call as for the other bases, with the one the kernel stands on.
    meter.row(format_args!("set_segment_base/gs-kernel"), 1, || issuer.one(&own_base()))?;
    task_switched(meter)?;
    descriptor_table(issuer, meter)
}

/// Sets the task-switched flag and clears it. In between no instruction of the FPU may come, so there are two
/// bare calls and readings of the counter.
fn task_switched(meter: &mut Meter<'_>) -> Result<(), Error> {
    let once = || {
        let number = abi::HYPERCALL_FPU_TASKSWITCH.into();
        let before = tsc();
        // SAFETY: this is a kernel without a red zone; the call changes the flag alone.
        let (set, _) = unsafe { hypercall(number, [1, 0, 0, 0, 0]) };
        let between = tsc();
        // SAFETY: as above.
        let (cleared, _) = unsafe { hypercall(number, [0; 5]) };
        let after = tsc();
        Errno::from_return(set | cleared)?;
        Ok([between - before, after - between])
    };
    meter.row(format_args!("fpu_taskswitch/set"), 1, || once().map(|[set, _]| set))?;
    meter.row(format_args!("fpu_taskswitch/clear"), 1, || once().map(|[_, cleared]| cleared))
}

fn own_base() -> Operation {
    Operation::SetSegmentBase { which: SegmentBase::GsKernel, base: xen_guest::own_base() }
}

/// A descriptor table is loaded and given up; the size is its number of frames.
fn descriptor_table(issuer: &mut Issuer, meter: &mut Meter<'_>) -> Result<(), Error> {
    let mut pages = [take_page().ok_or(Error::NoPage)?, take_page().ok_or(Error::NoPage)?];
    pages.iter_mut().try_for_each(|page| page.protect())?;
    let frames = pages.each_ref().map(|page| page.frame());
    for size in 0..=2 {
        let table = GdtFrames::new(&frames[..size], size as u32 * GdtFrames::PER_FRAME).ok_or(Errno::INVAL)?;
        let none = GdtFrames::new(&[], 0).ok_or(Errno::INVAL)?;
        meter.row(format_args!("set_gdt"), size, || {
            let cost = issuer.one(&Operation::SetGdt(table))?;
            issuer.one(&Operation::SetGdt(none))?;
            Ok(cost)
        })?;
    }
    Ok(())
}
