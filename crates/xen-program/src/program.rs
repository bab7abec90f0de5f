//! Programs as values: what a generator builds, a shrinker takes apart and a person reads.

use std::vec::Vec;

use crate::arena::ARGUMENTS;
use crate::code::{self, Head, Plain, REGISTERS, StepHead};
use crate::frame::Frame;
use crate::machine::Interrupt;
use crate::run::{Room, scan};
use crate::wire::{Malformed, Reader};

/// A 64-bit word that a program says by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// The number itself; addresses in the arena are numbers too.
    Literal(u64),
    /// A frame's number.
    Mfn(Frame),
    /// A frame's machine address plus an offset: an entry that maps the frame with flags, or a word
    /// of the frame with a command.
    Page(Frame, u64),
    /// What a word of an observed frame ([`Frame::observed`]) holds when the step starts, with some
    /// bits flipped.
    Word(Frame, usize, u64),
    /// The address of words in the arguments.
    Buffer(Buffer),
}

/// Words laid out in the arguments for one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Buffer {
    /// The words; buffers among them lie elsewhere and leave their addresses here.
    pub words: Vec<Value>,
    /// Whether the arguments, and with them memory, end behind the last word. One buffer of a step
    /// at most.
    pub edge: bool,
}

impl Buffer {
    /// Somewhere in the arguments.
    #[must_use]
    pub const fn new(words: Vec<Value>) -> Self {
        Self { words, edge: false }
    }
}

/// One thing a program does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// A hypercall.
    Call {
        /// How it is interrupted, where that does not follow from how the program is run.
        interrupt: Option<Interrupt>,
        /// Its number.
        number: u32,
        /// The argument registers, at most five; those left out are 0.
        args: Vec<Value>,
    },
    /// A store of the guest.
    Store {
        /// A virtual address.
        address: Value,
        /// What is stored.
        word: Value,
    },
    /// A load of the guest.
    Load {
        /// A virtual address.
        address: Value,
    },
    /// An atomic exchange of the guest.
    Exchange {
        /// A virtual address.
        address: Value,
        /// What is stored.
        word: Value,
    },
    /// Whether an observed frame can be mapped writable, or pinned and at which level.
    Probe(Frame),
}

/// Steps in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Program {
    /// The program as it travels. One with more than five registers in a call, or with more
    /// buffers than fit into the arguments, comes out as bytes that are refused when they are run.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        crate::wire::Sink::number(&mut bytes, self.steps.len() as u64);
        self.steps.iter().for_each(|step| step.write(&mut bytes));
        bytes
    }

    /// The program in these bytes.
    ///
    /// # Errors
    /// Where an executor would refuse them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        scan(bytes)?;
        let mut reader = Reader::new(bytes);
        let steps = (0..code::steps(&mut reader)?).map(|_| Step::read(&mut reader)).collect::<Result<_, _>>()?;
        Ok(Self { steps })
    }

    /// Operations the program asks for: the elements of arrays, every other call, and every access.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.steps.iter().map(Step::operations).sum()
    }
}

impl Step {
    fn values(&self) -> Vec<&Value> {
        match self {
            Self::Call { args, .. } => args.iter().collect(),
            Self::Store { address, word } | Self::Exchange { address, word } => [address, word].into(),
            Self::Load { address } => [address].into(),
            Self::Probe(_) => Vec::new(),
        }
    }

    const fn head(&self) -> StepHead {
        match self {
            Self::Call { interrupt, number, args } => {
                StepHead::Call { interrupt: *interrupt, number: *number, args: args.len() }
            }
            Self::Store { .. } => StepHead::Store,
            Self::Load { .. } => StepHead::Load,
            Self::Exchange { .. } => StepHead::Exchange,
            Self::Probe(frame) => StepHead::Probe(*frame),
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        self.head().write(bytes);
        self.values().into_iter().for_each(|value| value.write(bytes));
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match StepHead::read(reader)? {
            StepHead::Call { interrupt, number, args } => {
                let args = (0..args).map(|_| Value::read(reader)).collect::<Result<_, _>>()?;
                Self::Call { interrupt, number, args }
            }
            StepHead::Store => Self::Store { address: Value::read(reader)?, word: Value::read(reader)? },
            StepHead::Load => Self::Load { address: Value::read(reader)? },
            StepHead::Exchange => Self::Exchange { address: Value::read(reader)?, word: Value::read(reader)? },
            StepHead::Probe(frame) => Self::Probe(frame),
        })
    }

    /// Operations the step asks for.
    #[must_use]
    pub fn operations(&self) -> usize {
        match self {
            Self::Call { number, args, .. } => call_operations(*number, args),
            _ => 1,
        }
    }

    /// The step's buffers in the order in which they are numbered: each before those inside it.
    #[must_use]
    pub fn all_buffers(&self) -> Vec<&Buffer> {
        let mut buffers = Vec::new();
        self.values().into_iter().for_each(|value| value.collect_buffers(&mut buffers));
        buffers
    }

    /// The words of a buffer.
    pub(crate) fn words_of(&self, buffer: usize) -> Option<&[Value]> {
        self.all_buffers().get(buffer).map(|buffer| buffer.words.as_slice())
    }

    /// Addresses and lengths, in words, of the step's buffers, in the order in which they are numbered.
    #[must_use]
    pub fn buffers(&self) -> Vec<(u64, usize)> {
        let mut room = Room::new();
        for buffer in self.all_buffers() {
            let _room_is_checked_when_it_is_run = room.open(buffer.words.len(), buffer.edge);
        }
        room.places().iter().map(|place| (ARGUMENTS + 8 * place.first as u64, place.words)).collect()
    }
}

fn call_operations(number: u32, args: &[Value]) -> usize {
    use hypercall::abi::{HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL};
    let Some(Value::Buffer(buffer)) = args.first() else { return 1 };
    let operations = match number {
        HYPERCALL_MMU_UPDATE => buffer.words.len() / 2,
        HYPERCALL_MMUEXT_OP => buffer.words.len() / 3,
        HYPERCALL_MULTICALL => buffer.words.chunks_exact(8).map(entry_operations).sum(),
        _ => 1,
    };
    operations.max(1)
}

fn entry_operations(entry: &[Value]) -> usize {
    match entry.first() {
        Some(Value::Literal(number)) => call_operations(*number as u32, &entry[2..2 + REGISTERS]),
        _ => 1,
    }
}

impl Value {
    const fn head(&self) -> Head {
        match self {
            Self::Literal(number) => Head::Plain(Plain::Literal(*number)),
            Self::Mfn(frame) => Head::Plain(Plain::Mfn(*frame)),
            Self::Page(frame, offset) => Head::Plain(Plain::Page(*frame, *offset)),
            Self::Word(frame, index, add) => Head::Plain(Plain::Word(*frame, *index, *add)),
            Self::Buffer(Buffer { words, edge }) => Head::Buffer { words: words.len(), edge: *edge },
        }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        self.head().write(bytes);
        if let Self::Buffer(buffer) = self {
            buffer.words.iter().for_each(|word| word.write(bytes));
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match Head::read(reader)? {
            Head::Plain(Plain::Literal(number)) => Self::Literal(number),
            Head::Plain(Plain::Mfn(frame)) => Self::Mfn(frame),
            Head::Plain(Plain::Page(frame, offset)) => Self::Page(frame, offset),
            Head::Plain(Plain::Word(frame, index, add)) => Self::Word(frame, index, add),
            Head::Buffer { words, edge } => {
                let words = (0..words).map(|_| Self::read(reader)).collect::<Result<_, _>>()?;
                Self::Buffer(Buffer { words, edge })
            }
        })
    }

    fn collect_buffers<'a>(&'a self, buffers: &mut Vec<&'a Buffer>) {
        if let Self::Buffer(buffer) = self {
            buffers.push(buffer);
            buffer.words.iter().for_each(|word| word.collect_buffers(buffers));
        }
    }

    /// Buffers in the value, itself included.
    pub(crate) fn buffers_inside(&self) -> usize {
        let mut buffers = Vec::new();
        self.collect_buffers(&mut buffers);
        buffers.len()
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Literal(number)
    }
}
