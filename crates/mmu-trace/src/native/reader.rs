//! Reads the native format.

use std::io::{self, Read};

use flate2::Crc;

use super::pass::{Decoder, Lanes, Pass};
use super::{BLOCK_LIMIT, MAGIC, VERSION, fields};
use crate::error::{NativeFault, ReadError};
use crate::event::{EntryFlags, Event};
use crate::summary::Summary;

/// The three words in front of every block.
const BLOCK_HEAD: u64 = 12;

/// Reads events from a native trace. After an error or the end it yields `None` for ever.
pub struct Reader<R> {
    input: R,
    block: Block,
    /// Where the current block begins in the input.
    offset: u64,
    /// Where the next block begins in the input; 0 before the magic was read.
    next_offset: u64,
    summary: Summary,
    done: bool,
}

/// The block being decoded.
#[derive(Default)]
struct Block {
    bytes: Vec<u8>,
    taken: usize,
    records_left: u32,
    lanes: Lanes,
    origin: (u32, u32, EntryFlags),
}

impl<R: Read> Reader<R> {
    /// Reads from `input`, plain. Nothing is read before the first call of `next`.
    pub fn new(input: R) -> Self {
        Self { input, block: Block::default(), offset: 0, next_offset: 0, summary: Summary::default(), done: false }
    }

    /// The account of the trace: of what was read so far, and once all was read that of the original.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn read(&mut self) -> Result<Option<Event>, NativeFault> {
        if self.next_offset == 0 {
            self.magic()?;
        }
        if self.block.records_left == 0 && !self.next_block()? {
            return Ok(None);
        }
        let event = self.block.record()?;
        self.summary.events += 1;
        self.summary.lines += 1;
        Ok(Some(event))
    }

    fn magic(&mut self) -> Result<(), NativeFault> {
        let mut magic = [0; MAGIC.len()];
        self.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(NativeFault::Magic);
        }
        let mut version = [0];
        self.fill(&mut version)?;
        if version != [VERSION] {
            return Err(NativeFault::Version { found: version[0], known: VERSION });
        }
        self.next_offset = MAGIC.len() as u64 + 1;
        Ok(())
    }

    /// Reads and checks the next block; false if it is the end.
    fn next_block(&mut self) -> Result<bool, NativeFault> {
        self.offset = self.next_offset;
        let [records, bytes, written] = [self.word()?, self.word()?, self.word()?];
        if bytes == 0 || bytes as usize > BLOCK_LIMIT || records > bytes {
            return Err(NativeFault::Block { bytes, records });
        }
        self.next_offset += BLOCK_HEAD + u64::from(bytes);
        let mut content = std::mem::take(&mut self.block.bytes);
        content.resize(bytes as usize, 0);
        self.fill(&mut content)?;
        let mut crc = Crc::new();
        crc.update(&content);
        if crc.sum() != written {
            return Err(NativeFault::Checksum { found: crc.sum(), written });
        }
        self.block = Block { bytes: content, records_left: records, ..Block::default() };
        if records == 0 { self.account().map(|()| false) } else { Ok(true) }
    }

    /// The end: the account must be of the records read, and nothing may follow.
    fn account(&mut self) -> Result<(), NativeFault> {
        let mut counts = Summary::default().counts();
        let mut decoder = Decoder { rest: &self.block.bytes, lanes: &mut self.block.lanes };
        for count in &mut counts {
            decoder.number(count)?;
        }
        let account = Summary::from_counts(counts);
        if !decoder.rest.is_empty() || !account.adds_up() {
            return Err(NativeFault::Value { what: "the account" });
        }
        if account.events != self.summary.events {
            return Err(NativeFault::Count { written: account.events, found: self.summary.events });
        }
        self.summary = account;
        match self.fill(&mut [0]) {
            Err(NativeFault::Cut) => Ok(()),
            Err(fault) => Err(fault),
            Ok(()) => Err(NativeFault::Trailing),
        }
    }

    fn word(&mut self) -> Result<u32, NativeFault> {
        let mut word = [0; 4];
        self.fill(&mut word)?;
        Ok(u32::from_le_bytes(word))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), NativeFault> {
        self.input.read_exact(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => NativeFault::Cut,
            _ => NativeFault::Input(error),
        })
    }
}

impl Block {
    fn record(&mut self) -> Result<Event, NativeFault> {
        let mut decoder = Decoder { rest: &self.bytes[self.taken..], lanes: &mut self.lanes };
        let event = fields::decode(&mut decoder, &mut self.origin)?;
        self.taken = self.bytes.len() - decoder.rest.len();
        self.records_left -= 1;
        if self.records_left == 0 && self.taken != self.bytes.len() {
            return Err(NativeFault::Value { what: "a block longer than its records" });
        }
        Ok(event)
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let read = self.read();
        self.done = !matches!(read, Ok(Some(_)));
        let (record, offset) = (self.summary.events, self.offset);
        read.map_err(|fault| ReadError::Native { record, offset, fault }).transpose()
    }
}
