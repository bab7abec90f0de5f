//! Bytes of programs and answers.
//!
//! Numbers travel in groups of seven bits, lowest first, the eighth set in all but the last. A
//! reader never reads beyond its input and says where it stopped.

use core::fmt;

/// Why bytes are no program, or no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The bytes end too early.
    Cut,
    /// A number has more than 64 bits.
    Overlong,
    /// A byte that stands for nothing where it is.
    Unknown(u8),
    /// Arguments that are too many, nested too deeply, or do not fit into the arena.
    TooLarge,
    /// An index beyond a page, or of a frame that cannot be observed.
    Index,
    /// Bytes behind the end.
    Excess,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the bytes end too early"),
            Self::Overlong => f.write_str("a number has more than 64 bits"),
            Self::Unknown(byte) => write!(f, "byte {byte:#x} stands for nothing here"),
            Self::TooLarge => f.write_str("arguments are too many, too deep, or too long for the arena"),
            Self::Index => f.write_str("an index lies beyond a page, or in a frame that cannot be observed"),
            Self::Excess => f.write_str("bytes follow the end"),
        }
    }
}

/// A fault and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// Offset of the byte behind which reading stopped.
    pub at: usize,
    /// Why.
    pub fault: Fault,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.at, self.fault)
    }
}

impl core::error::Error for Malformed {}

/// Reads from bytes.
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The fault, here.
    pub(crate) const fn fault(&self, fault: Fault) -> Malformed {
        Malformed { at: self.at, fault }
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = *self.bytes.get(self.at).ok_or(self.fault(Fault::Cut))?;
        self.at += 1;
        Ok(byte)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..count).ok_or(self.fault(Fault::Cut))?;
        self.at += count;
        Ok(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N)?);
        Ok(array)
    }

    pub(crate) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                return Err(self.fault(Fault::Overlong));
            }
            number |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(self.fault(Fault::Overlong))
    }

    /// A number below `end`.
    pub(crate) fn number_below(&mut self, end: usize, fault: Fault) -> Result<usize, Malformed> {
        let number = self.number()?;
        if number < end as u64 { Ok(number as usize) } else { Err(self.fault(fault)) }
    }

    pub(crate) const fn end(&self) -> Result<(), Malformed> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault(Fault::Excess)) }
    }
}

/// Takes bytes.
pub(crate) trait Sink {
    fn byte(&mut self, byte: u8);

    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.byte(number as u8 | 0x80);
            number >>= 7;
        }
        self.byte(number as u8);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.byte(*byte));
    }
}

/// Keeps the bytes as far as there is room.
#[derive(Debug)]
pub(crate) struct Buffer<'a> {
    room: &'a mut [u8],
    used: usize,
}

impl<'a> Buffer<'a> {
    pub(crate) const fn new(room: &'a mut [u8]) -> Self {
        Self { room, used: 0 }
    }

    /// How many bytes were put; `None` where there was not enough room.
    pub(crate) const fn used(&self) -> Option<usize> {
        if self.used <= self.room.len() { Some(self.used) } else { None }
    }
}

impl Sink for Buffer<'_> {
    fn byte(&mut self, byte: u8) {
        if let Some(place) = self.room.get_mut(self.used) {
            *place = byte;
        }
        self.used += 1;
    }
}

/// Keeps a number that differs, nearly always, where the bytes differ: FNV-1a with 64 bits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digest(pub(crate) u64);

impl Digest {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Sink for Digest {
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
}

#[cfg(feature = "std")]
impl Sink for std::vec::Vec<u8> {
    fn byte(&mut self, byte: u8) {
        self.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, u64::MAX - 1, u64::MAX] {
            let mut bytes = std::vec::Vec::new();
            bytes.number(number);
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.number(), reader.end()), (Ok(number), Ok(())));
            assert!(Reader::new(&bytes[..bytes.len() - 1]).number().is_err());
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        for bytes in [[0xff; 10], [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2]] {
            let fault = Reader::new(&bytes).number().unwrap_err().fault;
            assert_eq!(fault, Fault::Overlong);
        }
    }

    #[test]
    fn a_buffer_knows_when_it_is_too_small() {
        let mut room = [0; 3];
        let mut buffer = Buffer::new(&mut room);
        buffer.bytes(&[1, 2, 3]);
        assert_eq!(buffer.used(), Some(3));
        buffer.byte(4);
        assert_eq!(buffer.used(), None);
        assert_eq!(room, [1, 2, 3]);
    }
}
