//! Frames: numbered pieces of the answer, each with its own checksum.

use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc32fast::Hasher;

use crate::LINE_BYTES;

/// Bytes before a frame's payload: its number and its checksum.
const HEAD_BYTES: usize = 8;
/// Bytes a frame carries at most. In base64 with head, mark and line end they fill one line.
pub const PAYLOAD_BYTES: usize = (LINE_BYTES - 3) / 4 * 3 - HEAD_BYTES;
/// The first character of a frame's line.
pub(crate) const MARK: u8 = b'@';

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// The kernel runs; the command begins. No payload.
    Ready = b'R',
    /// A piece of the answer.
    Data = b'D',
    /// The answer is complete; the payload is its [`Total`].
    End = b'E',
    /// The command was not carried out; the payload says why, as text.
    Refused = b'F',
}

impl FrameKind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            b'R' => Self::Ready,
            b'D' => Self::Data,
            b'E' => Self::End,
            b'F' => Self::Refused,
            _ => return None,
        })
    }
}

/// Why a line with a frame's mark is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The character after the mark is no kind of frame.
    Kind(Option<u8>),
    /// What follows is not base64, or too short or too long for a frame.
    Encoding,
    /// The checksum does not fit.
    Checksum {
        /// What the frame says.
        said: u32,
        /// What its bytes give.
        computed: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(Some(byte)) => write!(f, "`{}` is no kind of frame", byte.escape_ascii()),
            Self::Kind(None) => f.write_str("the line ends where the kind of frame should be"),
            Self::Encoding => f.write_str("the frame is not whole base64"),
            Self::Checksum { said, computed } => {
                write!(f, "the frame's checksum is {said:#010x}, its bytes give {computed:#010x}")
            }
        }
    }
}

impl core::error::Error for FrameError {}

/// One frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    kind: FrameKind,
    number: u32,
    payload: [u8; PAYLOAD_BYTES],
    len: usize,
}

impl Frame {
    /// A frame with this number; `None` where the payload is longer than [`PAYLOAD_BYTES`].
    #[must_use]
    pub fn new(kind: FrameKind, number: u32, payload: &[u8]) -> Option<Self> {
        let mut frame = Self { kind, number, payload: [0; PAYLOAD_BYTES], len: payload.len() };
        frame.payload.get_mut(..payload.len())?.copy_from_slice(payload);
        Some(frame)
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        self.kind
    }

    /// Its number: data frames count from 0.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// What it carries.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or(&self.payload)
    }

    /// Writes the frame's line, line end included, and answers with it.
    pub fn encode<'a>(&self, line: &'a mut [u8; LINE_BYTES]) -> &'a [u8] {
        let mut bytes = [0; HEAD_BYTES + PAYLOAD_BYTES];
        let used = HEAD_BYTES + self.len;
        bytes[..4].copy_from_slice(&self.number.to_le_bytes());
        bytes[4..HEAD_BYTES].copy_from_slice(&self.checksum().to_le_bytes());
        bytes[HEAD_BYTES..].copy_from_slice(&self.payload);
        line[0] = MARK;
        line[1] = self.kind as u8;
        // The line has room for the longest frame, so there is nothing to refuse.
        let encoded = STANDARD.encode_slice(&bytes[..used], &mut line[2..]).unwrap_or(0);
        line[2 + encoded] = b'\n';
        &line[..encoded + 3]
    }

    /// Reads what follows the mark in a frame's line.
    ///
    /// # Errors
    /// [`FrameError`].
    pub(crate) fn decode(rest: &[u8]) -> Result<Self, FrameError> {
        let (kind, encoded) = rest.split_first().ok_or(FrameError::Kind(None))?;
        let kind = FrameKind::from_byte(*kind).ok_or(FrameError::Kind(Some(*kind)))?;
        let mut bytes = [0; LINE_BYTES];
        let len = STANDARD.decode_slice(encoded, &mut bytes).map_err(|_| FrameError::Encoding)?;
        let bytes = bytes.get(..len).ok_or(FrameError::Encoding)?;
        let (number, bytes) = bytes.split_first_chunk().ok_or(FrameError::Encoding)?;
        let (said, payload) = bytes.split_first_chunk().ok_or(FrameError::Encoding)?;
        let frame = Self::new(kind, u32::from_le_bytes(*number), payload).ok_or(FrameError::Encoding)?;
        let (said, computed) = (u32::from_le_bytes(*said), frame.checksum());
        if said == computed { Ok(frame) } else { Err(FrameError::Checksum { said, computed }) }
    }

    fn checksum(&self) -> u32 {
        let mut hasher = Hasher::new();
        hasher.update(&[self.kind as u8]);
        hasher.update(&self.number.to_le_bytes());
        hasher.update(self.payload());
        hasher.finalize()
    }
}

/// Length and checksum of a whole answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Bytes.
    pub len: u64,
    /// CRC-32 of them all.
    pub checksum: u32,
}

impl Total {
    const BYTES: usize = 12;

    /// The payload of an [`FrameKind::End`].
    #[must_use]
    pub fn to_payload(self) -> [u8; Self::BYTES] {
        let mut payload = [0; Self::BYTES];
        payload[..8].copy_from_slice(&self.len.to_le_bytes());
        payload[8..].copy_from_slice(&self.checksum.to_le_bytes());
        payload
    }

    /// Reads the payload of an [`FrameKind::End`]; `None` for one of another length.
    #[must_use]
    pub fn from_payload(payload: &[u8]) -> Option<Self> {
        let (len, rest) = payload.split_first_chunk()?;
        let checksum = rest.try_into().ok()?;
        Some(Self { len: u64::from_le_bytes(*len), checksum: u32::from_le_bytes(checksum) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Line;
    use std::vec::Vec;

    fn line_of(frame: &Frame) -> Vec<u8> {
        frame.encode(&mut [0; LINE_BYTES]).to_vec()
    }

    #[test]
    fn the_longest_frame_fills_a_line_and_comes_back() {
        for len in 0..=PAYLOAD_BYTES {
            let payload: Vec<u8> = (0..len).map(|byte| byte as u8 ^ 0xa5).collect();
            let frame = Frame::new(FrameKind::Data, 7, &payload).unwrap();
            let line = line_of(&frame);
            assert!(line.len() <= LINE_BYTES && line.ends_with(b"\n"));
            assert_eq!(Line::parse(line.trim_ascii_end()), Line::Frame(Ok(frame)));
        }
        let longest = Frame::new(FrameKind::Data, 0, &[0; PAYLOAD_BYTES]).unwrap();
        assert_eq!(line_of(&longest).len(), LINE_BYTES);
        assert_eq!(Frame::new(FrameKind::Data, 0, &[0; PAYLOAD_BYTES + 1]), None);
    }

    #[test]
    fn no_changed_character_passes() {
        let line = line_of(&Frame::new(FrameKind::Data, 3, b"forty-two bytes of something to protect...").unwrap());
        let line = line.trim_ascii_end();
        for at in 1..line.len() {
            for bit in 0..8 {
                let mut broken = line.to_vec();
                broken[at] ^= 1 << bit;
                assert!(matches!(Line::parse(&broken), Line::Frame(Err(_))), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_cut_line_is_no_frame() {
        let line = line_of(&Frame::new(FrameKind::Data, 3, b"some payload").unwrap());
        for len in 1..line.len() - 1 {
            assert!(matches!(Line::parse(&line[..len]), Line::Frame(Err(_))), "cut to {len}");
        }
    }

    #[test]
    fn a_total_comes_back() {
        let total = Total { len: 1 << 40, checksum: 0x1234_5678 };
        assert_eq!(Total::from_payload(&total.to_payload()), Some(total));
        assert_eq!(Total::from_payload(&[0; 11]), None);
    }
}
