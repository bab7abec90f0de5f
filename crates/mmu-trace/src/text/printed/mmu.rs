//! The bodies of Linux's `xen_mmu_*` events.

use super::super::cursor::{BodyFault, Cursor, level_of};
use crate::event::{EventKind, Level};

type Parsed = Result<EventKind, BodyFault>;

/// `<pointer label> P <value label> V (raw R)`.
fn written(body: &mut Cursor<'_>, pointer: &'static str, value: &'static str) -> Result<[u64; 3], BodyFault> {
    let slot = body.hex_after(pointer)?;
    let value = body.word_after(value)?;
    let raw = body.word_after("(raw")?;
    body.word(")")?;
    Ok([slot, value, raw])
}

pub(super) fn set_pte(mut body: Cursor<'_>) -> Parsed {
    let [slot, value, raw] = written(&mut body, "ptep", "pteval")?;
    body.end()?;
    Ok(EventKind::SetPte { slot, value: Some(value), raw })
}

/// The event older kernels have for a write whose user address is known; the write is the same.
pub(super) fn set_pte_at(mut body: Cursor<'_>) -> Parsed {
    body.hex_after("mm")?;
    body.hex_after("addr")?;
    set_pte(body)
}

pub(super) fn set_pmd(mut body: Cursor<'_>) -> Parsed {
    let [slot, value, raw] = written(&mut body, "pmdp", "pmdval")?;
    body.end()?;
    Ok(EventKind::SetUpper { level: Level::L2, slot, value: Some(value), raw })
}

pub(super) fn set_pud(mut body: Cursor<'_>) -> Parsed {
    let [slot, value, raw] = written(&mut body, "pudp", "pudval")?;
    body.end()?;
    Ok(EventKind::SetUpper { level: Level::L3, slot, value: Some(value), raw })
}

pub(super) fn set_p4d(mut body: Cursor<'_>) -> Parsed {
    let slot = body.hex_after("p4dp")?;
    let [user_slot, value, raw] = written(&mut body, "user_p4dp", "p4dval")?;
    body.end()?;
    Ok(EventKind::SetL4 { slot, user_slot, value: Some(value), raw })
}

/// What [`set_p4d`] was before Linux 4.12.
pub(super) fn set_pgd(mut body: Cursor<'_>) -> Parsed {
    let slot = body.hex_after("pgdp")?;
    let [user_slot, value, raw] = written(&mut body, "user_pgdp", "pgdval")?;
    body.end()?;
    Ok(EventKind::SetL4 { slot, user_slot, value: Some(value), raw })
}

fn prot(body: &mut Cursor<'_>) -> Result<[u64; 5], BodyFault> {
    let mm = body.hex_after("mm")?;
    let address = body.hex_after("addr")?;
    let [slot, value, raw] = written(body, "ptep", "pteval")?;
    Ok([mm, address, slot, value, raw])
}

pub(super) fn prot_start(mut body: Cursor<'_>) -> Parsed {
    let [mm, address, slot, value, raw] = prot(&mut body)?;
    body.end()?;
    Ok(EventKind::ProtStart { mm, address, slot, value: Some(value), raw })
}

pub(super) fn prot_commit(mut body: Cursor<'_>) -> Parsed {
    let [mm, address, slot, value, raw] = prot(&mut body)?;
    body.end()?;
    Ok(EventKind::ProtCommit { mm, address, slot, value: Some(value), raw })
}

fn level(body: &mut Cursor<'_>) -> Result<Level, BodyFault> {
    body.word("level")?;
    level_of(body.decimal()?)
}

fn pinned(body: &mut Cursor<'_>) -> Result<bool, BodyFault> {
    if body.take("unpinned") {
        return Ok(false);
    }
    body.word("pinned").map(|()| true)
}

pub(super) fn table_alloc(mut body: Cursor<'_>) -> Parsed {
    let mm = body.hex_after("mm")?;
    let pfn = body.hex_after("pfn")?;
    let level = level(&mut body)?;
    let pinned = pinned(&mut body)?;
    body.end()?;
    Ok(EventKind::TableAlloc { mm, pfn, level, pinned })
}

pub(super) fn table_release(mut body: Cursor<'_>) -> Parsed {
    let pfn = body.hex_after("pfn")?;
    let level = level(&mut body)?;
    let pinned = pinned(&mut body)?;
    body.end()?;
    Ok(EventKind::TableRelease { pfn, level, pinned })
}

/// `mm M pgd P`, of both pin and unpin.
fn space(mut body: Cursor<'_>) -> Result<(u64, u64), BodyFault> {
    let mm = body.hex_after("mm")?;
    let l4 = body.hex_after("pgd")?;
    body.end()?;
    Ok((mm, l4))
}

pub(super) fn pin(body: Cursor<'_>) -> Parsed {
    space(body).map(|(mm, l4)| EventKind::Pin { mm, l4 })
}

pub(super) fn unpin(body: Cursor<'_>) -> Parsed {
    space(body).map(|(mm, l4)| EventKind::Unpin { mm, l4 })
}

pub(super) fn write_cr3(mut body: Cursor<'_>) -> Parsed {
    let user = body.take("user");
    if !user {
        body.word("kernel")?;
    }
    let address = body.hex_after("cr3")?;
    body.end()?;
    Ok(EventKind::WriteCr3 { user, address })
}

pub(super) fn flush_one(mut body: Cursor<'_>) -> Parsed {
    let address = body.hex_after("addr")?;
    body.end()?;
    Ok(EventKind::TlbFlushOne { address })
}

pub(super) fn flush_multi(mut body: Cursor<'_>) -> Parsed {
    body.word("ncpus")?;
    let cpus = body.decimal32()?;
    let mm = body.hex_after("mm")?;
    let start = body.hex_after("addr")?;
    body.word(",")?;
    let end = body.hex_after("end")?;
    body.end()?;
    Ok(EventKind::TlbFlushMulti { cpus, mm, start, end })
}

/// An event whose body is empty.
pub(super) fn bare(body: Cursor<'_>, kind: EventKind) -> Parsed {
    body.end().map(|()| kind)
}
