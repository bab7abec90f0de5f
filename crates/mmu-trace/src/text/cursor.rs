//! A cursor over the body of one event.
//!
//! Every method skips leading blanks, takes what it expects and fails without a trace of state otherwise: after an
//! error the line is given up as a whole. [`Cursor::end`] must close every body, so that a cut or lengthened line fails.

use crate::event::Level;

/// The bytes not yet taken.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

/// A body is not what its event must have.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyFault {
    /// Something else stands in the place of a field.
    Expected { expected: &'static str, found: Box<str> },
    /// A table level that Linux's numbering since 4.12 does not have on a PV guest.
    Level(u64),
    /// Not the event's fields, but what a tool made of them.
    Rendered,
}

/// Linux counts levels from the top, with a folded one in between: 4 is an L1.
pub(super) fn level_of(number: u64) -> Result<Level, BodyFault> {
    match number {
        4 => Ok(Level::L1),
        3 => Ok(Level::L2),
        2 => Ok(Level::L3),
        0 => Ok(Level::L4),
        other => Err(BodyFault::Level(other)),
    }
}

/// Digits of a page-table entry.
const WORD_DIGITS: usize = 16;

/// How much of a wrong body is shown.
const SHOWN: usize = 40;

impl<'a> Cursor<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn fault(&self, expected: &'static str) -> BodyFault {
        let shown = &self.rest[..self.rest.len().min(SHOWN)];
        BodyFault::Expected { expected, found: String::from_utf8_lossy(shown).into() }
    }

    fn skip_blanks(&mut self) {
        while let [b' ', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Takes `word` if it is next.
    pub(super) fn take(&mut self, word: &'static str) -> bool {
        self.skip_blanks();
        let Some(rest) = self.rest.strip_prefix(word.as_bytes()) else { return false };
        self.rest = rest;
        true
    }

    /// Takes `word`, which must be next.
    pub(super) fn word(&mut self, word: &'static str) -> Result<(), BodyFault> {
        if self.take(word) { Ok(()) } else { Err(self.fault(word)) }
    }

    /// Takes a hexadecimal number of at most 64 bits, with or without `0x`; a null pointer may be spelt `(null)`.
    pub(super) fn hex(&mut self) -> Result<u64, BodyFault> {
        if self.take("(null)") {
            return Ok(0);
        }
        self.skip_blanks();
        let digits = self.rest.strip_prefix(b"0x").unwrap_or(self.rest);
        let (value, rest) = leading_hex(digits).ok_or_else(|| self.fault("a hexadecimal number"))?;
        self.rest = rest;
        Ok(value)
    }

    /// Takes `label` and the word of a page table after it, which Linux prints in full width: a shorter one is damaged.
    pub(super) fn word_after(&mut self, label: &'static str) -> Result<u64, BodyFault> {
        self.word(label)?;
        self.skip_blanks();
        let before = *self;
        let value = self.hex()?;
        let digits = before.rest.len() - self.rest.len();
        if digits == WORD_DIGITS { Ok(value) } else { Err(before.fault("a hexadecimal number of 16 digits")) }
    }

    /// Takes `label` and the hexadecimal number after it.
    pub(super) fn hex_after(&mut self, label: &'static str) -> Result<u64, BodyFault> {
        self.word(label)?;
        self.hex()
    }

    /// Takes a decimal number of at most 64 bits.
    pub(super) fn decimal(&mut self) -> Result<u64, BodyFault> {
        self.skip_blanks();
        let (value, rest) = leading_decimal(self.rest).ok_or_else(|| self.fault("a decimal number"))?;
        self.rest = rest;
        Ok(value)
    }

    /// Takes a decimal number of at most 32 bits.
    pub(super) fn decimal32(&mut self) -> Result<u32, BodyFault> {
        let before = *self;
        self.decimal()?.try_into().map_err(|_| before.fault("a number below 2^32"))
    }

    /// Takes a number of at most 64 bits: decimal, or hexadecimal with `0x`.
    pub(super) fn number(&mut self) -> Result<u64, BodyFault> {
        self.skip_blanks();
        if self.rest.starts_with(b"0x") { self.hex() } else { self.decimal() }
    }

    /// Takes a number of at most 32 bits: decimal, or hexadecimal with `0x`.
    pub(super) fn number32(&mut self) -> Result<u32, BodyFault> {
        let before = *self;
        self.number()?.try_into().map_err(|_| before.fault("a number below 2^32"))
    }

    /// Takes a decimal number with an optional minus sign, or 64 bits after `0x`.
    pub(super) fn signed(&mut self) -> Result<i64, BodyFault> {
        let before = *self;
        self.skip_blanks();
        if self.rest.starts_with(b"0x") {
            return self.hex().map(|bits| bits as i64);
        }
        let negative = self.take("-");
        let value = i128::from(self.decimal()?);
        let value = if negative { -value } else { value };
        value.try_into().map_err(|_| before.fault("a number of 64 bits"))
    }

    /// Takes a bracketed word such as `(mmu_update)` if it is next.
    pub(super) fn skip_parenthesis(&mut self) {
        if let [b'(', inside @ ..] = self.rest
            && let Some(end) = inside.iter().position(|&b| b == b')')
        {
            self.rest = &inside[end + 1..];
        }
    }

    /// Nothing but blanks may be left.
    pub(super) fn end(mut self) -> Result<(), BodyFault> {
        self.skip_blanks();
        if self.rest.is_empty() { Ok(()) } else { Err(self.fault("the end of the line")) }
    }
}

/// The hexadecimal number `text` starts with (1 to 16 digits) and what follows it.
fn leading_hex(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    let mut length = 0;
    for &byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ => break,
        };
        value = value << 4 | u64::from(digit);
        length += 1;
    }
    (1..=16).contains(&length).then(|| (value, &text[length..]))
}

/// The decimal number `text` starts with and what follows it.
pub(super) fn leading_decimal(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    let mut length = 0;
    for &byte in text.iter().take_while(|b| b.is_ascii_digit()) {
        value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
        length += 1;
    }
    (length > 0).then(|| (value, &text[length..]))
}

#[cfg(test)]
mod tests {
    use super::{BodyFault, Cursor, leading_hex};

    #[test]
    fn numbers_keep_64_bits_and_refuse_more() {
        assert_eq!(Cursor::new(b" ffffffffffffffff").hex(), Ok(u64::MAX));
        assert!(Cursor::new(b"10000000000000000").hex().is_err());
        assert_eq!(Cursor::new(b"18446744073709551615").decimal(), Ok(u64::MAX));
        assert!(Cursor::new(b"18446744073709551616").decimal().is_err());
        assert_eq!(Cursor::new(b"-9223372036854775808").signed(), Ok(i64::MIN));
        assert!(Cursor::new(b"9223372036854775808").signed().is_err());
        assert!(Cursor::new(b"4294967296").decimal32().is_err());
    }

    #[test]
    fn a_null_pointer_may_be_a_word() {
        assert_eq!(Cursor::new(b"          (null)").hex(), Ok(0));
        assert_eq!(leading_hex(b""), None);
    }

    #[test]
    fn a_fault_shows_what_was_found() {
        let mut cursor = Cursor::new(b"ptep nonsense");
        assert_eq!(
            cursor.hex_after("ptep"),
            Err(BodyFault::Expected { expected: "a hexadecimal number", found: "nonsense".into() })
        );
    }
}
