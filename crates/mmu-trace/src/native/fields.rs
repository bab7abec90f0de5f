//! What a record of each kind holds: the format's table.

use super::coder;
use super::pass::{Decoder, Encoder, Lane, Pass};
use crate::error::NativeFault;
use crate::event::{CallbackKind, EntryFlags, Event, EventKind, ExtendResult, FlushCause, LazyMode, Level, PrevState};

type Passed = Result<(), NativeFault>;

/// Set in a record's head if it has the vCPU, task and flags of the record before.
const SAME_ORIGIN: u8 = 0x40;
/// Set in a record's head if its line and stamp are one more than those of the record before.
const NEXT_LINE: u8 = 0x80;

/// Where an event happened; kept to leave out what repeats.
type Origin = (u32, u32, EntryFlags);

/// Writes one event. Fails only if it holds a text that is too long or a vCPU that cannot be.
pub(super) fn encode(encoder: &mut Encoder, last: &mut Origin, event: &Event) -> Passed {
    let mut origin = (event.vcpu, event.task, event.flags);
    let same = if origin == *last { SAME_ORIGIN } else { 0 };
    let lanes = encoder.lanes;
    let follows = |value: u64, lane: Lane| value == lanes[lane as usize].wrapping_add(1);
    let next = if follows(event.line, Lane::Line) && follows(event.stamp, Lane::Stamp) { NEXT_LINE } else { 0 };
    encoder.bytes.push(tag(&event.kind) | same | next);
    let (mut line, mut stamp) = (event.line, event.stamp);
    if next == 0 {
        encoder.near(Lane::Line, &mut line)?;
        encoder.near(Lane::Stamp, &mut stamp)?;
    }
    encoder.lanes[Lane::Line as usize] = line;
    encoder.lanes[Lane::Stamp as usize] = stamp;
    if same == 0 {
        pass_origin(encoder, &mut origin)?;
        *last = origin;
    }
    pass_fields(encoder, &mut event.kind.clone())
}

/// Reads one event.
pub(super) fn decode(decoder: &mut Decoder<'_>, last: &mut Origin) -> Result<Event, NativeFault> {
    let head = decoder.byte()?;
    let tag = head & !(SAME_ORIGIN | NEXT_LINE);
    let mut kind = blank(tag).ok_or(NativeFault::Tag { tag })?;
    let [mut line, mut stamp] = [Lane::Line, Lane::Stamp].map(|lane| decoder.lanes[lane as usize].wrapping_add(1));
    if head & NEXT_LINE == 0 {
        decoder.near(Lane::Line, &mut line)?;
        decoder.near(Lane::Stamp, &mut stamp)?;
    }
    decoder.lanes[Lane::Line as usize] = line;
    decoder.lanes[Lane::Stamp as usize] = stamp;
    if head & SAME_ORIGIN == 0 {
        pass_origin(decoder, last)?;
    }
    pass_fields(decoder, &mut kind)?;
    let (vcpu, task, flags) = *last;
    Ok(Event { line, stamp, vcpu, task, flags, kind })
}

fn pass_origin(pass: &mut impl Pass, (vcpu, task, flags): &mut Origin) -> Passed {
    pass.vcpu(vcpu)?;
    pass.number32(task)?;
    let bits = [
        &mut flags.recorded,
        &mut flags.irqs_off,
        &mut flags.bh_off,
        &mut flags.need_resched,
        &mut flags.hardirq,
        &mut flags.softirq,
        &mut flags.nmi,
    ];
    let mut word = bits.iter().rev().fold(0, |word, bit| word << 1 | u64::from(**bit));
    word |= u64::from(flags.preempt_depth) << 8 | u64::from(flags.migrate_depth) << 16;
    pass.below(1 << 24, &mut word)?;
    flags.preempt_depth = (word >> 8) as u8;
    flags.migrate_depth = (word >> 16) as u8;
    for (index, bit) in bits.into_iter().enumerate() {
        *bit = word >> index & 1 == 1;
    }
    Ok(())
}

/// The number of tags in use.
#[cfg(test)]
pub(super) const TAGS: u8 = 33;

/// The table: tag, kind, and how each field is coded. Tags are never given to another kind.
macro_rules! table {
    ($($tag:literal $kind:ident { $($field:ident: $coder:ident),* })*) => {
        pub(super) fn tag(kind: &EventKind) -> u8 {
            match kind { $(EventKind::$kind { .. } => $tag),* }
        }

        /// The kind of a tag, with fields to be overwritten.
        pub(super) fn blank(tag: u8) -> Option<EventKind> {
            Some(match tag {
                $($tag => EventKind::$kind { $($field: Blank::blank()),* },)*
                _ => return None,
            })
        }

        pub(super) fn pass_fields<P: Pass>(pass: &mut P, kind: &mut EventKind) -> Passed {
            match kind { $(EventKind::$kind { $($field),* } => { $(coder::$coder(pass, $field)?;)* })* }
            Ok(())
        }
    };
}

table! {
    0 RegionEnter {}
    1 RegionLeave {}
    2 RegionFlush {}
    3 SwitchOut {}
    4 SwitchIn {}
    5 SchedSwitch { prev: number32, next: number32, prev_state: prev_state }
    6 SyscallEnter { nr: signed }
    7 SyscallExit { nr: signed, ret: signed }
    8 PageFault { address: perhaps_address, error_code: number, user: flag }
    9 SetPte { slot: slot, value: value, raw: raw }
    10 SetUpper { level: level, slot: slot, value: value, raw: raw }
    11 SetL4 { slot: slot, user_slot: slot, value: perhaps_number, raw: number }
    12 ProtStart { mm: space, address: address, slot: slot, value: value, raw: raw }
    13 ProtCommit { mm: space, address: address, slot: slot, value: value, raw: raw }
    14 TableAlloc { mm: space, pfn: pfn, level: level, pinned: flag }
    15 TableRelease { pfn: pfn, level: level, pinned: flag }
    16 Pin { mm: space, l4: slot }
    17 Unpin { mm: space, l4: slot }
    18 WriteCr3 { user: flag, address: number }
    19 TlbFlushOne { address: address }
    20 TlbFlushMulti { cpus: number32, mm: space, start: address, end: number }
    21 TlbFlushLocal {}
    22 TlbFlushAll {}
    23 BatchBegin { mode: lazy_mode }
    24 BatchIssue { mode: lazy_mode }
    25 EntryAlloc { bytes: number32 }
    26 Entry { op: number32, args: args }
    27 Extend { op: number32, bytes: number32, result: extend_result }
    28 FlushReason { cause: flush_cause }
    29 Flush { calls: number32, bytes: number32, callbacks: number32 }
    30 Callback { callback: callback, data: number }
    31 Mark { text: text }
    32 EventsLost { count: number }
}

/// A value to decode over.
trait Blank {
    fn blank() -> Self;
}

macro_rules! blank {
    ($($kind:ty = $value:expr),*) => { $(impl Blank for $kind { fn blank() -> Self { $value } })* };
}

blank! {
    u64 = 0, u32 = 0, i64 = 0, bool = false, [u64; 6] = [0; 6], Option<u64> = None, Box<str> = Box::default(),
    Level = Level::L1, PrevState = PrevState::Runnable, LazyMode = LazyMode::None, ExtendResult = ExtendResult::Ok,
    FlushCause = FlushCause::None, CallbackKind = CallbackKind::PteUnlock
}
