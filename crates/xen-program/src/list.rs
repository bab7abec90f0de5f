//! Lists of programs and of answers, as they travel between a host and the machine that runs them.
//!
//! A list is a head of twelve bytes (`XPRL`, version, [`Report`], [`Mode`], 0, count) and, for each
//! program, its length in four bytes and its bytes. The answer is a head (`XPRA`, version, report,
//! two zeros, count) and, for each program, a status byte and what belongs to the status. Lengths
//! and counts are little-endian.

use core::fmt;

use crate::wire::{Malformed, Reader};

/// Version of both forms.
pub const VERSION: u8 = 1;
pub(crate) const HEAD: usize = 12;
pub(crate) const LIST: [u8; 4] = *b"XPRL";
pub(crate) const ANSWERS: [u8; 4] = *b"XPRA";

/// How much of what happened is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Report {
    /// All of it.
    Full = 0,
    /// A number of 64 bits per program that all of it determines.
    Digest = 1,
}

/// When calls are interrupted that do not say so themselves ([`Arm`](crate::machine::Arm)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Mode {
    /// Never.
    None = 0,
    /// Whenever Xen looks.
    Step = 1,
    /// Now and then. What an interruption makes different is left out of the answer.
    Random = 2,
}

/// Why bytes are no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListError {
    /// It does not start as one.
    NotAList,
    /// Another version.
    Version(u8),
    /// It ends early or goes on too long.
    Malformed(Malformed),
    /// The machine's arena is not as it has to be when the first program starts.
    Arena {
        /// Number of the frame with the wrong entry.
        frame: u8,
        /// The entry.
        index: usize,
    },
    /// The memory for the answers cannot hold the head and a status for each program.
    NoRoom,
}

impl fmt::Display for ListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAList => f.write_str("these bytes are no list of programs: they do not start with its mark"),
            Self::Version(version) => {
                write!(f, "a list of version {version}: this executor knows {VERSION}, build both from one source")
            }
            Self::Malformed(fault) => write!(f, "the list is damaged {fault}"),
            Self::Arena { frame, index } => {
                write!(f, "entry {index} of frame {frame} is not as the arena has it: set the arena up first")
            }
            Self::NoRoom => f.write_str("no room for the answers: give the executor a larger buffer"),
        }
    }
}

impl core::error::Error for ListError {}

impl From<Malformed> for ListError {
    fn from(fault: Malformed) -> Self {
        Self::Malformed(fault)
    }
}

/// The head of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) report: Report,
    pub(crate) mode: Mode,
    pub(crate) count: u32,
}

impl Head {
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, ListError> {
        if reader.array()? != LIST {
            return Err(ListError::NotAList);
        }
        let [version, report, mode, zero] = reader.array()?;
        if version != VERSION {
            return Err(ListError::Version(version));
        }
        let unknown = |byte| ListError::Malformed(reader.fault(crate::wire::Fault::Unknown(byte)));
        let report = match report {
            0 => Report::Full,
            1 => Report::Digest,
            other => return Err(unknown(other)),
        };
        let mode = match (mode, zero) {
            (0, 0) => Mode::None,
            (1, 0) => Mode::Step,
            (2, 0) => Mode::Random,
            (other, _) => return Err(unknown(other)),
        };
        Ok(Self { report, mode, count: u32::from_le_bytes(reader.array()?) })
    }
}

/// The next program of a list.
pub(crate) fn next_program<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], Malformed> {
    let length = u32::from_le_bytes(reader.array()?);
    reader.bytes(length as usize)
}

/// What became of a program: the first byte of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// It ran and was cleaned up; the record or the digest follows.
    Done = 0,
    /// It ran and the arena could not be restored; the record or the digest follows, and no program
    /// behind it is run.
    Unclean = 1,
    /// Its bytes are no program; offset (four bytes) and fault follow.
    Malformed = 2,
    /// Not run, because one before it could not be cleaned up or its record had no room.
    NotRun = 3,
}
