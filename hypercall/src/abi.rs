//! Xen's own types and numbers, as far as page tables need them.
//!
//! Types and hypercall numbers come from `xen-sys`, whose layouts nobody checks on a current
//! compiler: every size and offset used is asserted here at compile time against the public
//! headers (`xen/include/public/xen.h`). What `xen-sys` lacks is defined beside it.

use core::mem::{offset_of, size_of};

pub use xen_sys::{mmu_update, mmuext_op, multicall_entry};

const _: () = {
    assert!(size_of::<mmu_update>() == 16);
    assert!(offset_of!(mmu_update, ptr) == 0 && offset_of!(mmu_update, val) == 8);
    assert!(size_of::<mmuext_op>() == 24);
    assert!(offset_of!(mmuext_op, cmd) == 0 && offset_of!(mmuext_op, arg1) == 8 && offset_of!(mmuext_op, arg2) == 16);
    assert!(size_of::<multicall_entry>() == 64);
    assert!(offset_of!(multicall_entry, op) == 0 && offset_of!(multicall_entry, result) == 8);
    assert!(offset_of!(multicall_entry, args) == 16);
};

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident = $xen:ident == $value:literal;)*) => {
        $($(#[$doc])* pub const $name: u32 = { assert!(xen_sys::$xen == $value); xen_sys::$xen };)*
    };
}

numbers! {
    /// `mmu_update(updates, count, pdone, subject)`.
    HYPERCALL_MMU_UPDATE = __HYPERVISOR_mmu_update == 1;
    /// `set_gdt(frames, entries)`.
    HYPERCALL_SET_GDT = __HYPERVISOR_set_gdt == 2;
    /// `stack_switch(ss, sp)`.
    HYPERCALL_STACK_SWITCH = __HYPERVISOR_stack_switch == 3;
    /// `fpu_taskswitch(set)`.
    HYPERCALL_FPU_TASKSWITCH = __HYPERVISOR_fpu_taskswitch == 5;
    /// `update_descriptor(machine address, descriptor)`.
    HYPERCALL_UPDATE_DESCRIPTOR = __HYPERVISOR_update_descriptor == 10;
    /// `multicall(entries, count)`.
    HYPERCALL_MULTICALL = __HYPERVISOR_multicall == 13;
    /// `update_va_mapping(va, pte, flags)`.
    HYPERCALL_UPDATE_VA_MAPPING = __HYPERVISOR_update_va_mapping == 14;
    /// `xen_version(command, argument)`.
    HYPERCALL_XEN_VERSION = __HYPERVISOR_xen_version == 17;
    /// `update_va_mapping_otherdomain(va, pte, flags, domain)`.
    HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN = __HYPERVISOR_update_va_mapping_otherdomain == 22;
    /// `iret()`.
    HYPERCALL_IRET = __HYPERVISOR_iret == 23;
    /// `set_segment_base(which, base)`.
    HYPERCALL_SET_SEGMENT_BASE = __HYPERVISOR_set_segment_base == 25;
    /// `mmuext_op(ops, count, pdone, domain)`.
    HYPERCALL_MMUEXT_OP = __HYPERVISOR_mmuext_op == 26;

    /// Checked update of a page-table entry.
    MMU_NORMAL_PT_UPDATE = MMU_NORMAL_PT_UPDATE == 0;
    /// Update of the machine-to-physical table.
    MMU_MACHPHYS_UPDATE = MMU_MACHPHYS_UPDATE == 1;
    /// As `MMU_NORMAL_PT_UPDATE`, but accessed and dirty of the old entry stay.
    MMU_PT_UPDATE_PRESERVE_AD = MMU_PT_UPDATE_PRESERVE_AD == 2;
    /// As `MMU_NORMAL_PT_UPDATE` for a PV guest.
    MMU_PT_UPDATE_NO_TRANSLATE = MMU_PT_UPDATE_NO_TRANSLATE == 3;

    /// Pin a frame as an L1 table; L2 to L4 are the three numbers that follow.
    MMUEXT_PIN_L1_TABLE = MMUEXT_PIN_L1_TABLE == 0;
    /// Pin a frame as an L4 table.
    MMUEXT_PIN_L4_TABLE = MMUEXT_PIN_L4_TABLE == 3;
    /// Unpin a table of any level.
    MMUEXT_UNPIN_TABLE = MMUEXT_UNPIN_TABLE == 4;
    /// Load the kernel base pointer.
    MMUEXT_NEW_BASEPTR = MMUEXT_NEW_BASEPTR == 5;
    /// Flush this vCPU's TLB.
    MMUEXT_TLB_FLUSH_LOCAL = MMUEXT_TLB_FLUSH_LOCAL == 6;
    /// Invalidate one address on this vCPU.
    MMUEXT_INVLPG_LOCAL = MMUEXT_INVLPG_LOCAL == 7;
    /// Flush the TLBs of a set of vCPUs.
    MMUEXT_TLB_FLUSH_MULTI = MMUEXT_TLB_FLUSH_MULTI == 8;
    /// Invalidate one address on a set of vCPUs.
    MMUEXT_INVLPG_MULTI = MMUEXT_INVLPG_MULTI == 9;
    /// Flush every vCPU's TLB.
    MMUEXT_TLB_FLUSH_ALL = MMUEXT_TLB_FLUSH_ALL == 10;
    /// Invalidate one address on every vCPU.
    MMUEXT_INVLPG_ALL = MMUEXT_INVLPG_ALL == 11;
    /// Write back and invalidate this processor's caches.
    MMUEXT_FLUSH_CACHE = MMUEXT_FLUSH_CACHE == 12;
    /// Load the local descriptor table.
    MMUEXT_SET_LDT = MMUEXT_SET_LDT == 13;
    /// Load the user-mode base pointer.
    MMUEXT_NEW_USER_BASEPTR = MMUEXT_NEW_USER_BASEPTR == 15;
    /// Clear a frame.
    MMUEXT_CLEAR_PAGE = MMUEXT_CLEAR_PAGE == 16;
    /// Copy a frame.
    MMUEXT_COPY_PAGE = MMUEXT_COPY_PAGE == 17;
    /// Write back and invalidate every processor's caches.
    MMUEXT_FLUSH_CACHE_GLOBAL = MMUEXT_FLUSH_CACHE_GLOBAL == 18;
    /// Mark a superpage; refused by Xen since 4.9.
    MMUEXT_MARK_SUPER = MMUEXT_MARK_SUPER == 19;
    /// Unmark a superpage; refused by Xen since 4.9.
    MMUEXT_UNMARK_SUPER = MMUEXT_UNMARK_SUPER == 20;
}

/// `UVMF_TLB_FLUSH`: flush whole TLBs after `update_va_mapping`.
pub const UVMF_TLB_FLUSH: u64 = 1;
/// `UVMF_INVLPG`: invalidate the one address after `update_va_mapping`.
pub const UVMF_INVLPG: u64 = 2;
/// The two bits that hold the flush kind.
pub const UVMF_FLUSHTYPE_MASK: u64 = 3;
/// `UVMF_LOCAL`: the calling vCPU only.
pub const UVMF_LOCAL: u64 = 0;
/// `UVMF_ALL`: every vCPU. Any other value of these bits is the address of a vCPU bitmap.
pub const UVMF_ALL: u64 = 4;
