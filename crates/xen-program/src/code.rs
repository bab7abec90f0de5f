//! Programs as bytes.
//!
//! A program is a count of steps and the steps. A value is a tag and what the tag says; a buffer is
//! a length and its words, each a value again, so that arrays, done counts, bitmaps and the calls of
//! a multicall are written the same way. Whoever reads a program reads it in this one order: a step,
//! its values from left to right, a buffer before the buffers inside it.

use hypercall::ENTRIES_PER_TABLE;

use crate::frame::Frame;
use crate::machine::Interrupt;
#[cfg(feature = "std")]
use crate::wire::Sink;
use crate::wire::{Fault, Malformed, Reader};

/// Buffers inside buffers: a multicall's entries, an array of one of them, a bitmap of that.
const DEPTH: usize = 4;
/// Most argument registers of a hypercall.
pub(crate) const REGISTERS: usize = 5;

/// A value that is no buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Plain {
    /// The number itself.
    Literal(u64),
    /// A frame's number.
    Mfn(Frame),
    /// A frame's machine address plus an offset: an entry that maps it, or a word in it.
    Page(Frame, u64),
    /// What a word of an observed frame holds, with these bits flipped.
    Word(Frame, usize, u64),
}

/// The start of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    Plain(Plain),
    /// That many values follow; at the end of the arguments, if `edge` is set, so that memory ends
    /// behind it.
    Buffer {
        words: usize,
        edge: bool,
    },
}

/// The start of a step; its values follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepHead {
    Call { interrupt: Option<Interrupt>, number: u32, args: usize },
    Store,
    Load,
    Exchange,
    Probe(Frame),
}

const LITERAL: u8 = 0;
const MFN: u8 = 1;
const PAGE: u8 = 2;
const WORD: u8 = 3;
const BUFFER: u8 = 4;
const EDGE: u8 = 5;

const CALL: u8 = 0;
const STORE: u8 = 1;
const LOAD: u8 = 2;
const EXCHANGE: u8 = 3;
const PROBE: u8 = 4;
const CALL_PENDING: u8 = 5;
const CALL_STEP: u8 = 6;

impl Head {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match reader.byte()? {
            LITERAL => Self::Plain(Plain::Literal(reader.number()?)),
            MFN => Self::Plain(Plain::Mfn(frame(reader)?)),
            PAGE => Self::Plain(Plain::Page(frame(reader)?, offset(reader)?)),
            WORD => {
                let frame = frame(reader)?;
                let index = reader.number_below(ENTRIES_PER_TABLE, Fault::Index)?;
                frame.observed().ok_or(reader.fault(Fault::Index))?;
                Self::Plain(Plain::Word(frame, index, reader.number()?))
            }
            tag @ (BUFFER | EDGE) => {
                let words = reader.number_below(crate::arena::ARGUMENT_WORDS + 1, Fault::TooLarge)?;
                Self::Buffer { words, edge: tag == EDGE }
            }
            other => return Err(reader.fault(Fault::Unknown(other))),
        })
    }

    #[cfg(feature = "std")]
    pub(crate) fn write(self, sink: &mut impl Sink) {
        match self {
            Self::Plain(Plain::Literal(number)) => {
                sink.byte(LITERAL);
                sink.number(number);
            }
            Self::Plain(Plain::Mfn(frame)) => sink.bytes(&[MFN, frame.code()]),
            Self::Plain(Plain::Page(frame, offset)) => {
                sink.bytes(&[PAGE, frame.code()]);
                sink.number(rotated(offset));
            }
            Self::Plain(Plain::Word(frame, index, add)) => {
                sink.bytes(&[WORD, frame.code()]);
                sink.number(index as u64);
                sink.number(add);
            }
            Self::Buffer { words, edge } => {
                sink.byte(if edge { EDGE } else { BUFFER });
                sink.number(words as u64);
            }
        }
    }
}

impl StepHead {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let interrupt = match reader.byte()? {
            CALL => None,
            CALL_PENDING => Some(Interrupt::Pending),
            CALL_STEP => Some(Interrupt::Step),
            STORE => return Ok(Self::Store),
            LOAD => return Ok(Self::Load),
            EXCHANGE => return Ok(Self::Exchange),
            PROBE => return Ok(Self::Probe(observed(reader)?)),
            other => return Err(reader.fault(Fault::Unknown(other))),
        };
        let number = reader.number_below(1 << 32, Fault::TooLarge)? as u32;
        Ok(Self::Call { interrupt, number, args: reader.number_below(REGISTERS + 1, Fault::TooLarge)? })
    }

    #[cfg(feature = "std")]
    pub(crate) fn write(self, sink: &mut impl Sink) {
        match self {
            Self::Call { interrupt, number, args } => {
                sink.byte(match interrupt {
                    None => CALL,
                    Some(Interrupt::Pending) => CALL_PENDING,
                    Some(Interrupt::Step) => CALL_STEP,
                });
                sink.number(number.into());
                sink.number(args as u64);
            }
            Self::Store => sink.byte(STORE),
            Self::Load => sink.byte(LOAD),
            Self::Exchange => sink.byte(EXCHANGE),
            Self::Probe(frame) => sink.bytes(&[PROBE, frame.code()]),
        }
    }
}

/// Reads the number of steps.
pub(crate) fn steps(reader: &mut Reader<'_>) -> Result<usize, Malformed> {
    reader.number_below(1 << 16, Fault::TooLarge)
}

fn frame(reader: &mut Reader<'_>) -> Result<Frame, Malformed> {
    let code = reader.byte()?;
    Frame::from_code(code).ok_or(reader.fault(Fault::Unknown(code)))
}

fn observed(reader: &mut Reader<'_>) -> Result<Frame, Malformed> {
    let frame = frame(reader)?;
    if frame.observed().is_some() { Ok(frame) } else { Err(reader.fault(Fault::Index)) }
}

fn offset(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    Ok(reader.number()?.rotate_right(FLAG_BITS))
}

/// Flags of an entry lie at both ends of a word: side by side they are a short number.
#[cfg(feature = "std")]
const fn rotated(offset: u64) -> u64 {
    offset.rotate_left(FLAG_BITS)
}

const FLAG_BITS: u32 = 12;

/// Gives values a meaning while a program is read.
pub(crate) trait Values {
    /// What a value that is no buffer stands for.
    fn plain(&mut self, plain: Plain) -> u64;

    /// Makes room for a buffer; `None` where there is none. Answers with the first word's index.
    fn open(&mut self, words: usize, edge: bool) -> Option<usize>;

    /// Sets a word of a buffer.
    fn set(&mut self, index: usize, word: u64);
}

/// Reads a value; a buffer's is its address.
pub(crate) fn value(reader: &mut Reader<'_>, values: &mut impl Values) -> Result<u64, Malformed> {
    nested(reader, values, DEPTH)
}

fn nested(reader: &mut Reader<'_>, values: &mut impl Values, depth: usize) -> Result<u64, Malformed> {
    let (words, edge) = match Head::read(reader)? {
        Head::Plain(plain) => return Ok(values.plain(plain)),
        Head::Buffer { words, edge } => (words, edge),
    };
    let too_large = reader.fault(Fault::TooLarge);
    let depth = depth.checked_sub(1).ok_or(too_large)?;
    let first = values.open(words, edge).ok_or(too_large)?;
    for index in first..first + words {
        let word = nested(reader, values, depth)?;
        values.set(index, word);
    }
    Ok(crate::arena::argument_address(first))
}
