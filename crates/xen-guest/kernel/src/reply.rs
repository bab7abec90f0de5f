//! The answer on its way to the host, as numbered frames, or to a reader, as text.

use core::fmt::{self, Write as _};

use crc32fast::Hasher;
use xen_guest::write_line;
use xen_wire::{Frame, FrameKind, LINE_BYTES, PAYLOAD_BYTES, TextLine, Total};

use crate::error::Error;

/// Text for a reader, line by line.
type Lines = TextLine<fn(&[u8])>;

/// An answer that has begun. Bytes leave in whole frames, as soon as there is one.
pub(crate) struct Reply {
    buffer: [u8; PAYLOAD_BYTES],
    used: usize,
    /// Number of the next data frame.
    number: u32,
    total: Total,
    hasher: Hasher,
    /// Lines for a reader, in place of frames.
    lines: Option<Lines>,
}

impl Reply {
    /// Tells the host that the kernel runs, and begins the answer.
    pub(crate) fn begin() -> Self {
        send(FrameKind::Ready, 0, &[]);
        Self::to(None)
    }

    /// An answer to be read.
    pub(crate) fn text() -> Self {
        Self::to(Some(TextLine::log(write_line)))
    }

    fn to(lines: Option<Lines>) -> Self {
        Self { buffer: [0; PAYLOAD_BYTES], used: 0, number: 0, total: Total::default(), hasher: Hasher::new(), lines }
    }

    /// Adds to the answer.
    pub(crate) fn bytes(&mut self, mut bytes: &[u8]) {
        if let Some(lines) = &mut self.lines {
            // What is no text is for no reader; a line takes everything.
            let _ = lines.write_str(str::from_utf8(bytes).unwrap_or("(bytes)"));
            return;
        }
        self.hasher.update(bytes);
        self.total.len += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = &mut self.buffer[self.used..];
            let (now, later) = bytes.split_at(room.len().min(bytes.len()));
            room[..now.len()].copy_from_slice(now);
            self.used += now.len();
            bytes = later;
            if self.used == PAYLOAD_BYTES {
                self.flush();
            }
        }
    }

    /// Sends what is there, so that the host has it whatever comes next.
    pub(crate) fn flush(&mut self) {
        if self.used > 0 {
            send(FrameKind::Data, self.number, &self.buffer[..self.used]);
            self.skip_number();
            self.used = 0;
        }
    }

    /// Leaves a data frame's number out, as if the frame had been lost.
    pub(crate) fn skip_number(&mut self) {
        self.number = self.number.wrapping_add(1);
    }

    /// The answer is complete.
    pub(crate) fn end(mut self) {
        if let Some(lines) = self.lines {
            return lines.end();
        }
        self.flush();
        self.total.checksum = self.hasher.finalize();
        send(FrameKind::End, self.number, &self.total.to_payload());
    }

    /// The command was not carried out.
    pub(crate) fn refuse(self, error: &Error) {
        let mut text = Text { bytes: [0; PAYLOAD_BYTES], used: 0 };
        // A text that does not fit is cut.
        let _ = fmt::write(&mut text, format_args!("{error}"));
        send(FrameKind::Refused, self.number, &text.bytes[..text.used]);
    }
}

impl fmt::Write for Reply {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// As much of a text as a frame holds.
struct Text {
    bytes: [u8; PAYLOAD_BYTES],
    used: usize,
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.bytes[self.used..];
        let len = text.floor_char_boundary(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.used += len;
        if len == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

fn send(kind: FrameKind, number: u32, payload: &[u8]) {
    if let Some(frame) = Frame::new(kind, number, payload) {
        write_line(frame.encode(&mut [0; LINE_BYTES]));
    }
}
