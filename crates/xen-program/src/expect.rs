//! What a step is expected to answer, and whether it did.

use std::collections::BTreeMap;
use std::vec::Vec;

use hypercall::{Level, Mfn, Pte};

use crate::arena::{Target, entries};
use crate::frame::{Frame, Special};
use crate::outcome::{Called, Change, Place, StepOutcome, StepResult};
use crate::program::{Step, Value};
use crate::record::{Refusal, Word};

/// What a word is said relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Nothing.
    Number,
    /// A frame's number.
    Mfn(Frame),
    /// A frame's machine address.
    Page(Frame),
    /// What a word holds, with these bits flipped; only a program can say this.
    Word(Frame, usize, u64),
    /// The address of a buffer of the step.
    Buffer(usize),
    /// One of Xen's own root entries.
    Xen,
    /// An entry that machines have in different ways.
    Masked,
    /// What was there at first.
    Home,
}

/// A word that is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Relative to this.
    pub of: Of,
    /// The rest.
    pub add: u64,
}

impl From<u64> for Expected {
    fn from(number: u64) -> Self {
        Self { of: Of::Number, add: number }
    }
}

impl Expected {
    /// The number, for a step whose buffers lie at `buffers`; `None` where it is none.
    fn number(&self, buffers: &[(u64, usize)]) -> Option<u64> {
        match self.of {
            Of::Number => Some(self.add),
            Of::Buffer(number) => buffers.get(number).map(|(address, _)| address.wrapping_add(self.add)),
            _ => None,
        }
    }

    /// The word of memory; `None` where it is none.
    fn word(&self) -> Option<Word> {
        Some(match self.of {
            Of::Number => literal(self.add),
            Of::Mfn(frame) => Word::Mfn(frame),
            Of::Page(frame) => Word::Page(frame, Pte::from_bits(self.add).flags()),
            Of::Xen => Word::Xen,
            Of::Masked => Word::Masked,
            Of::Home => Word::Home,
            Of::Word(..) | Of::Buffer(_) => return None,
        })
    }
}

/// A number in memory as an answer has it: some frames have a name and the same number everywhere.
fn literal(number: u64) -> Word {
    let named = |mfn: Mfn| Special::ALL.into_iter().find(|special| special.fixed() == Some(mfn)).map(Frame::from);
    let entry = Pte::from_bits(number);
    match named(entry.frame()) {
        Some(frame) => Word::Page(frame, entry.flags()),
        None => named(Mfn::new(number)).map_or(Word::Raw(number), Word::Mfn),
    }
}

/// Something that must hold behind a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// A call returns this, or a load or exchange gives it.
    Returns(Expected),
    /// A store is done.
    Stored,
    /// An access faults with this error code.
    Fault(u64),
    /// The interpreter refuses the step; for this reason, where one is said.
    Refused(Option<Refusal>),
    /// A probe's answers.
    Probed {
        /// To mapping the frame writable.
        writable: i64,
        /// To pinning it, by level.
        levels: Option<[i64; Level::ALL.len()]>,
    },
    /// A word of a buffer.
    Argument {
        /// The buffer.
        buffer: usize,
        /// The word's index.
        word: usize,
        /// What it holds.
        value: Expected,
    },
    /// No word of a buffer is changed.
    Untouched {
        /// The buffer.
        buffer: usize,
    },
    /// An argument register after the call.
    Register {
        /// 0 to 4.
        register: usize,
        /// What it holds.
        value: Expected,
    },
    /// No argument register is changed.
    Kept,
    /// A word of memory.
    Memory {
        /// Where.
        place: Place,
        /// What it holds.
        word: Expected,
    },
    /// How often the call is interrupted.
    Interruptions(u64),
    /// An argument register at the first interruption.
    RegisterAtInterruption {
        /// 0 to 4.
        register: usize,
        /// What it holds.
        value: Expected,
    },
    /// A word of the multicall's entry at the first interruption.
    EntryAtInterruption {
        /// The word's index.
        word: usize,
        /// What it holds.
        value: Expected,
    },
}

/// Memory as a program's answers tell it, from its first step on.
#[derive(Clone, Debug, Default)]
pub struct Memory(BTreeMap<(u8, usize), Word>);

/// Index under which a machine-to-physical word is kept: no word of a frame has it.
const M2P: usize = usize::MAX;

impl Memory {
    /// Takes in what a step changed.
    pub fn apply(&mut self, changes: &[Change]) {
        self.0.extend(changes.iter().map(|change| (key(change.place), change.word)));
    }

    /// What is at `place`.
    #[must_use]
    pub fn word(&self, place: Place) -> Word {
        self.0.get(&key(place)).copied().unwrap_or_else(|| first(place))
    }
}

fn key(place: Place) -> (u8, usize) {
    match place {
        Place::Word(frame, index) => (frame.code(), index),
        Place::MachineToPhysical(frame) => (frame.code(), M2P),
    }
}

/// What is at `place` when a program starts, of the tables only what the arena has.
fn first(place: Place) -> Word {
    let Place::Word(frame, index) = place else { return Word::Home };
    let entry = entries().find(|entry| (Frame::from(entry.table), entry.index) == (frame, index));
    match entry.map(|entry| (entry.target, entry.pte(Mfn::new(0)))) {
        Some((Target::Frame(target), pte)) => Word::Page(target, pte.flags()),
        _ => Word::Raw(0),
    }
}

impl Expectation {
    /// Whether it holds for `step`, which came to `outcome` and left memory as `memory`.
    #[must_use]
    pub fn holds(&self, step: &Step, outcome: &StepOutcome, memory: &Memory) -> bool {
        match (self, &outcome.result) {
            (Self::Returns(value), StepResult::Called(called)) => value.number(&[]) == Some(called.value as u64),
            (Self::Returns(value), StepResult::Value(word)) => value.word() == Some(*word),
            (Self::Stored, StepResult::Stored) => true,
            (Self::Fault(code), StepResult::Fault(found)) => code == found,
            (Self::Refused(refusal), StepResult::Refused(found)) => refusal.is_none_or(|refusal| refusal == *found),
            (Self::Probed { writable, levels }, StepResult::Probed { writable: found, levels: at }) => {
                (writable, levels) == (found, at)
            }
            (Self::Memory { place, word }, _) => word.word() == Some(memory.word(*place)),
            (_, StepResult::Called(called)) => self.holds_for_call(step, called),
            _ => false,
        }
    }

    fn holds_for_call(&self, step: &Step, called: &Called) -> bool {
        let buffers = step.buffers();
        let same = |expected: &Expected, found: Option<u64>| found.is_some() && expected.number(&buffers) == found;
        match self {
            Self::Argument { buffer, word, value } => same(value, argument(step, called, (*buffer, *word))),
            Self::Untouched { buffer } => called.arguments.iter().all(|change| change.buffer != *buffer),
            Self::Register { register, value } => same(value, register_after(step, called, *register)),
            Self::Kept => called.registers.is_empty(),
            Self::Interruptions(count) => called.interruptions == *count,
            Self::RegisterAtInterruption { register, value } => {
                same(value, called.first.and_then(|first| first.args.get(*register).copied()))
            }
            Self::EntryAtInterruption { word, value } => {
                let found = called.first.and_then(|first| first.entry?.get(*word).copied());
                matches!(found, Some(Word::Raw(raw)) if same(value, Some(raw)))
            }
            _ => false,
        }
    }
}

/// A word of a buffer after the call: what Xen wrote, or what the program said.
fn argument(step: &Step, called: &Called, (buffer, word): (usize, usize)) -> Option<u64> {
    let changed = called.arguments.iter().find(|change| (change.buffer, change.word) == (buffer, word));
    changed.map(|change| change.value).or_else(|| said(step.words_of(buffer)?.get(word)?, step))
}

fn register_after(step: &Step, called: &Called, register: usize) -> Option<u64> {
    let changed = called.registers.iter().find(|(number, _)| usize::from(*number) == register);
    let Step::Call { args, .. } = step else { return None };
    changed.map(|(_, value)| *value).or_else(|| args.get(register).map_or(Some(0), |value| said(value, step)))
}

/// The number that a program says, where that does not depend on the machine.
fn said(value: &Value, step: &Step) -> Option<u64> {
    match value {
        Value::Literal(number) => Some(*number),
        Value::Buffer(buffer) => {
            let all: Vec<_> = step.all_buffers();
            let number = all.iter().position(|candidate| std::ptr::eq(*candidate, buffer))?;
            step.buffers().get(number).map(|(address, _)| *address)
        }
        _ => None,
    }
}
