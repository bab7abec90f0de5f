//! What came of a list, on its way back.
//!
//! For each step the hypercalls made in it, then what was refused, what entries held when they were looked at or taken
//! away beside the library (0 where they could not be; all that are not empty of a frame that is filled with zeros), how many complaints the library had, and the end: what every frame with a name is and holds.

use hypercall::{Errno, Level, Mfn, Operation};

use crate::bytes::{Reader, Sink, WireError, put_number, put_word};
use crate::{names, operation};

const MARK: &[u8; 8] = b"MMUREPA\x01";
/// In the place of an operation's tag.
const WHOLE_MULTICALL: u8 = 0xff;
const BESIDE: u8 = 0xfe;

/// The word told of an L4 entry that is the kernel's own, whatever frame it names: the two guests have different ones.
pub const OWN: u64 = u64::MAX;

/// The hypercalls of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Called {
    /// How many.
    pub hypercalls: u32,
    /// Page-table updates in them.
    pub updates: u32,
    /// Most operations in one.
    pub largest: u32,
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// An operation.
    Operation(Operation, Errno),
    /// A whole multicall.
    Multicall(Errno),
    /// Not by the hypervisor: the step's own access beside the library faulted.
    Beside,
}

/// Something that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The step, from 0.
    pub step: u32,
    /// The vCPU.
    pub vcpu: u32,
    /// What.
    pub what: Refused,
}

/// What a frame is at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameState {
    /// A table in use, of this level.
    pub table: Option<Level>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether the direct map has it writable.
    pub writable: bool,
}

const PINNED: u8 = 8;
const WRITABLE: u8 = 16;

impl FrameState {
    fn byte(self) -> u8 {
        let flag = |set, bit| if set { bit } else { 0 };
        self.table.map_or(0, Level::number) | flag(self.pinned, PINNED) | flag(self.writable, WRITABLE)
    }

    fn from_byte(byte: u8) -> Result<Self, WireError> {
        let (number, wrong) = (byte & 7, WireError::Value { what: "state of a frame", value: byte.into() });
        let table = names::level(number.into());
        if byte & !(7 | PINNED | WRITABLE) != 0 || (number != 0 && table.is_none()) {
            return Err(wrong);
        }
        Ok(Self { table, pinned: byte & PINNED != 0, writable: byte & WRITABLE != 0 })
    }
}

/// Writes an answer, in the order of its methods.
#[derive(Debug)]
pub struct Writer<'s, S>(&'s mut S);

impl<'s, S: Sink> Writer<'s, S> {
    /// Begins an answer to a list of `steps` steps.
    pub fn begin(sink: &'s mut S, steps: u32) -> Self {
        sink.put(MARK);
        put_number(sink, steps.into());
        Self(sink)
    }

    /// The hypercalls of the next step.
    pub fn called(&mut self, called: &Called) {
        put_number(self.0, called.hypercalls.into());
        if called.hypercalls > 0 {
            put_number(self.0, called.updates.into());
            put_number(self.0, called.largest.into());
        }
    }

    /// What was refused. `None` where no answer can carry an operation.
    pub fn refused(&mut self, refusals: &[Refusal]) -> Option<()> {
        put_number(self.0, refusals.len() as u64);
        refusals.iter().try_for_each(|refusal| self.refusal(refusal))
    }

    fn refusal(&mut self, refusal: &Refusal) -> Option<()> {
        put_number(self.0, refusal.step.into());
        put_number(self.0, refusal.vcpu.into());
        let errno = match refusal.what {
            Refused::Operation(operation, errno) => {
                operation::put(self.0, &operation)?;
                errno
            }
            Refused::Multicall(errno) => {
                self.0.put(&[WHOLE_MULTICALL]);
                errno
            }
            Refused::Beside => {
                self.0.put(&[BESIDE]);
                return Some(());
            }
        };
        put_number(self.0, errno.number().into());
        Some(())
    }

    /// What entries held, in the order of the steps.
    pub fn found(&mut self, words: impl ExactSizeIterator<Item = u64>) {
        put_number(self.0, words.len() as u64);
        words.for_each(|word| put_word(self.0, word));
    }

    /// How many complaints there were, and the number of frames that follow.
    pub fn complaints(&mut self, complaints: u32, frames: u64) {
        put_number(self.0, complaints.into());
        put_number(self.0, frames);
    }

    /// The next frame and what it holds: entries that are not empty, each once.
    pub fn frame(&mut self, state: FrameState, entries: impl Iterator<Item = (usize, u64)> + Clone) {
        self.0.put(&[state.byte()]);
        put_number(self.0, entries.clone().count() as u64);
        for (index, word) in entries {
            put_number(self.0, index as u64);
            put_word(self.0, word);
        }
    }
}

/// An answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a>(Reader<'a>);

impl<'a> Answer<'a> {
    /// Reads the beginning of an answer, and the hypercalls of each step.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: &'a [u8], mut each: impl FnMut(Called)) -> Result<Self, WireError> {
        let mut rest = Reader::behind(MARK, bytes)?;
        for _ in 0..rest.below(1 << 32, "number of steps")? {
            let mut count = || rest.below(1 << 32, "count").map(|count| count as u32);
            let hypercalls = count()?;
            let (updates, largest) = if hypercalls > 0 { (count()?, count()?) } else { (0, 0) };
            each(Called { hypercalls, updates, largest });
        }
        Ok(Self(rest))
    }

    /// What was refused.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn refused(&mut self, mut each: impl FnMut(Refusal)) -> Result<(), WireError> {
        for _ in 0..self.0.number()? {
            let step = self.0.below(1 << 32, "step")? as u32;
            let vcpu = self.0.below(1 << 32, "vCPU")? as u32;
            let what = match self.0.byte()? {
                BESIDE => Refused::Beside,
                WHOLE_MULTICALL => Refused::Multicall(self.errno()?),
                tag => Refused::Operation(operation::read(tag, &mut self.0)?, self.errno()?),
            };
            each(Refusal { step, vcpu, what });
        }
        Ok(())
    }

    fn errno(&mut self) -> Result<Errno, WireError> {
        let value = self.0.below(1 << 16, "errno")?;
        Errno::new(value as u16).ok_or(WireError::Value { what: "errno", value })
    }

    /// What entries held, in the order of the steps.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn found(&mut self, mut each: impl FnMut(u64)) -> Result<(), WireError> {
        for _ in 0..self.0.number()? {
            each(self.0.word()?);
        }
        Ok(())
    }

    /// How many complaints there were; then the end: `frame` is told each frame, by name, and `entry` each of its
    /// entries.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn end(
        mut self,
        mut frame: impl FnMut(Mfn, FrameState),
        mut entry: impl FnMut(Mfn, usize, u64),
    ) -> Result<u32, WireError> {
        let complaints = self.0.below(1 << 32, "number of complaints")? as u32;
        for name in 1..=self.0.below(1 << 32, "number of frames")? {
            let (name, state) = (Mfn::new(name), FrameState::from_byte(self.0.byte()?)?);
            frame(name, state);
            for _ in 0..self.0.number()? {
                let index = self.0.below(hypercall::ENTRIES_PER_TABLE as u64, "entry's number")? as usize;
                entry(name, index, self.0.word()?);
            }
        }
        self.0.end()?;
        Ok(complaints)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    use hypercall::{DomId, MmuextOp};

    const CALLED: [Called; 2] =
        [Called { hypercalls: 0, updates: 0, largest: 0 }, Called { hypercalls: 2, updates: 512, largest: 513 }];
    const TABLE: FrameState = FrameState { table: Some(Level::L4), pinned: true, writable: false };
    const PLAIN: FrameState = FrameState { table: None, pinned: false, writable: true };

    fn refusals() -> [Refusal; 3] {
        let unpin = Operation::Mmuext { op: MmuextOp::Unpin { table: Mfn::new(7) }, domain: DomId::SELF };
        let refusal = |what| Refusal { step: 300, vcpu: 1, what };
        let refused = [Refused::Operation(unpin, Errno::BUSY), Refused::Multicall(Errno::INVAL), Refused::Beside];
        refused.map(refusal)
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = Writer::begin(&mut bytes, 2);
        CALLED.iter().for_each(|called| writer.called(called));
        writer.refused(&refusals()).unwrap();
        writer.found([1, u64::MAX].into_iter());
        writer.complaints(5, 2);
        writer.frame(TABLE, [(0, OWN), (511, 7)].into_iter());
        writer.frame(PLAIN, std::iter::empty());
        bytes
    }

    type Read = (Vec<Called>, Vec<Refusal>, Vec<u64>, Vec<(u64, FrameState)>, Vec<(u64, usize, u64)>, u32);

    fn read(bytes: &[u8]) -> Result<Read, WireError> {
        let mut all = Read::default();
        let mut answer = Answer::decode(bytes, |called| all.0.push(called))?;
        answer.refused(|refusal| all.1.push(refusal))?;
        answer.found(|word| all.2.push(word))?;
        let frame = |name: Mfn, state| all.3.push((name.number(), state));
        all.5 = answer.end(frame, |name, index, word| all.4.push((name.number(), index, word)))?;
        Ok(all)
    }

    #[test]
    fn everything_comes_back() {
        let (called, refused, found, frames, entries, complaints) = read(&bytes()).unwrap();
        assert_eq!((called.as_slice(), refused.as_slice()), (CALLED.as_slice(), refusals().as_slice()));
        assert_eq!((found, frames), (vec![1, u64::MAX], vec![(1, TABLE), (2, PLAIN)]));
        assert_eq!((entries, complaints), (vec![(1, 0, OWN), (1, 511, 7)], 5));
    }

    #[test]
    fn an_answer_that_is_cut_or_goes_on_is_none() {
        let mut bytes = bytes();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        bytes.push(0);
        assert_eq!(read(&bytes), Err(WireError::Rest(1)));
    }

    #[test]
    fn no_changed_byte_is_read_beyond_the_end() {
        let bytes = bytes();
        for at in 0..bytes.len() {
            for value in [0, 0x60, 0x7f, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                // Any answer but a panic.
                let _ = read(&changed);
            }
        }
    }
}
