//! Every kind of event, whatever its fields hold, comes back as it was written; nothing damaged comes back at all.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, proptest};

use super::fields::{TAGS, blank, pass_fields, tag};
use super::pass::{Lanes, Pass};
use super::{Reader, Writer};
use crate::error::NativeFault;
use crate::event::{EntryFlags, Event, MAX_VCPUS};
use crate::summary::Summary;

/// A pass that puts given numbers where others write or read: it makes an event of any kind from the table itself.
struct Filler<'a> {
    numbers: std::iter::Cycle<std::slice::Iter<'a, u64>>,
    lanes: Lanes,
}

impl Filler<'_> {
    fn next(&mut self) -> u64 {
        *self.numbers.next().expect("a cycle over some numbers has no end")
    }
}

impl Pass for Filler<'_> {
    fn lanes(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    fn number(&mut self, value: &mut u64) -> Result<(), NativeFault> {
        *value = self.next();
        Ok(())
    }

    fn below(&mut self, limit: u64, value: &mut u64) -> Result<(), NativeFault> {
        *value = self.next() % limit;
        Ok(())
    }

    fn text(&mut self, value: &mut Box<str>) -> Result<(), NativeFault> {
        *value = "ö".repeat((self.next() % 400) as usize).into();
        Ok(())
    }
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = vec(any::<u64>().prop_flat_map(|n| (0..64u32).prop_map(move |shift| n >> shift)), 1..12);
    let place = (any::<u64>(), any::<u64>(), 0..MAX_VCPUS, any::<u32>(), any::<[bool; 7]>(), any::<[u8; 2]>());
    (0..TAGS, numbers, place).prop_map(|(tag, numbers, place)| {
        let mut kind = blank(tag).expect("every tag below the number of tags is a kind");
        let mut filler = Filler { numbers: numbers.iter().cycle(), lanes: Lanes::default() };
        pass_fields(&mut filler, &mut kind).expect("the filler refuses nothing");
        let (line, stamp, vcpu, task, bits, [preempt_depth, migrate_depth]) = place;
        let [recorded, irqs_off, bh_off, need_resched, hardirq, softirq, nmi] = bits;
        let flags = EntryFlags {
            recorded,
            irqs_off,
            bh_off,
            need_resched,
            hardirq,
            softirq,
            nmi,
            preempt_depth,
            migrate_depth,
        };
        Event { line, stamp, vcpu, task, flags, kind }
    })
}

fn written(events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).expect("memory takes everything");
    for event in events {
        writer.write(event).expect("the event can be stored");
    }
    writer.finish(&Summary::of_events(events.len() as u64)).expect("the account is of these events")
}

fn read(bytes: &[u8]) -> Result<Vec<Event>, crate::ReadError> {
    Reader::new(bytes).collect()
}

/// A block or end with a right checksum.
fn block(records: u32, payload: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(payload);
    let head = [records, payload.len() as u32, crc.sum()].map(u32::to_le_bytes).concat();
    [head.as_slice(), payload].concat()
}

fn trace(blocks: &[Vec<u8>]) -> Vec<u8> {
    [super::MAGIC.as_slice(), &[super::VERSION], &blocks.concat()].concat()
}

fn fault(bytes: &[u8]) -> NativeFault {
    match read(bytes) {
        Err(crate::ReadError::Native { fault, .. }) => fault,
        other => panic!("{other:?}"),
    }
}

/// A region's enter with the line, stamp and origin a block starts with.
const ENTER: u8 = 0xc0;

/// An end for `events` events of `lines` lines.
fn end(lines: u8, events: u8) -> Vec<u8> {
    block(0, &[lines, 0, events, 0, 0, 0, 0, 0])
}

#[test]
fn records_account_and_end_must_agree() {
    let one = block(1, &[ENTER]);
    assert_eq!(read(&trace(&[one.clone(), end(1, 1)])).expect("the trace is whole").len(), 1);
    assert!(matches!(fault(&trace(&[one.clone(), end(2, 2)])), NativeFault::Count { written: 2, found: 1 }));
    let account = |bytes: &[u8]| matches!(fault(bytes), NativeFault::Value { what: "the account" });
    assert!(account(&trace(&[one.clone(), end(2, 1)])));
    assert!(account(&trace(&[one, block(0, &[1, 0, 1, 0, 0, 0, 0, 0, 0])])));
    let longer = fault(&trace(&[block(1, &[ENTER, ENTER]), end(1, 1)]));
    assert!(matches!(longer, NativeFault::Value { what: "a block longer than its records" }));
    let unknown = fault(&trace(&[block(1, &[super::fields::TAGS | ENTER])]));
    assert!(matches!(unknown, NativeFault::Tag { tag: super::fields::TAGS }));
}

#[test]
fn a_block_of_an_impossible_size_is_refused_before_it_is_read() {
    for [records, bytes] in [[1, 0], [2, 1], [1, u32::MAX], [1, super::BLOCK_LIMIT as u32 + 1]] {
        let head = [records, bytes, 0].map(u32::to_le_bytes).concat();
        let block = fault(&trace(&[head]));
        assert!(matches!(block, NativeFault::Block { .. }), "{records} {bytes}: {block}");
    }
}

#[test]
fn tags_and_kinds_are_one_to_one() {
    for number in 0..TAGS {
        assert_eq!(tag(&blank(number).expect("a kind")), number);
    }
    assert!((TAGS..64).all(|number| blank(number).is_none()));
}

#[test]
fn no_events_are_a_trace_too() {
    assert!(read(&written(&[])).expect("the trace is whole").is_empty());
}

proptest! {
    #[test]
    fn what_is_written_is_read(events in vec(event(), 0..40)) {
        prop_assert_eq!(read(&written(&events)).expect("nothing is damaged"), events);
    }

    #[test]
    fn many_blocks_are_one_trace(event in event(), times in 3000..6000usize) {
        let events = vec![event; times];
        prop_assert_eq!(read(&written(&events)).expect("nothing is damaged"), events);
    }

    #[test]
    fn a_changed_byte_never_passes(events in vec(event(), 0..20), at in any::<usize>(), change in 1..=255u8) {
        let mut bytes = written(&events);
        let at = at % bytes.len();
        bytes[at] ^= change;
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn a_cut_never_passes(events in vec(event(), 0..20), at in any::<usize>()) {
        let bytes = written(&events);
        prop_assert!(read(&bytes[..at % bytes.len()]).is_err());
    }

    #[test]
    fn any_bytes_after_the_magic_give_a_result_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        prop_assert!(read(&trace(&[bytes])).is_err());
    }

    #[test]
    fn any_block_with_a_right_checksum_gives_a_result_or_an_error(records in 1..200u32, bytes in vec(any::<u8>(), 1..400)) {
        prop_assert!(read(&trace(&[block(records, &bytes)])).is_err(), "there is no end marker");
    }
}
