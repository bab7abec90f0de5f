//! Bodies as `name=value` fields: what `trace-cmd report -R` prints, and `perf-fields.py` from perf's records.
//!
//! Without that, both tools put the fields into the kernel's format by a parser of their own, which knows neither the
//! functions nor the enumerations of the kernel: it prints `LAZY_NONE` for every mode, `NO_SPACE` for what was appended,
//! and no entry at all. What is not fields is therefore refused ([`BodyFault::Rendered`]), never believed.
//!
//! Only the machine word of an entry is a field; the kernel computes the other when it prints.

use super::cursor::{BodyFault, Cursor, level_of};
use super::printed;
use crate::event::{CallbackKind, EventKind, ExtendResult, FlushCause, LazyMode, Level, PrevState};

type Parsed = Result<EventKind, BodyFault>;

/// Bytes of the argument array of a system call or a hypercall.
const ARGUMENTS: usize = 6;

/// The event called `name`; `None` if it is not one of the kernel's own.
pub(super) fn event_kind(name: &[u8], body: Cursor<'_>) -> Option<Parsed> {
    let parse = parser(name)?;
    Some(if is_fields(body.rest()) { parse(body) } else { Err(BodyFault::Rendered) })
}

/// Whether `body` can be fields, or nothing.
pub(super) fn is_fields(body: &[u8]) -> bool {
    let body = body.trim_ascii_start();
    let length = body.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
    body.is_empty() || length > 0 && body.get(length) == Some(&b'=')
}

fn parser(name: &[u8]) -> Option<fn(Cursor<'_>) -> Parsed> {
    if let Some(operation) = name.strip_prefix(b"xen_mc_") {
        return multicall(operation);
    }
    if let Some(operation) = name.strip_prefix(b"xen_mmu_") {
        return mmu(operation);
    }
    Some(match name {
        b"sched_switch" => sched_switch,
        b"sys_enter" => syscall_enter,
        b"sys_exit" => syscall_exit,
        b"page_fault_user" => |body| printed::page_fault(body, true),
        b"page_fault_kernel" => |body| printed::page_fault(body, false),
        b"print" => mark,
        _ => return None,
    })
}

fn multicall(operation: &[u8]) -> Option<fn(Cursor<'_>) -> Parsed> {
    Some(match operation {
        b"batch" => |body| mode(body).map(|mode| EventKind::BatchBegin { mode }),
        b"issue" => |body| mode(body).map(|mode| EventKind::BatchIssue { mode }),
        b"entry" => entry,
        b"entry_alloc" => |body| Ok(EventKind::EntryAlloc { bytes: last(body, "args=")? }),
        b"extend_args" => extend,
        b"flush_reason" => flush_reason,
        b"flush" => flush,
        b"callback" => callback,
        _ => return None,
    })
}

fn mmu(operation: &[u8]) -> Option<fn(Cursor<'_>) -> Parsed> {
    Some(match operation {
        b"set_pte" => set_pte,
        b"set_pte_at" => set_pte_at,
        b"set_pmd" => |body| upper(body, Level::L2, "pmdp=", "pmdval="),
        b"set_pud" => |body| upper(body, Level::L3, "pudp=", "pudval="),
        b"set_p4d" => |body| top(body, ["p4dp=", "user_p4dp=", "p4dval="]),
        b"set_pgd" => |body| top(body, ["pgdp=", "user_pgdp=", "pgdval="]),
        b"ptep_modify_prot_start" => prot_start,
        b"ptep_modify_prot_commit" => prot_commit,
        b"alloc_ptpage" => table_alloc,
        b"release_ptpage" => table_release,
        b"pgd_pin" => |body| space(body).map(|[mm, l4]| EventKind::Pin { mm, l4 }),
        b"pgd_unpin" => |body| space(body).map(|[mm, l4]| EventKind::Unpin { mm, l4 }),
        b"write_cr3" => write_cr3,
        b"flush_tlb_one_user" | b"flush_tlb_single" => flush_one,
        b"flush_tlb_multi" | b"flush_tlb_others" => flush_multi,
        b"flush_tlb" => |body| nothing(body).map(|()| EventKind::TlbFlushLocal),
        b"flush_tlb_all" => |body| nothing(body).map(|()| EventKind::TlbFlushAll),
        _ => return None,
    })
}

/// A count: decimal, or hexadecimal with `0x`.
fn count(body: &mut Cursor<'_>, label: &'static str) -> Result<u64, BodyFault> {
    body.word(label)?;
    body.number()
}

fn count32(body: &mut Cursor<'_>, label: &'static str) -> Result<u32, BodyFault> {
    body.word(label)?;
    body.number32()
}

/// The only field that is left.
fn last(mut body: Cursor<'_>, label: &'static str) -> Result<u32, BodyFault> {
    let value = count32(&mut body, label)?;
    body.end()?;
    Ok(value)
}

fn signed(body: &mut Cursor<'_>, label: &'static str) -> Result<i64, BodyFault> {
    body.word(label)?;
    body.signed()
}

/// One of `all`, by its number.
fn choice<T: Copy>(body: Cursor<'_>, label: &'static str, all: &[T]) -> Result<T, BodyFault> {
    let index = last(body, label)? as usize;
    all.get(index).copied().ok_or_else(|| body.fault("a number the kernel has a name for"))
}

/// An array as its bytes, the lowest first.
fn arguments(body: &mut Cursor<'_>) -> Result<[u64; ARGUMENTS], BodyFault> {
    body.word("args=ARRAY[")?;
    let mut words = [0; ARGUMENTS];
    for index in 0..ARGUMENTS * 8 {
        if index > 0 {
            body.word(",")?;
        }
        let before = *body;
        let byte = u8::try_from(body.hex()?).map_err(|_| before.fault("a byte"))?;
        words[index / 8] |= u64::from(byte) << (index % 8 * 8);
    }
    body.word("]")?;
    Ok(words)
}

/// An array without elements, if it is there.
fn nothing(mut body: Cursor<'_>) -> Result<(), BodyFault> {
    if body.take("x=") {
        body.word("ARRAY[")?;
        body.word("]")?;
    }
    body.end()
}

fn mode(body: Cursor<'_>) -> Result<LazyMode, BodyFault> {
    choice(body, "mode=", &[LazyMode::None, LazyMode::Mmu, LazyMode::Cpu])
}

fn flush_reason(body: Cursor<'_>) -> Parsed {
    let all = [FlushCause::None, FlushCause::Batch, FlushCause::Args, FlushCause::Callback];
    choice(body, "reason=", &all).map(|cause| EventKind::FlushReason { cause })
}

fn extend(mut body: Cursor<'_>) -> Parsed {
    let op = count32(&mut body, "op=")?;
    let bytes = count32(&mut body, "args=")?;
    let result = choice(body, "res=", &[ExtendResult::Ok, ExtendResult::BadOp, ExtendResult::NoSpace])?;
    Ok(EventKind::Extend { op, bytes, result })
}

fn entry(mut body: Cursor<'_>) -> Parsed {
    let op = count32(&mut body, "op=")?;
    count(&mut body, "nargs=")?;
    let args = arguments(&mut body)?;
    body.end()?;
    Ok(EventKind::Entry { op, args })
}

fn flush(mut body: Cursor<'_>) -> Parsed {
    let calls = count32(&mut body, "mcidx=")?;
    let bytes = count32(&mut body, "argidx=")?;
    let callbacks = last(body, "cbidx=")?;
    Ok(EventKind::Flush { calls, bytes, callbacks })
}

/// The function is a symbol, or an address where the tool has no symbols.
fn callback(mut body: Cursor<'_>) -> Parsed {
    body.word("fn=")?;
    let (name, rest) = printed::until(&body, b" data=", "a function and ` data=`")?;
    let callback = CallbackKind::named(name);
    let mut body = Cursor::new(rest);
    let data = body.hex()?;
    body.end()?;
    Ok(EventKind::Callback { callback, data })
}

fn set_pte(mut body: Cursor<'_>) -> Parsed {
    let slot = body.hex_after("ptep=")?;
    let raw = whole(body, "pteval=")?;
    Ok(EventKind::SetPte { slot, value: None, raw })
}

/// An entry, which is the last field.
fn whole(mut body: Cursor<'_>, label: &'static str) -> Result<u64, BodyFault> {
    let raw = count(&mut body, label)?;
    body.end()?;
    Ok(raw)
}

fn set_pte_at(mut body: Cursor<'_>) -> Parsed {
    body.hex_after("mm=")?;
    body.hex_after("addr=")?;
    set_pte(body)
}

fn upper(mut body: Cursor<'_>, level: Level, slot: &'static str, raw: &'static str) -> Parsed {
    let slot = body.hex_after(slot)?;
    let raw = whole(body, raw)?;
    Ok(EventKind::SetUpper { level, slot, value: None, raw })
}

fn top(mut body: Cursor<'_>, [slot, user_slot, raw]: [&'static str; 3]) -> Parsed {
    let slot = body.hex_after(slot)?;
    let user_slot = body.hex_after(user_slot)?;
    let raw = whole(body, raw)?;
    Ok(EventKind::SetL4 { slot, user_slot, value: None, raw })
}

fn prot(mut body: Cursor<'_>) -> Result<[u64; 4], BodyFault> {
    let mm = body.hex_after("mm=")?;
    let address = body.hex_after("addr=")?;
    let slot = body.hex_after("ptep=")?;
    let raw = whole(body, "pteval=")?;
    Ok([mm, address, slot, raw])
}

fn prot_start(body: Cursor<'_>) -> Parsed {
    prot(body).map(|[mm, address, slot, raw]| EventKind::ProtStart { mm, address, slot, value: None, raw })
}

fn prot_commit(body: Cursor<'_>) -> Parsed {
    prot(body).map(|[mm, address, slot, raw]| EventKind::ProtCommit { mm, address, slot, value: None, raw })
}

fn level_and_pinned(mut body: Cursor<'_>) -> Result<(Level, bool), BodyFault> {
    let level = level_of(count(&mut body, "level=")?)?;
    let pinned = choice(body, "pinned=", &[false, true])?;
    Ok((level, pinned))
}

fn table_alloc(mut body: Cursor<'_>) -> Parsed {
    let mm = body.hex_after("mm=")?;
    let pfn = body.hex_after("pfn=")?;
    let (level, pinned) = level_and_pinned(body)?;
    Ok(EventKind::TableAlloc { mm, pfn, level, pinned })
}

fn table_release(mut body: Cursor<'_>) -> Parsed {
    let pfn = body.hex_after("pfn=")?;
    let (level, pinned) = level_and_pinned(body)?;
    Ok(EventKind::TableRelease { pfn, level, pinned })
}

fn space(mut body: Cursor<'_>) -> Result<[u64; 2], BodyFault> {
    let mm = body.hex_after("mm=")?;
    let l4 = body.hex_after("pgd=")?;
    body.end()?;
    Ok([mm, l4])
}

fn write_cr3(mut body: Cursor<'_>) -> Parsed {
    let user = count(&mut body, "kernel=")? == 0;
    let address = body.hex_after("cr3=")?;
    body.end()?;
    Ok(EventKind::WriteCr3 { user, address })
}

fn flush_one(mut body: Cursor<'_>) -> Parsed {
    let address = body.hex_after("addr=")?;
    body.end()?;
    Ok(EventKind::TlbFlushOne { address })
}

fn flush_multi(mut body: Cursor<'_>) -> Parsed {
    let cpus = count32(&mut body, "ncpus=")?;
    let mm = body.hex_after("mm=")?;
    let start = body.hex_after("addr=")?;
    let end = body.hex_after("end=")?;
    body.end()?;
    Ok(EventKind::TlbFlushMulti { cpus, mm, start, end })
}

fn syscall_enter(mut body: Cursor<'_>) -> Parsed {
    let nr = signed(&mut body, "id=")?;
    arguments(&mut body)?;
    body.end()?;
    Ok(EventKind::SyscallEnter { nr })
}

fn syscall_exit(mut body: Cursor<'_>) -> Parsed {
    let nr = signed(&mut body, "id=")?;
    let ret = signed(&mut body, "ret=")?;
    body.end()?;
    Ok(EventKind::SyscallExit { nr, ret })
}

/// Both task names are arbitrary bytes, so every field is searched for from the end.
fn sched_switch(body: Cursor<'_>) -> Parsed {
    let (rest, next) = printed::task_after_last(&body, body.rest(), b" next_pid=")?;
    let (rest, _) = printed::split_last(&body, rest, b" next_comm=")?;
    let (rest, state) = printed::split_last(&body, rest, b" prev_state=")?;
    let (_, prev) = printed::task_after_last(&body, rest, b" prev_pid=")?;
    let mut state = Cursor::new(state);
    let prev_state = prev_state(state.number()?);
    state.end()?;
    Ok(EventKind::SchedSwitch { prev, next, prev_state })
}

/// The bits of Linux's task states since 4.14; what was preempted has a bit beyond them.
fn prev_state(bits: u64) -> PrevState {
    match bits {
        0 => PrevState::Runnable,
        bits if bits & 0x100 != 0 => PrevState::Preempted,
        bits if bits & 0x30 != 0 => PrevState::Dead,
        _ => PrevState::Blocked,
    }
}

/// `ip=A buf=TEXT`.
fn mark(mut body: Cursor<'_>) -> Parsed {
    body.word("ip=")?;
    let (_, text) = printed::until(&body, b" buf=", "`ip=` and ` buf=`")?;
    Ok(EventKind::Mark { text: String::from_utf8_lossy(text).into() })
}

/// The address of a probe: whether the body is that of one.
pub(super) fn is_probe(mut body: Cursor<'_>) -> bool {
    body.hex_after("__probe_ip=").is_ok_and(|address| address >= super::KERNEL_HALF)
}
