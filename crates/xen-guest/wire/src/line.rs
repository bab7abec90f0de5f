//! Lines of the console, told apart by their first characters.

use core::fmt;

use crate::{Frame, FrameError, frame::MARK};

/// Bytes of a line with its end: what Xen copies and prints of a domain's output under one hold of its
/// console lock (`guest_console_write`, 128 bytes with a terminator of its own).
pub const LINE_BYTES: usize = 127;

/// The text of the line that closes a kernel's last words.
pub const LAST_LINE: &str = "the kernel ends here";

/// The text of the log's line that closes an answer given as text.
pub const TEXT_END: &str = "that is all";

const LOG: &[u8] = b"> ";
const LAST_WORDS: &[u8] = b"! ";
const HYPERVISOR: &[u8] = b"(XEN) ";

/// One line of the console, without its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A piece of the answer, or what is left of one.
    Frame(Result<Frame, FrameError>),
    /// The kernel's log.
    Log(&'a [u8]),
    /// Why the kernel crashed.
    LastWords(&'a [u8]),
    /// The hypervisor's log.
    Hypervisor(&'a [u8]),
    /// The firmware, or debris.
    Other(&'a [u8]),
}

impl<'a> Line<'a> {
    /// Tells what `line` is.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Self {
        if let Some(rest) = line.strip_prefix(&[MARK]) {
            return Self::Frame(Frame::decode(rest));
        }
        if let Some(text) = line.strip_prefix(LOG) {
            Self::Log(text)
        } else if let Some(text) = line.strip_prefix(LAST_WORDS) {
            Self::LastWords(text)
        } else if let Some(text) = line.strip_prefix(HYPERVISOR) {
            Self::Hypervisor(text)
        } else {
            Self::Other(line)
        }
    }
}

/// Text on its way to the console, as whole lines of one kind. What is longer than a line goes on in
/// the next, under the same mark.
#[derive(Debug)]
pub struct TextLine<W: FnMut(&[u8])> {
    bytes: [u8; LINE_BYTES],
    len: usize,
    write: W,
}

impl<W: FnMut(&[u8])> TextLine<W> {
    /// A line of the kernel's log; `write` is given each line whole.
    pub fn log(write: W) -> Self {
        Self::start(LOG, write)
    }

    /// A line of the kernel's last words.
    pub fn last_words(write: W) -> Self {
        Self::start(LAST_WORDS, write)
    }

    fn start(mark: &[u8], write: W) -> Self {
        let mut bytes = [0; LINE_BYTES];
        bytes[..mark.len()].copy_from_slice(mark);
        Self { bytes, len: mark.len(), write }
    }

    /// Ends the line and writes it.
    pub fn end(mut self) {
        self.line_end();
    }

    fn line_end(&mut self) {
        self.bytes[self.len] = b'\n';
        (self.write)(&self.bytes[..=self.len]);
        // Both marks are as long.
        self.len = LOG.len();
    }

    fn push(&mut self, byte: u8) {
        if self.len == LINE_BYTES - 1 {
            self.line_end();
        }
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

impl<W: FnMut(&[u8])> fmt::Write for TextLine<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            match byte {
                b'\n' => self.line_end(),
                byte => self.push(byte),
            }
        }
        Ok(())
    }
}

const _: () = assert!(LOG.len() == LAST_WORDS.len());

#[cfg(test)]
mod tests {
    use core::fmt::Write as _;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn lines_are_told_apart() {
        assert_eq!(Line::parse(b"> hello"), Line::Log(b"hello"));
        assert_eq!(Line::parse(b"! trap 14"), Line::LastWords(b"trap 14"));
        assert_eq!(Line::parse(b"(XEN) Booting"), Line::Hypervisor(b"Booting"));
        assert_eq!(Line::parse(b"SeaBIOS"), Line::Other(b"SeaBIOS"));
        assert_eq!(Line::parse(b""), Line::Other(b""));
        assert_eq!(Line::parse(b"@"), Line::Frame(Err(FrameError::Kind(None))));
        assert_eq!(Line::parse(b"@?"), Line::Frame(Err(FrameError::Kind(Some(b'?')))));
    }

    #[test]
    fn long_text_goes_on_under_the_same_mark() {
        let mut lines: Vec<Vec<u8>> = Vec::new();
        let mut text = TextLine::last_words(|line| lines.push(line.to_vec()));
        write!(text, "{:0130}\nsecond", 0).unwrap();
        text.end();
        assert_eq!(lines.iter().map(Vec::len).collect::<Vec<_>>(), [LINE_BYTES, 9, 9]);
        assert!(lines.iter().all(|line| line.starts_with(b"! ") && line.ends_with(b"\n")));
    }
}
