//! Answers of an executor, decoded.

use std::vec::Vec;

use hypercall::Level;

use crate::frame::{Frame, PageId};
use crate::list::{ANSWERS, LIST, Mode, Report, Status, VERSION};
use crate::record::{
    CALLED, CHANGE, CHANGE_M2P, CLEAN, DIFFERENT, END, FAULT, HELD, PAGE_PROBE, PROBED, REFUSED, Refusal, STORED,
    VALUE, Word,
};
use crate::wire::{Digest, Fault, Malformed, Reader, Sink};

/// A list of programs as it travels.
#[must_use]
pub fn list<'a>(report: Report, mode: Mode, programs: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(LIST);
    bytes.extend([VERSION, report as u8, mode as u8, 0, 0, 0, 0, 0]);
    let mut count = 0_u32;
    for program in programs {
        bytes.extend((program.len() as u32).to_le_bytes());
        bytes.extend(program);
        count += 1;
    }
    bytes[8..12].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// The digest that [`Report::Digest`] gives for what [`Report::Full`] gives as `record`.
#[must_use]
pub fn digest(record: &[u8]) -> u64 {
    let mut digest = Digest::new();
    digest.bytes(record);
    digest.0
}

/// What became of one program of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramAnswer {
    /// It ran.
    Ran {
        /// Whether the arena could be restored; if not, it is the last that ran.
        clean: bool,
        /// What happened.
        told: Told,
    },
    /// Its bytes are no program.
    Malformed {
        /// Where reading stopped.
        at: u64,
    },
    /// Not run, because one before it left the arena changed or there was no room for the answer.
    NotRun,
}

/// How much is told of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// All of it, as bytes that [`Outcome::from_bytes`] takes.
    Full(Vec<u8>),
    /// Its digest.
    Digest(u64),
}

impl Told {
    /// The digest.
    #[must_use]
    pub fn digest(&self) -> u64 {
        match self {
            Self::Full(record) => digest(record),
            Self::Digest(digest) => *digest,
        }
    }
}

/// Decodes what an executor answered to a list.
///
/// # Errors
/// Where the bytes are no answer, or end early.
pub fn answers(bytes: &[u8]) -> Result<Vec<ProgramAnswer>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.array()? != ANSWERS || reader.byte()? != VERSION {
        return Err(reader.fault(Fault::Unknown(0)));
    }
    let full = match reader.array()? {
        [0, 0, 0] => true,
        [1, 0, 0] => false,
        [other, ..] => return Err(reader.fault(Fault::Unknown(other))),
    };
    let count = u32::from_le_bytes(reader.array()?);
    let answers = (0..count).map(|_| answer(&mut reader, full)).collect::<Result<_, _>>()?;
    reader.end()?;
    Ok(answers)
}

fn answer(reader: &mut Reader<'_>, full: bool) -> Result<ProgramAnswer, Malformed> {
    let clean = match reader.byte()? {
        status if status == Status::Done as u8 => true,
        status if status == Status::Unclean as u8 => false,
        status if status == Status::Malformed as u8 => return Ok(ProgramAnswer::Malformed { at: reader.number()? }),
        status if status == Status::NotRun as u8 => return Ok(ProgramAnswer::NotRun),
        other => return Err(reader.fault(Fault::Unknown(other))),
    };
    let told = if full {
        let length = u32::from_le_bytes(reader.array()?);
        Told::Full(reader.bytes(length as usize)?.to_vec())
    } else {
        Told::Digest(u64::from_le_bytes(reader.array()?))
    };
    Ok(ProgramAnswer::Ran { clean, told })
}

/// Everything that was observed of a program's run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// By step.
    pub steps: Vec<StepOutcome>,
    /// Changes of memory the program does not name.
    pub unnoticed: Vec<Change>,
    /// The probes behind the last step.
    pub probes: Vec<PageProbe>,
    /// What those changed.
    pub probed: Vec<Change>,
    /// How the arena was left.
    pub end: End,
}

/// What a step came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepOutcome {
    /// Its answer.
    pub result: StepResult,
    /// The words of memory it changed.
    pub changes: Vec<Change>,
}

/// The answer of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// A hypercall returned.
    Called(Called),
    /// A load or an exchange gave this.
    Value(Word),
    /// A store was done.
    Stored,
    /// A load, store or exchange faulted with this error code.
    Fault(u64),
    /// The step was not carried out.
    Refused(Refusal),
    /// A probe.
    Probed {
        /// The answer to mapping the frame writable.
        writable: i64,
        /// The answers to pinning it, by level, where it could not be mapped.
        levels: Option<[i64; Level::ALL.len()]>,
    },
}

/// What a hypercall left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// What it returned.
    pub value: i64,
    /// The argument registers that changed, with what they hold: rdi, rsi, rdx, r10, r8 are 0 to 4.
    pub registers: Vec<(u8, u64)>,
    /// How often it was interrupted and continued.
    pub interruptions: u64,
    /// What was found at the first of these.
    pub first: Option<Found>,
    /// The words of buffers that changed.
    pub arguments: Vec<ArgumentChange>,
}

/// What an event handler found the first time it interrupted a hypercall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The argument registers.
    pub args: [u64; 5],
    /// For a multicall: the entry at which it is to be continued.
    pub entry: Option<[Word; 8]>,
}

/// A word of a buffer that Xen changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgumentChange {
    /// The buffer's number ([`Step::buffers`](crate::Step::buffers)).
    pub buffer: usize,
    /// The word's index in it.
    pub word: usize,
    /// What it holds.
    pub value: u64,
}

/// Where memory changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A word of an observed frame.
    Word(Frame, usize),
    /// The machine-to-physical word of a frame.
    MachineToPhysical(Frame),
}

/// A change of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub place: Place,
    /// What is there.
    pub word: Word,
}

/// The probe of a page behind the last step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageProbe {
    /// The page.
    pub page: PageId,
    /// The answer to mapping it writable.
    pub writable: i64,
    /// The answers to unpinning it and then to pinning it, by level, where it could not be mapped.
    pub table: Option<(i64, [i64; Level::ALL.len()])>,
}

/// How the arena was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As it was.
    Clean,
    /// With a page that something still holds; Xen's answer to taking it back.
    Held(PageId, i64),
    /// With a word that is not as it was.
    Different(Frame, usize, Word),
}

const BUSY: i64 = hypercall::Errno::BUSY.as_return();

impl Outcome {
    /// Decodes a full record.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let steps = crate::code::steps(&mut reader)?;
        let outcome = Self {
            steps: (0..steps).map(|_| step(&mut reader)).collect::<Result<_, _>>()?,
            unnoticed: changes(&mut reader)?,
            probes: marked(&mut reader, PAGE_PROBE, page_probe)?,
            probed: changes(&mut reader)?,
            end: end(&mut reader)?,
        };
        reader.end()?;
        Ok(outcome)
    }
}

fn step(reader: &mut Reader<'_>) -> Result<StepOutcome, Malformed> {
    let result = match reader.byte()? {
        CALLED => StepResult::Called(called(reader)?),
        VALUE => StepResult::Value(reader.word()?),
        STORED => StepResult::Stored,
        FAULT => StepResult::Fault(reader.number()?),
        REFUSED => StepResult::Refused(refusal(reader)?),
        PROBED => {
            let writable = reader.signed()?;
            StepResult::Probed { writable, levels: if writable == BUSY { Some(levels(reader)?) } else { None } }
        }
        other => return Err(reader.fault(Fault::Unknown(other))),
    };
    Ok(StepOutcome { result, changes: changes(reader)? })
}

fn called(reader: &mut Reader<'_>) -> Result<Called, Malformed> {
    let value = reader.signed()?;
    let registers = marked(reader, 1, |reader| Ok((reader.byte()?, reader.number()?)))?;
    let interruptions = reader.number()?;
    let first = if interruptions > 0 { Some(interruption(reader)?) } else { None };
    let arguments = marked(reader, 1, |reader| {
        let (buffer, word) = (reader.number()? as usize, reader.number()? as usize);
        Ok(ArgumentChange { buffer, word, value: reader.number()? })
    })?;
    Ok(Called { value, registers, interruptions, first, arguments })
}

fn interruption(reader: &mut Reader<'_>) -> Result<Found, Malformed> {
    let args = array(|| reader.number())?;
    let entry = match reader.byte()? {
        0 => None,
        1 => Some(array(|| reader.word())?),
        other => return Err(reader.fault(Fault::Unknown(other))),
    };
    Ok(Found { args, entry })
}

fn array<T: Copy, const N: usize>(mut element: impl FnMut() -> Result<T, Malformed>) -> Result<[T; N], Malformed> {
    let mut elements = [element()?; N];
    for place in elements.iter_mut().skip(1) {
        *place = element()?;
    }
    Ok(elements)
}

fn refusal(reader: &mut Reader<'_>) -> Result<Refusal, Malformed> {
    let code = reader.byte()?;
    let found = Refusal::ALL.into_iter().find(|refusal| *refusal as u8 == code);
    found.ok_or(reader.fault(Fault::Unknown(code)))
}

fn levels(reader: &mut Reader<'_>) -> Result<[i64; Level::ALL.len()], Malformed> {
    array(|| reader.signed())
}

fn page_probe(reader: &mut Reader<'_>) -> Result<PageProbe, Malformed> {
    let number = reader.byte()?;
    let page = PageId::new(number.into()).ok_or(reader.fault(Fault::Unknown(number)))?;
    let writable = reader.signed()?;
    let table = if writable == BUSY { Some((reader.signed()?, levels(reader)?)) } else { None };
    Ok(PageProbe { page, writable, table })
}

fn end(reader: &mut Reader<'_>) -> Result<End, Malformed> {
    Ok(match reader.byte()? {
        CLEAN => End::Clean,
        HELD => {
            let number = reader.byte()?;
            let page = PageId::new(number.into()).ok_or(reader.fault(Fault::Unknown(number)))?;
            End::Held(page, reader.signed()?)
        }
        DIFFERENT => End::Different(reader.frame()?, reader.number()? as usize, reader.word()?),
        other => return Err(reader.fault(Fault::Unknown(other))),
    })
}

fn changes(reader: &mut Reader<'_>) -> Result<Vec<Change>, Malformed> {
    let mut changes = Vec::new();
    loop {
        let place = match reader.byte()? {
            END => return Ok(changes),
            CHANGE => Place::Word(reader.frame()?, reader.number()? as usize),
            CHANGE_M2P => Place::MachineToPhysical(reader.frame()?),
            other => return Err(reader.fault(Fault::Unknown(other))),
        };
        changes.push(Change { place, word: reader.word()? });
    }
}

/// A list of which each element has a mark before it and [`END`] stands behind the last.
fn marked<T>(
    reader: &mut Reader<'_>,
    mark: u8,
    element: impl Fn(&mut Reader<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut elements = Vec::new();
    loop {
        match reader.byte()? {
            END => return Ok(elements),
            found if found == mark => elements.push(element(reader)?),
            other => return Err(reader.fault(Fault::Unknown(other))),
        }
    }
}
