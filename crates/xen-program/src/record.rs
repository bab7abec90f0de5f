//! What is written down of a program's run, as bytes.
//!
//! For each step: what it came to, then what it changed in memory. At the end: what had changed
//! unnoticed, the probes of each page the program names, what those changed, and whether the arena
//! could be restored. Frame numbers occur as names only.

use hypercall::{Pte, PteFlags};

use crate::frame::Frame;
use crate::wire::Sink;
#[cfg(feature = "std")]
use crate::wire::{Fault, Malformed, Reader};

pub(crate) const CALLED: u8 = 0;
pub(crate) const VALUE: u8 = 1;
pub(crate) const STORED: u8 = 2;
pub(crate) const FAULT: u8 = 3;
pub(crate) const REFUSED: u8 = 4;
pub(crate) const PROBED: u8 = 5;

/// Ends a list.
pub(crate) const END: u8 = 0;
/// A changed word of a frame.
pub(crate) const CHANGE: u8 = 1;
/// A changed word of the machine-to-physical table.
pub(crate) const CHANGE_M2P: u8 = 2;
/// A page's probe.
pub(crate) const PAGE_PROBE: u8 = 1;

/// How the arena was left.
pub(crate) const CLEAN: u8 = 0;
/// A page cannot be mapped writable again.
pub(crate) const HELD: u8 = 1;
/// A word is not as it was.
pub(crate) const DIFFERENT: u8 = 2;

/// A word of memory, with names for frame numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Word {
    /// As it is.
    Raw(u64),
    /// A frame's machine address plus flags, as in an entry.
    Page(Frame, PteFlags),
    /// A frame's number.
    Mfn(Frame),
    /// An entry for one of the pages that arguments lie in, which a copy of the L1 table holds.
    Arguments(u8, PteFlags),
    /// One of Xen's own root entries.
    Xen,
    /// An entry of Xen's that machines have in different ways.
    Masked,
    /// What the machine-to-physical table held when the first program started.
    Home,
}

/// Why a step was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum Refusal {
    /// It names a frame of a kind this machine does not have, or a word that machines have differently.
    NoSuchFrame = 0,
    /// It would change an entry the executor needs.
    Reserved = 1,
    /// It would load a base pointer under which the executor does not run.
    BasePointer = 2,
    /// It names memory that is neither the program's nor anybody's the program can name.
    Foreign = 3,
    /// A pointer leads through tables the interpreter does not see.
    Elsewhere = 4,
    /// A hypercall or command that a program must not use.
    Forbidden = 5,
    /// The machine cannot interrupt calls as the program asks.
    Unarmed = 6,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NoSuchFrame,
        Self::Reserved,
        Self::BasePointer,
        Self::Foreign,
        Self::Elsewhere,
        Self::Forbidden,
        Self::Unarmed,
    ];
}

const RAW: u8 = 0;
const PAGE: u8 = 1;
const MFN: u8 = 2;
const XEN: u8 = 3;
const MASKED: u8 = 4;
const HOME: u8 = 5;
const ARGUMENTS: u8 = 6;

/// What records add to a sink.
pub(crate) trait Record: Sink {
    fn signed(&mut self, number: i64) {
        self.number((number << 1 ^ number >> 63) as u64);
    }

    fn word(&mut self, word: Word) {
        match word {
            Word::Raw(raw) => {
                self.byte(RAW);
                self.number(raw);
            }
            Word::Page(frame, flags) => {
                self.bytes(&[PAGE, frame.code()]);
                self.number(flags.bits().rotate_left(12));
            }
            Word::Arguments(number, flags) => {
                self.bytes(&[ARGUMENTS, number]);
                self.number(flags.bits().rotate_left(12));
            }
            Word::Mfn(frame) => self.bytes(&[MFN, frame.code()]),
            Word::Xen => self.byte(XEN),
            Word::Masked => self.byte(MASKED),
            Word::Home => self.byte(HOME),
        }
    }
}

impl<S: Sink + ?Sized> Record for S {}

#[cfg(feature = "std")]
impl Reader<'_> {
    pub(crate) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(crate) fn frame(&mut self) -> Result<Frame, Malformed> {
        let code = self.byte()?;
        Frame::from_code(code).ok_or(self.fault(Fault::Unknown(code)))
    }

    fn flags(&mut self) -> Result<PteFlags, Malformed> {
        Ok(PteFlags::from_bits_truncate(self.number()?.rotate_right(12)))
    }

    pub(crate) fn word(&mut self) -> Result<Word, Malformed> {
        Ok(match self.byte()? {
            RAW => Word::Raw(self.number()?),
            PAGE => Word::Page(self.frame()?, self.flags()?),
            ARGUMENTS => Word::Arguments(self.byte()?, self.flags()?),
            MFN => Word::Mfn(self.frame()?),
            XEN => Word::Xen,
            MASKED => Word::Masked,
            HOME => Word::Home,
            other => return Err(self.fault(Fault::Unknown(other))),
        })
    }
}

/// The entry `pte` of a frame that has a name.
pub(crate) fn entry(frame: Frame, pte: u64) -> Word {
    Word::Page(frame, Pte::from_bits(pte).flags())
}
