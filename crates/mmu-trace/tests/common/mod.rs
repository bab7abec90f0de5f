//! Events in the text of trace-cmd and perf, as the tools print their fields.

use mmu_trace::{CallbackKind, Event, EventKind, ExtendResult, FlushCause, LazyMode, Level, PrevState};

/// The line of `trace-cmd report -l -r '.*'`.
pub(crate) fn trace_cmd(event: &Event) -> String {
    let (_, name, fields) = parts(&event.kind);
    let (task, vcpu, stamp) = (event.task, event.vcpu, event.stamp);
    format!("{:>8}-{task:<5} {vcpu:3}{}  {stamp:12}: {name:<21} {fields}\n", "task-1 a", context(event))
}

/// The line of `perf script -s perf-fields.py`.
pub(crate) fn perf(event: &Event) -> String {
    let (system, name, fields) = parts(&event.kind);
    let (task, vcpu, seconds, fraction) =
        (event.task, event.vcpu, event.stamp / 1_000_000_000, event.stamp % 1_000_000_000);
    let context = context(event);
    format!(
        "{:>16} {task:5} [{vcpu:03}] {context} {seconds:5}.{fraction:09}: {system}:{name}: {fields}\n",
        "a task 1 [2]"
    )
}

fn context(event: &Event) -> String {
    let flags = event.flags;
    let masked = [['.', 'b'], ['d', 'D']][usize::from(flags.irqs_off)][usize::from(flags.bh_off)];
    let resched = if flags.need_resched { 'N' } else { '.' };
    let handler = match (flags.nmi, flags.hardirq, flags.softirq) {
        (true, hard, _) => ['z', 'Z'][usize::from(hard)],
        (_, true, soft) => ['h', 'H'][usize::from(soft)],
        (_, _, soft) => ['.', 's'][usize::from(soft)],
    };
    let depth = |depth: u8| if depth == 0 { ".".to_owned() } else { format!("{depth:x}") };
    format!("{masked}{resched}{handler}{}{}", depth(flags.preempt_depth), depth(flags.migrate_depth))
}

type Parts = (&'static str, &'static str, String);

fn parts(kind: &EventKind) -> Parts {
    let probe = |name| ("lazy", name, "__probe_ip=ffffffff81234560".to_owned());
    match kind {
        EventKind::RegionEnter => probe("enter"),
        EventKind::RegionLeave => probe("leave"),
        EventKind::RegionFlush => probe("flush"),
        EventKind::SwitchOut => probe("switch_out"),
        EventKind::SwitchIn => probe("switch_in"),
        EventKind::SchedSwitch { prev, next, prev_state } => {
            ("sched", "sched_switch", switch(*prev, *next, *prev_state))
        }
        EventKind::SyscallEnter { nr } => {
            ("raw_syscalls", "sys_enter", format!("id={nr} args=ARRAY[{}]", array(&[7; 6])))
        }
        EventKind::SyscallExit { nr, ret } => ("raw_syscalls", "sys_exit", format!("id={nr} ret={ret}")),
        EventKind::PageFault { address, error_code, user } => {
            let name = if *user { "page_fault_user" } else { "page_fault_kernel" };
            let address = address.map_or("init_task".to_owned(), |address| format!("{address:#x}"));
            ("exceptions", name, format!("address={address} ip=0x401000 error_code={error_code:#x}"))
        }
        EventKind::Mark { text } => ("ftrace", "print", format!("ip=ffffffff81234560 buf={text}")),
        _ => mmu(kind).or_else(|| batcher(kind)).expect("every other event is of either group"),
    }
}

fn switch(prev: u32, next: u32, state: PrevState) -> String {
    let state = match state {
        PrevState::Runnable => 0,
        PrevState::Preempted => 0x100,
        PrevState::Blocked => 2,
        PrevState::Dead => 0x10,
    };
    format!("prev_comm=a b prev_pid={prev} prev_prio=120 prev_state={state} next_comm=c next_pid={next} next_prio=-1")
}

fn array(words: &[u64]) -> String {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(", ")
}

fn level(level: Level) -> u32 {
    match level {
        Level::L1 => 4,
        Level::L2 => 3,
        Level::L3 => 2,
        Level::L4 => 0,
    }
}

fn mmu(kind: &EventKind) -> Option<Parts> {
    let (name, fields) = match *kind {
        EventKind::SetPte { slot, raw, .. } => ("xen_mmu_set_pte", format!("ptep={slot:#x} pteval={raw}")),
        EventKind::SetUpper { level: Level::L2, slot, raw, .. } => {
            ("xen_mmu_set_pmd", format!("pmdp={slot:#x} pmdval={raw}"))
        }
        EventKind::SetUpper { slot, raw, .. } => ("xen_mmu_set_pud", format!("pudp={slot:#x} pudval={raw}")),
        EventKind::SetL4 { slot, user_slot, raw, .. } => {
            ("xen_mmu_set_p4d", format!("p4dp={slot:#x} user_p4dp={user_slot:#x} p4dval={raw}"))
        }
        EventKind::ProtStart { mm, address, slot, raw, .. } => {
            ("xen_mmu_ptep_modify_prot_start", format!("mm={mm:#x} addr={address:x} ptep={slot:#x} pteval={raw}"))
        }
        EventKind::ProtCommit { mm, address, slot, raw, .. } => {
            ("xen_mmu_ptep_modify_prot_commit", format!("mm={mm:#x} addr={address:x} ptep={slot:#x} pteval={raw}"))
        }
        _ => tables(kind)?,
    };
    Some(("xen", name, fields))
}

fn tables(kind: &EventKind) -> Option<(&'static str, String)> {
    Some(match *kind {
        EventKind::TableAlloc { mm, pfn, level: at, pinned } => {
            ("xen_mmu_alloc_ptpage", format!("mm={mm:#x} pfn={pfn:x} level={} pinned={}", level(at), u8::from(pinned)))
        }
        EventKind::TableRelease { pfn, level: at, pinned } => {
            ("xen_mmu_release_ptpage", format!("pfn={pfn:x} level={} pinned={}", level(at), u8::from(pinned)))
        }
        EventKind::Pin { mm, l4 } => ("xen_mmu_pgd_pin", format!("mm={mm:#x} pgd={l4:#x}")),
        EventKind::Unpin { mm, l4 } => ("xen_mmu_pgd_unpin", format!("mm={mm:#x} pgd={l4:#x}")),
        EventKind::WriteCr3 { user, address } => {
            ("xen_mmu_write_cr3", format!("kernel={} cr3={address:x}", u8::from(!user)))
        }
        EventKind::TlbFlushOne { address } => ("xen_mmu_flush_tlb_one_user", format!("addr={address:x}")),
        EventKind::TlbFlushMulti { cpus, mm, start, end } => {
            ("xen_mmu_flush_tlb_multi", format!("ncpus={cpus} mm={mm:#x} addr={start:x} end={end:x}"))
        }
        EventKind::TlbFlushLocal => ("xen_mmu_flush_tlb", "x=ARRAY[]".to_owned()),
        EventKind::TlbFlushAll => ("xen_mmu_flush_tlb_all", String::new()),
        _ => return None,
    })
}

fn batcher(kind: &EventKind) -> Option<Parts> {
    let mode = |mode: LazyMode| [LazyMode::None, LazyMode::Mmu, LazyMode::Cpu].iter().position(|one| *one == mode);
    let (name, fields) = match kind {
        EventKind::BatchBegin { mode: lazy } => ("xen_mc_batch", format!("mode={}", mode(*lazy)?)),
        EventKind::BatchIssue { mode: lazy } => ("xen_mc_issue", format!("mode={}", mode(*lazy)?)),
        EventKind::EntryAlloc { bytes } => ("xen_mc_entry_alloc", format!("args={bytes}")),
        EventKind::Entry { op, args } => ("xen_mc_entry", format!("op={op} nargs=4 args=ARRAY[{}]", array(args))),
        EventKind::Extend { op, bytes, result } => {
            let all = [ExtendResult::Ok, ExtendResult::BadOp, ExtendResult::NoSpace];
            let result = all.iter().position(|one| one == result)?;
            ("xen_mc_extend_args", format!("op={op} args={bytes} res={result}"))
        }
        EventKind::FlushReason { cause } => {
            let all = [FlushCause::None, FlushCause::Batch, FlushCause::Args, FlushCause::Callback];
            ("xen_mc_flush_reason", format!("reason={}", all.iter().position(|one| one == cause)?))
        }
        EventKind::Flush { calls, bytes, callbacks } => {
            ("xen_mc_flush", format!("mcidx={calls} argidx={bytes} cbidx={callbacks}"))
        }
        EventKind::Callback { callback, data } => {
            let name = match callback {
                CallbackKind::PteUnlock => "xen_pte_unlock",
                CallbackKind::SetCurrentBase => "set_current_cr3",
                CallbackKind::Other(name) => name,
            };
            ("xen_mc_callback", format!("fn={name} data={data:#x}"))
        }
        _ => return None,
    };
    Some(("xen", name, fields))
}
