//! The words of the text form: one table per kind, used in both directions.

use std::format;
use std::string::{String, ToString};

use hypercall::abi;
use hypercall::{DomId, Errno};

use crate::arena::{HOLE, NONCANONICAL, UNMAPPED};
use crate::frame::{Frame, PAGES, PageId, Special, Table};
use crate::numbers::{CONSOLE_IO, CONTINUED, SCHED_OP, UNTOUCHED, VCPU_OP, VM_ASSIST};

type Names = [(&'static str, u64)];

/// Hypercalls.
pub(super) const HYPERCALLS: &Names = &[
    ("mmu_update", abi::HYPERCALL_MMU_UPDATE as u64),
    ("set_gdt", abi::HYPERCALL_SET_GDT as u64),
    ("stack_switch", abi::HYPERCALL_STACK_SWITCH as u64),
    ("fpu_taskswitch", abi::HYPERCALL_FPU_TASKSWITCH as u64),
    ("update_descriptor", abi::HYPERCALL_UPDATE_DESCRIPTOR as u64),
    ("multicall", abi::HYPERCALL_MULTICALL as u64),
    ("update_va_mapping", abi::HYPERCALL_UPDATE_VA_MAPPING as u64),
    ("xen_version", abi::HYPERCALL_XEN_VERSION as u64),
    ("console_io", CONSOLE_IO as u64),
    ("vm_assist", VM_ASSIST as u64),
    ("update_va_mapping_otherdomain", abi::HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN as u64),
    ("iret", abi::HYPERCALL_IRET as u64),
    ("vcpu_op", VCPU_OP as u64),
    ("set_segment_base", abi::HYPERCALL_SET_SEGMENT_BASE as u64),
    ("mmuext_op", abi::HYPERCALL_MMUEXT_OP as u64),
    ("sched_op", SCHED_OP as u64),
];

/// Commands of `mmuext_op`.
pub(super) const COMMANDS: &Names = &[
    ("pin_l1", abi::MMUEXT_PIN_L1_TABLE as u64),
    ("pin_l2", abi::MMUEXT_PIN_L1_TABLE as u64 + 1),
    ("pin_l3", abi::MMUEXT_PIN_L1_TABLE as u64 + 2),
    ("pin_l4", abi::MMUEXT_PIN_L4_TABLE as u64),
    ("unpin", abi::MMUEXT_UNPIN_TABLE as u64),
    ("new_baseptr", abi::MMUEXT_NEW_BASEPTR as u64),
    ("tlb_flush_local", abi::MMUEXT_TLB_FLUSH_LOCAL as u64),
    ("invlpg_local", abi::MMUEXT_INVLPG_LOCAL as u64),
    ("tlb_flush_multi", abi::MMUEXT_TLB_FLUSH_MULTI as u64),
    ("invlpg_multi", abi::MMUEXT_INVLPG_MULTI as u64),
    ("tlb_flush_all", abi::MMUEXT_TLB_FLUSH_ALL as u64),
    ("invlpg_all", abi::MMUEXT_INVLPG_ALL as u64),
    ("flush_cache", abi::MMUEXT_FLUSH_CACHE as u64),
    ("set_ldt", abi::MMUEXT_SET_LDT as u64),
    ("new_user_baseptr", abi::MMUEXT_NEW_USER_BASEPTR as u64),
    ("clear_page", abi::MMUEXT_CLEAR_PAGE as u64),
    ("copy_page", abi::MMUEXT_COPY_PAGE as u64),
    ("flush_cache_global", abi::MMUEXT_FLUSH_CACHE_GLOBAL as u64),
    ("mark_super", abi::MMUEXT_MARK_SUPER as u64),
    ("unmark_super", abi::MMUEXT_UNMARK_SUPER as u64),
];

/// Commands in the low bits of an update's slot.
pub(super) const UPDATES: &Names = &[
    ("machphys", abi::MMU_MACHPHYS_UPDATE as u64),
    ("preserve_ad", abi::MMU_PT_UPDATE_PRESERVE_AD as u64),
    ("no_translate", abi::MMU_PT_UPDATE_NO_TRANSLATE as u64),
];

/// Domains.
pub(super) const DOMAINS: &Names = &[
    ("self", DomId::SELF.number() as u64),
    ("io", DomId::IO.number() as u64),
    ("dom_xen", DomId::XEN.number() as u64),
];

/// Addresses that are pointers to nothing, each in its own way.
pub(super) const BAD_ADDRESSES: &Names = &[("hole", HOLE), ("noncanonical", NONCANONICAL), ("unmapped", UNMAPPED)];

/// Flags far from the others.
pub(super) const FLAGS: &Names = &[("kernel", 1 << 52), ("nx", 1 << 63)];

const OTHERS: &Names = &[("untouched", UNTOUCHED), ("continued", CONTINUED as u64)];

const TABLES: [(&str, Table); 4] = [("l1", Table::L1), ("l2", Table::L2), ("l3", Table::L3), ("root", Table::Root)];

const SPECIALS: [(&str, Special); 10] = [
    ("shared_info", Special::SharedInfo),
    ("m2p", Special::MachineToPhysical),
    ("xen", Special::Hypervisor),
    ("vga", Special::Vga),
    ("low", Special::LowMemory),
    ("lapic", Special::LocalApic),
    ("ioapic", Special::IoApic),
    ("beyond_memory", Special::BeyondMemory),
    ("beyond_bus", Special::BeyondBus),
    ("highest", Special::Highest),
];

const ERRNOS: [Errno; 14] = [
    Errno::PERM,
    Errno::NOENT,
    Errno::SRCH,
    Errno::INTR,
    Errno::TOO_BIG,
    Errno::NOMEM,
    Errno::ACCES,
    Errno::FAULT,
    Errno::BUSY,
    Errno::EXIST,
    Errno::INVAL,
    Errno::NOSYS,
    Errno::RESTART,
    Errno::OPNOTSUPP,
];

/// The name of a hypercall; `unknown` where it has none.
#[must_use]
pub fn hypercall_name(number: u32) -> &'static str {
    name_of(HYPERCALLS, number.into()).unwrap_or("unknown")
}

/// The name of a command of `mmuext_op`; `unknown` where it has none.
#[must_use]
pub fn command_name(command: u64) -> &'static str {
    name_of(COMMANDS, command & u64::from(u32::MAX)).unwrap_or("unknown")
}

/// The name of a command in the low bits of an update's slot; `unknown` where it has none.
#[must_use]
pub fn update_name(command: u64) -> &'static str {
    if command == 0 { "normal" } else { name_of(UPDATES, command).unwrap_or("unknown") }
}

/// The number that a name stands for anywhere.
pub(super) fn constant(name: &str) -> Option<u64> {
    let tables = [HYPERCALLS, COMMANDS, UPDATES, DOMAINS, BAD_ADDRESSES, FLAGS, OTHERS];
    tables.iter().find_map(|names| number_of(names, name)).or_else(|| errno(name))
}

fn errno(name: &str) -> Option<u64> {
    let errno = ERRNOS.into_iter().find(|errno| errno.name() == Some(name))?;
    Some(errno.as_return().unsigned_abs())
}

pub(super) fn number_of(names: &Names, name: &str) -> Option<u64> {
    names.iter().find(|(candidate, _)| *candidate == name).map(|(_, number)| *number)
}

pub(super) fn name_of(names: &Names, number: u64) -> Option<&'static str> {
    names.iter().find(|(_, candidate)| *candidate == number).map(|(name, _)| *name)
}

/// An answer in words: `-EINVAL`, or the number.
pub(super) fn answer(value: i64) -> String {
    match Errno::from_return(value) {
        Err(errno) if errno.name().is_some() => errno.to_string(),
        _ => value.to_string(),
    }
}

/// The frame of this name.
pub(super) fn frame(name: &str) -> Option<Frame> {
    let table = || TABLES.iter().find(|(candidate, _)| *candidate == name).map(|(_, table)| Frame::Table(*table));
    let special = || SPECIALS.iter().find(|(candidate, _)| *candidate == name).map(|(_, special)| (*special).into());
    numbered(name, "p", PAGES).and_then(PageId::new).map(Frame::Page).or_else(table).or_else(special)
}

/// The name of a frame.
pub(super) fn frame_name(frame: Frame) -> String {
    match frame {
        Frame::Page(page) => format!("p{}", page.number()),
        Frame::Table(table) => TABLES[table as usize].0.into(),
        Frame::Special(special) => SPECIALS[special as usize].0.into(),
    }
}

/// The number behind `prefix`, if it is below `end`.
pub(super) fn numbered(name: &str, prefix: &str, end: usize) -> Option<usize> {
    let number = name.strip_prefix(prefix)?.parse().ok()?;
    (number < end).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_two_things() {
        let tables = [HYPERCALLS, COMMANDS, UPDATES, DOMAINS, BAD_ADDRESSES, FLAGS, OTHERS];
        let names: std::vec::Vec<_> = tables.iter().flat_map(|names| names.iter()).map(|(name, _)| *name).collect();
        for (index, name) in names.iter().enumerate() {
            assert!(!names[..index].contains(name), "{name}");
        }
    }

    #[test]
    fn every_frame_has_a_name() {
        for named in Frame::all() {
            assert_eq!(frame(&frame_name(named)), Some(named));
        }
        assert_eq!((frame("p16"), frame("p"), frame("x")), (None, None, None));
    }
}
