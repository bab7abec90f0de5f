//! Bodies as the kernel itself prints them: `tracing/trace`, and whatever passes that text on.

mod kernel;
mod mmu;
mod multicall;

use super::cursor::{BodyFault, Cursor};
use crate::event::EventKind;

pub(super) use kernel::{page_fault, split_last, task_after_last, until};

/// The event called `name`, by all the names it has had; `None` if it is not one of the kernel's own.
pub(super) fn event_kind(name: &[u8], body: Cursor<'_>) -> Option<Result<EventKind, BodyFault>> {
    if let Some(operation) = name.strip_prefix(b"xen_mc_") {
        return multicall_kind(operation, body);
    }
    if let Some(operation) = name.strip_prefix(b"xen_mmu_") {
        return mmu_kind(operation, body);
    }
    Some(match name {
        b"sched_switch" => kernel::sched_switch(body),
        b"sys_enter" => kernel::syscall_enter(body),
        b"sys_exit" => kernel::syscall_exit(body),
        b"page_fault_user" => kernel::page_fault(body, true),
        b"page_fault_kernel" => kernel::page_fault(body, false),
        b"tracing_mark_write" => Ok(kernel::mark(body)),
        _ => return None,
    })
}

fn multicall_kind(operation: &[u8], body: Cursor<'_>) -> Option<Result<EventKind, BodyFault>> {
    Some(match operation {
        b"batch" => multicall::batch(body),
        b"issue" => multicall::issue(body),
        b"entry" => multicall::entry(body),
        b"entry_alloc" => multicall::entry_alloc(body),
        b"extend_args" => multicall::extend(body),
        b"flush_reason" => multicall::flush_reason(body),
        b"flush" => multicall::flush(body),
        b"callback" => multicall::callback(body),
        _ => return None,
    })
}

fn mmu_kind(operation: &[u8], body: Cursor<'_>) -> Option<Result<EventKind, BodyFault>> {
    Some(match operation {
        b"set_pte" => mmu::set_pte(body),
        b"set_pte_at" => mmu::set_pte_at(body),
        b"set_pmd" => mmu::set_pmd(body),
        b"set_pud" => mmu::set_pud(body),
        b"set_p4d" => mmu::set_p4d(body),
        b"set_pgd" => mmu::set_pgd(body),
        b"ptep_modify_prot_start" => mmu::prot_start(body),
        b"ptep_modify_prot_commit" => mmu::prot_commit(body),
        b"alloc_ptpage" => mmu::table_alloc(body),
        b"release_ptpage" => mmu::table_release(body),
        b"pgd_pin" => mmu::pin(body),
        b"pgd_unpin" => mmu::unpin(body),
        b"write_cr3" => mmu::write_cr3(body),
        b"flush_tlb_one_user" | b"flush_tlb_single" => mmu::flush_one(body),
        b"flush_tlb_multi" | b"flush_tlb_others" => mmu::flush_multi(body),
        b"flush_tlb" => mmu::bare(body, EventKind::TlbFlushLocal),
        b"flush_tlb_all" => mmu::bare(body, EventKind::TlbFlushAll),
        _ => return None,
    })
}
