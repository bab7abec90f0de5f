//! Opens a trace of any form: the first bytes tell which.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use crate::error::ReadError;
use crate::event::Event;
use crate::native;
use crate::summary::Summary;
use crate::text::TextReader;

/// What every gzip stream begins with.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What the recordings of the tools begin with, whose they are, and what prints them.
const RECORDINGS: [(&[u8], &str, &str); 2] = [
    (b"\x17\x08\x44trac", "trace-cmd", "trace-cmd report -l -r '.*' -i FILE"),
    (b"PERFILE", "perf", "perf script --show-lost-events -s perf-fields.py -i FILE"),
];

/// How much is read at once, in bytes.
const BUFFER: usize = 64 * 1024;

type Input<'a> = BufReader<Box<dyn Read + 'a>>;

/// Reads events from a trace of any form. After an error or the end it yields `None` for ever.
pub struct EventReader<'a>(Form<'a>);

enum Form<'a> {
    Text(TextReader<Input<'a>>),
    Native(native::Reader<Input<'a>>),
}

/// Opens the trace in the file `path`.
///
/// # Errors
/// As [`EventReader::new`]; [`ReadError::Open`] also if there is no such file.
pub fn open(path: &Path) -> Result<EventReader<'static>, ReadError> {
    EventReader::new(File::open(path).map_err(ReadError::Open)?)
}

impl<'a> EventReader<'a> {
    /// Reads from `input`: the text of a trace or a native one, plain or gzip. What is neither is read as text, and refused
    /// with the line that is none.
    ///
    /// # Errors
    /// [`ReadError::Empty`], [`ReadError::NestedGzip`], [`ReadError::Recording`], and [`ReadError::Open`] if the first bytes cannot be read.
    pub fn new(input: impl Read + 'a) -> Result<Self, ReadError> {
        let (first, input) = peek(Box::new(input))?;
        if !first.starts_with(&GZIP_MAGIC) {
            return Self::plain(&first, input);
        }
        let (first, input) = peek(Box::new(MultiGzDecoder::new(input)))?;
        if first.starts_with(&GZIP_MAGIC) {
            return Err(ReadError::NestedGzip);
        }
        Self::plain(&first, input)
    }

    fn plain(first: &[u8], input: Box<dyn Read + 'a>) -> Result<Self, ReadError> {
        if first.is_empty() {
            return Err(ReadError::Empty);
        }
        if let Some((_, tool, command)) = RECORDINGS.iter().find(|(magic, ..)| first.starts_with(magic)) {
            return Err(ReadError::Recording { tool, command });
        }
        let input = BufReader::with_capacity(BUFFER, input);
        Ok(Self(if first == native::MAGIC {
            Form::Native(native::Reader::new(input))
        } else {
            Form::Text(TextReader::new(input))
        }))
    }

    /// The account of what was read so far; complete once `next` has returned `None`.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        match &self.0 {
            Form::Text(reader) => reader.summary(),
            Form::Native(reader) => reader.summary(),
        }
    }
}

impl Iterator for EventReader<'_> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Form::Text(reader) => reader.next(),
            Form::Native(reader) => reader.next(),
        }
    }
}

/// The first bytes of `input`, fewer only at its end, and an input that still begins with them.
fn peek<'a>(mut input: Box<dyn Read + 'a>) -> Result<(Vec<u8>, Box<dyn Read + 'a>), ReadError> {
    let mut first = Vec::with_capacity(native::MAGIC.len());
    input.by_ref().take(native::MAGIC.len() as u64).read_to_end(&mut first).map_err(ReadError::Open)?;
    let whole = Cursor::new(first.clone()).chain(input);
    Ok((first, Box::new(whole)))
}
