//! The answer, put together of frames.

use std::time::Duration;

use crc32fast::Hasher;
use xen_wire::{Frame, FrameKind, Total};

use crate::error::RunError;

/// What a command answered.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The answer's bytes.
    pub bytes: Vec<u8>,
    /// What the kernel wrote to its log meanwhile.
    pub log: Vec<String>,
    /// From the start of QEMU to the kernel's sign of life.
    pub boot: Duration,
    /// From there to the end of the answer.
    pub run: Duration,
}

/// An answer that is arriving.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    bytes: Vec<u8>,
    hasher: Hasher,
    /// Number of the frame due.
    next: u32,
}

impl Assembly {
    /// What has arrived so far.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Adds a data frame.
    pub(crate) fn add(&mut self, frame: &Frame) -> Result<(), RunError> {
        self.check_number(frame)?;
        self.next = self.next.wrapping_add(1);
        self.hasher.update(frame.payload());
        self.bytes.extend_from_slice(frame.payload());
        Ok(())
    }

    /// Checks the whole against the end frame and gives it up.
    pub(crate) fn finish(&mut self, end: &Frame) -> Result<Vec<u8>, RunError> {
        debug_assert_eq!(end.kind(), FrameKind::End);
        self.check_number(end)?;
        let said = Total::from_payload(end.payload());
        let found = Total { len: self.bytes.len() as u64, checksum: self.hasher.clone().finalize() };
        if said == Some(found) { Ok(self.take()) } else { Err(RunError::BadTotal { said, found }) }
    }

    fn check_number(&mut self, frame: &Frame) -> Result<(), RunError> {
        let (expected, found) = (self.next, frame.number());
        if expected == found { Ok(()) } else { Err(RunError::Lost { expected, found, received: self.take() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(number: u32, payload: &[u8]) -> Frame {
        Frame::new(FrameKind::Data, number, payload).unwrap()
    }

    fn end(number: u32, bytes: &[u8]) -> Frame {
        let total = Total { len: bytes.len() as u64, checksum: crc32fast::hash(bytes) };
        Frame::new(FrameKind::End, number, &total.to_payload()).unwrap()
    }

    #[test]
    fn frames_in_order_are_the_answer() {
        let mut assembly = Assembly::default();
        assembly.add(&data(0, b"one ")).unwrap();
        assembly.add(&data(1, b"two")).unwrap();
        assert_eq!(assembly.finish(&end(2, b"one two")).unwrap(), b"one two");
    }

    #[test]
    fn a_frame_lost_doubled_or_last_is_noticed() {
        let lost = |frames: &[Frame]| {
            let mut assembly = Assembly::default();
            frames.iter().find_map(|frame| match frame.kind() {
                FrameKind::Data => assembly.add(frame).err(),
                _ => assembly.finish(frame).err(),
            })
        };
        let first = data(0, b"one");
        for frames in [&[first, data(2, b"x")][..], &[first, first], &[first, end(2, b"onetwo")]] {
            assert!(matches!(lost(frames), Some(RunError::Lost { expected: 1, .. })), "{frames:?}");
        }
    }

    #[test]
    fn a_total_that_does_not_fit_is_noticed() {
        let mut assembly = Assembly::default();
        assembly.add(&data(0, b"one")).unwrap();
        assert!(matches!(assembly.finish(&end(1, b"two")), Err(RunError::BadTotal { .. })));
    }
}
