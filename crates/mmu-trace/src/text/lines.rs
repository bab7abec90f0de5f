//! Lines of bounded length.

use std::io::{BufRead, Read};

use crate::error::TextFault;

/// The longest line read, in bytes. Ftrace's own sequence buffer holds one page; a mark of two pages still fits.
pub(super) const MAX_LINE: usize = 16 * 1024;

/// One line without its end.
pub(super) struct Line<'a> {
    /// The 1-based number.
    pub(super) number: u64,
    /// Its bytes.
    pub(super) text: &'a [u8],
    /// False for a last line that just stops.
    pub(super) ended: bool,
}

/// Reads lines into one buffer that is reused.
pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
}

impl<R: BufRead> Lines<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: Vec::with_capacity(MAX_LINE), number: 0 }
    }

    /// The number of the line read last, 0 before the first.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The next line, or `None` at the end. On an error [`Self::number`] is the line it happened in.
    pub(super) fn next(&mut self) -> Result<Option<Line<'_>>, TextFault> {
        self.buffer.clear();
        self.number += 1;
        let mut bounded = (&mut self.input).take(MAX_LINE as u64 + 1);
        let length = bounded.read_until(b'\n', &mut self.buffer).map_err(TextFault::Input)?;
        if length == 0 {
            self.number -= 1;
            return Ok(None);
        }
        let ended = self.buffer.ends_with(b"\n");
        if !ended && length > MAX_LINE {
            return Err(TextFault::TooLong { limit: MAX_LINE });
        }
        let text = self.buffer.strip_suffix(b"\n").unwrap_or(&self.buffer);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        Ok(Some(Line { number: self.number, text, ended }))
    }
}
