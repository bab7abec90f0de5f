//! The readers of traces: any input is read to an end or to an error, with an account that adds up; what has been read is
//! written and read again the same; and the judge of recorded behaviour takes whatever they yield.

use flate2::Crc;
use mmu_trace::native::{MAGIC, Writer};
use mmu_trace::{Event, EventReader, ReadError, Summary, check};

use crate::Finding;

/// What a reader made of an input.
#[derive(Debug)]
pub struct Story {
    /// Its events, in order.
    pub events: Vec<Event>,
    /// Its account.
    pub summary: Summary,
    /// Whether it came to the end.
    pub whole: bool,
}

/// A block's head: records, bytes, checksum.
const BLOCK_HEAD: usize = 12;

pub(crate) fn any_form(bytes: &[u8]) -> Result<(), Finding> {
    let Ok(story) = read(bytes) else { return Ok(()) };
    account(&story)?;
    if story.whole { written_and_read_again(&story) } else { Ok(()) }
}

/// A native trace as it is, and with its checksums made right, so that more than the checksum is tried.
pub(crate) fn native(bytes: &[u8]) -> Result<(), Finding> {
    any_form(bytes)?;
    any_form(&seal(bytes))
}

fn read(bytes: &[u8]) -> Result<Story, ReadError> {
    let mut reader = EventReader::new(bytes)?;
    let (mut events, mut whole) = (Vec::new(), true);
    for event in reader.by_ref() {
        match event {
            Ok(event) => events.push(event),
            Err(_) => whole = false,
        }
    }
    let summary = reader.summary().clone();
    Ok(Story { events, summary, whole })
}

/// Whether every line is accounted for, and every event counted and judged.
///
/// # Errors
/// What does not add up.
pub fn account(story: &Story) -> Result<(), Finding> {
    let Story { events, summary, whole } = story;
    let mut checker = check::Checker::default();
    events.iter().for_each(|event| checker.event(event));
    let (count, judged) = (events.len() as u64, checker.finish().events);
    let missing = summary.lines.checked_sub(summary.notes + summary.entries());
    let adds_up = missing.is_some_and(|missing| missing <= u64::from(!whole));
    if adds_up && summary.events == count && judged == count {
        return Ok(());
    }
    Err(Finding::new(format_args!("{count} events were read and {judged} judged, the account is {summary:?}")))
}

fn written_and_read_again(story: &Story) -> Result<(), Finding> {
    let mut writer = Writer::new(Vec::new()).map_err(Finding::new)?;
    for event in &story.events {
        writer.write(event).map_err(Finding::new)?;
    }
    let bytes = writer.finish(&story.summary).map_err(Finding::new)?;
    let again = read(&bytes).map_err(Finding::new)?;
    if again.whole && again.events == story.events {
        return Ok(());
    }
    let place = again.events.iter().zip(&story.events).position(|(read, written)| read != written);
    Err(Finding::new(format_args!("written and read again, events differ from number {place:?} on")))
}

/// The native trace with the size and checksum of each block set to what it holds; other input as it is.
#[must_use]
pub fn seal(bytes: &[u8]) -> Vec<u8> {
    let mut sealed = bytes.to_vec();
    let mut at = MAGIC.len() + 1;
    while bytes.starts_with(&MAGIC) && at + BLOCK_HEAD < sealed.len() {
        at = seal_block(&mut sealed, at);
    }
    sealed
}

/// Seals the block whose head begins at `at`, and answers where it ends.
fn seal_block(trace: &mut [u8], at: usize) -> usize {
    let word = |trace: &[u8], at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| trace[at + byte]));
    let begin = at + BLOCK_HEAD;
    let end = trace.len().min(begin + (word(trace, at + 4) as usize).max(1));
    let mut crc = Crc::new();
    crc.update(&trace[begin..end]);
    trace[at + 4..at + 8].copy_from_slice(&((end - begin) as u32).to_le_bytes());
    trace[at + 8..begin].copy_from_slice(&crc.sum().to_le_bytes());
    end
}
