//! The columns in front of every event: who, where, when, and what it is called.
//!
//! Each form has its own order and its own way of standing apart from a task's name, which is arbitrary bytes: blanks,
//! dashes and brackets included. What follows the place is one for all: `context stamp: event: body`, where the context
//! may be missing.

pub(super) mod ftrace;
pub(super) mod perf;

use super::cursor::leading_decimal;
use crate::error::TextFault;
use crate::event::{EntryFlags, MAX_VCPUS};

/// One event line, taken apart.
pub(super) struct Columns<'a> {
    pub(super) task: u32,
    pub(super) vcpu: u32,
    pub(super) flags: EntryFlags,
    pub(super) stamp: u64,
    /// The event's name, without its colon.
    pub(super) name: &'a [u8],
    /// What follows the name.
    pub(super) body: &'a [u8],
}

/// The task and vCPU columns, and what follows them.
struct Place<'a> {
    task: u32,
    vcpu: u32,
    rest: &'a [u8],
}

fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|&&b| b == b' ').count();
    &text[blanks..]
}

/// What follows the place: `context stamp: event: body`. A difference of stamps in the event's place is none.
fn after_place(place: Place<'_>) -> Result<Columns<'_>, TextFault> {
    let Place { task, vcpu, rest } = place;
    if vcpu >= MAX_VCPUS {
        return Err(TextFault::Vcpu { vcpu });
    }
    let (flags, rest) = context(skip_blanks(rest))?;
    let (stamp, rest) = stamp(rest).ok_or(TextFault::NoStamp)?;
    let rest = skip_blanks(rest);
    let length = rest.iter().take_while(|&&b| b != b':' && b != b' ').count();
    if length == 0 || rest.starts_with(b"(") {
        return Err(TextFault::NoEvent);
    }
    let (name, body) = rest.split_at(length);
    Ok(Columns { task, vcpu, flags, stamp, name, body: body.strip_prefix(b":").unwrap_or(body) })
}

/// The context characters, if the recorder was told to print them, and the delay mark that may follow them.
fn context(text: &[u8]) -> Result<(EntryFlags, &[u8]), TextFault> {
    let length = text.iter().take_while(|&&b| b != b' ').count();
    let (column, rest) = text.split_at(length);
    if column.last() == Some(&b':') {
        return Ok((EntryFlags::default(), text));
    }
    let flags = flags(column).ok_or_else(|| TextFault::Flags { found: String::from_utf8_lossy(column).into() })?;
    let rest = skip_blanks(rest);
    let delay = rest.iter().take_while(|b| b"$@*#!+".contains(b)).count();
    Ok((flags, skip_blanks(&rest[delay..])))
}

/// Four characters, or five since Linux 5.13: masked, reschedule, handler, preempt depth, migrate depth.
fn flags(column: &[u8]) -> Option<EntryFlags> {
    let (&[masked, resched, handler, preempt], migrate) = column.split_first_chunk()?;
    let migrate_depth = match *migrate {
        [] => 0,
        [depth] => depth_of(depth)?,
        _ => return None,
    };
    if !b".dbDX".contains(&masked) || !b".NnpBbLl".contains(&resched) || !b".ZzHhs".contains(&handler) {
        return None;
    }
    Some(EntryFlags {
        recorded: true,
        irqs_off: matches!(masked, b'd' | b'D'),
        bh_off: matches!(masked, b'b' | b'D'),
        need_resched: resched != b'.',
        hardirq: matches!(handler, b'Z' | b'H' | b'h'),
        softirq: matches!(handler, b'H' | b's'),
        nmi: matches!(handler, b'Z' | b'z'),
        preempt_depth: depth_of(preempt)?,
        migrate_depth,
    })
}

fn depth_of(character: u8) -> Option<u8> {
    match character {
        b'.' => Some(0),
        b'0'..=b'9' => Some(character - b'0'),
        b'a'..=b'f' => Some(character - b'a' + 10),
        _ => None,
    }
}

/// `count:` or `seconds.fraction:`; the latter with its point taken out, so that the unit is the fraction's last digit.
fn stamp(text: &[u8]) -> Option<(u64, &[u8])> {
    let (whole, rest) = leading_decimal(text)?;
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((whole, rest.strip_prefix(b":")?)) };
    let (low, after) = leading_decimal(fraction)?;
    let digits = u32::try_from(fraction.len() - after.len()).ok()?;
    let scale = 10u64.checked_pow(digits)?;
    Some((whole.checked_mul(scale)?.checked_add(low)?, after.strip_prefix(b":")?))
}
