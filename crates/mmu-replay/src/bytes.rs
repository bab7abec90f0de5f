//! Bytes and how they are read: never beyond their end, and nothing that was not written.

use core::fmt;

/// Where bytes of the wire go.
pub trait Sink {
    /// Takes these bytes in.
    fn put(&mut self, bytes: &[u8]);
}

/// Why bytes are no list or no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// They do not begin as this version's do.
    Mark,
    /// They end in the middle.
    Cut,
    /// Something follows the end.
    Rest(usize),
    /// No such thing can stand there.
    Value {
        /// What was read.
        what: &'static str,
        /// Its number.
        value: u64,
    },
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mark => f.write_str("this is of another kind or version; build both sides together"),
            Self::Cut => f.write_str("it ends in the middle"),
            Self::Rest(bytes) => write!(f, "{bytes} bytes follow its end"),
            Self::Value { what, value } => write!(f, "{value:#x} is no {what}"),
        }
    }
}

impl core::error::Error for WireError {}

/// Writes a number in as many groups of seven bits as it takes, low ones first.
pub(crate) fn put_number(sink: &mut impl Sink, mut number: u64) {
    while number >= 0x80 {
        sink.put(&[number as u8 | 0x80]);
        number >>= 7;
    }
    sink.put(&[number as u8]);
}

/// Writes a word as it is.
pub(crate) fn put_word(sink: &mut impl Sink, word: u64) {
    sink.put(&word.to_le_bytes());
}

/// What has not been read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Behind the mark.
    pub(crate) fn behind(mark: &[u8], bytes: &'a [u8]) -> Result<Self, WireError> {
        bytes.strip_prefix(mark).map(Self).ok_or(WireError::Mark)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, WireError> {
        let (byte, rest) = self.0.split_first().ok_or(WireError::Cut)?;
        self.0 = rest;
        Ok(*byte)
    }

    pub(crate) fn word(&mut self) -> Result<u64, WireError> {
        let (word, rest) = self.0.split_first_chunk().ok_or(WireError::Cut)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*word))
    }

    pub(crate) fn number(&mut self) -> Result<u64, WireError> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(WireError::Value { what: "64-bit number", value: bits });
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(WireError::Value { what: "64-bit number", value: number })
    }

    /// A number that is below `limit`.
    pub(crate) fn below(&mut self, limit: u64, what: &'static str) -> Result<u64, WireError> {
        let value = self.number()?;
        if value < limit { Ok(value) } else { Err(WireError::Value { what, value }) }
    }

    pub(crate) const fn end(self) -> Result<(), WireError> {
        if self.0.is_empty() { Ok(()) } else { Err(WireError::Rest(self.0.len())) }
    }
}

#[cfg(test)]
impl Sink for std::vec::Vec<u8> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn numbers_come_back_and_cut_ones_do_not() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 1 << 52, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert_eq!(Reader(&bytes).number(), Ok(number));
            assert_eq!(Reader(&bytes[..bytes.len() - 1]).number(), Err(WireError::Cut));
        }
    }

    #[test]
    fn more_than_64_bits_are_no_number() {
        for bytes in [[0xff; 11].as_slice(), &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert!(matches!(Reader(bytes).number(), Err(WireError::Value { .. })));
        }
    }
}
