//! The list of steps on its way to a kernel.
//!
//! A [`Head`] says what guest is to be rebuilt, then come the frames that were tables when the trace began, then the
//! steps in the order of the trace. A reader may go through it more than once; the first time says whether it is whole.

use hypercall::{Level, Mfn, Operation, PteSlot, VcpuId};

use crate::bytes::{Reader, Sink, WireError, put_number, put_word};
use crate::lead::{Act, Piece};
use crate::names::{self, Names, rename};
use crate::operation;

const MARK: &[u8; 8] = b"MMUREPL\x01";

/// Operations that one piece may have.
pub const MOST_OPERATIONS: usize = 1024;

/// What guest a list is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// vCPUs that take steps.
    pub vcpus: u32,
    /// Tasks, numbered from 0.
    pub tasks: u32,
    /// Frames with a name: 1 to this.
    pub frames: u64,
    /// Tables older than the trace.
    pub older: u32,
    /// Steps.
    pub steps: u32,
}

/// A frame that was a table when the trace began: at first it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Older {
    /// Its name.
    pub frame: Mfn,
    /// Pinned at this level; `None`: mapped read-only, no more is known.
    pub pinned: Option<Level>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step<'a> {
    /// The vCPU that takes it.
    pub vcpu: VcpuId,
    /// The task it is in.
    pub task: u32,
    /// Whether a handler that interrupted the task takes it.
    pub interrupt: bool,
    /// What is done.
    pub deed: Deed<'a>,
}

/// What is done in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed<'a> {
    /// Something is asked of the library.
    Library(Act<'a>),
    /// A frame is filled with zeros, to be used as a table. What it held is told.
    Zero {
        /// The frame.
        frame: Mfn,
    },
    /// The kernel's own entries are copied into a frame that is going to be an L4.
    CopyKernelHalf {
        /// The frame.
        frame: Mfn,
    },
    /// A plain store to a table nothing has validated.
    Store {
        /// The entry.
        slot: PteSlot,
        /// Its new value.
        value: u64,
    },
    /// An atomic on an entry of a validated L1, which Xen traps and emulates. What the entry held is told.
    Trapped {
        /// The entry.
        slot: PteSlot,
        /// Its new value.
        value: u64,
    },
    /// A look at an entry, which is told.
    Compare {
        /// The entry.
        slot: PteSlot,
    },
}

const ENTER: u8 = 0;
const LEAVE: u8 = 1;
const FLUSH: u8 = 2;
const SWITCH_OUT: u8 = 3;
const SWITCH_IN: u8 = 4;
const WORK: u8 = 5;
const ZERO: u8 = 6;
const COPY: u8 = 7;
const STORE: u8 = 8;
const TRAPPED: u8 = 9;
const COMPARE: u8 = 10;
/// Set in the tag of a handler's step.
const INTERRUPT: u8 = 0x80;

/// Writes a list, in order: as many tables and steps as the head says.
#[derive(Debug)]
pub struct Writer<S>(S);

impl<S: Sink> Writer<S> {
    /// Begins a list.
    pub fn begin(mut sink: S, head: &Head) -> Self {
        sink.put(MARK);
        let numbers = [head.vcpus.into(), head.tasks.into(), head.frames, head.older.into(), head.steps.into()];
        numbers.into_iter().for_each(|number| put_number(&mut sink, number));
        Self(sink)
    }

    /// Writes a table older than the trace.
    pub fn older(&mut self, older: &Older) {
        put_number(&mut self.0, older.frame.number());
        self.0.put(&[older.pinned.map_or(0, Level::number)]);
    }

    /// Writes a step. `None` for one with an operation that no list can carry, or with more than
    /// [`MOST_OPERATIONS`]; the list is spoilt then.
    pub fn step(&mut self, step: &Step<'_>) -> Option<()> {
        let interrupt = if step.interrupt { INTERRUPT } else { 0 };
        self.0.put(&[tag(&step.deed) | interrupt]);
        put_number(&mut self.0, step.vcpu.number().into());
        put_number(&mut self.0, step.task.into());
        match step.deed {
            Deed::Library(Act::Work { piece, operations }) => self.work(piece, operations)?,
            Deed::Library(_) => {}
            Deed::Zero { frame } | Deed::CopyKernelHalf { frame } => put_number(&mut self.0, frame.number()),
            Deed::Store { slot, value } | Deed::Trapped { slot, value } => {
                put_number(&mut self.0, slot.bits());
                put_word(&mut self.0, value);
            }
            Deed::Compare { slot } => put_number(&mut self.0, slot.bits()),
        }
        Some(())
    }

    fn work(&mut self, piece: Piece, operations: &[Operation]) -> Option<()> {
        self.0.put(&[piece as u8]);
        if operations.len() > MOST_OPERATIONS {
            return None;
        }
        put_number(&mut self.0, operations.len() as u64);
        operations.iter().try_for_each(|operation| operation::put(&mut self.0, operation))
    }

    /// The sink.
    pub fn into_sink(self) -> S {
        self.0
    }
}

const fn tag(deed: &Deed<'_>) -> u8 {
    match deed {
        Deed::Library(Act::Enter) => ENTER,
        Deed::Library(Act::Leave) => LEAVE,
        Deed::Library(Act::Flush) => FLUSH,
        Deed::Library(Act::SwitchOut) => SWITCH_OUT,
        Deed::Library(Act::SwitchIn) => SWITCH_IN,
        Deed::Library(Act::Work { .. }) => WORK,
        Deed::Zero { .. } => ZERO,
        Deed::CopyKernelHalf { .. } => COPY,
        Deed::Store { .. } => STORE,
        Deed::Trapped { .. } => TRAPPED,
        Deed::Compare { .. } => COMPARE,
    }
}

/// A list.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    head: Head,
    rest: Reader<'a>,
}

impl<'a> List<'a> {
    /// Reads a list's head.
    ///
    /// # Errors
    /// [`WireError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut rest = Reader::behind(MARK, bytes)?;
        let mut count = |limit, what| rest.below(limit, what);
        let vcpus = count(1 + u64::from(hypercall::VcpuMask::CAPACITY), "number of vCPUs")? as u32;
        let tasks = count(1 << 32, "number of tasks")? as u32;
        let frames = count(1 << 32, "number of frames")?;
        let older = count(1 << 32, "number of tables")? as u32;
        let steps = count(1 << 32, "number of steps")? as u32;
        Ok(Self { head: Head { vcpus, tasks, frames, older, steps }, rest })
    }

    /// What guest it is for.
    #[must_use]
    pub const fn head(&self) -> &Head {
        &self.head
    }

    /// Tells `each` the tables older than the trace, and answers with the steps behind them.
    ///
    /// # Errors
    /// [`WireError`], or what `each` answers.
    pub fn older<E: From<WireError>>(&self, mut each: impl FnMut(Older) -> Result<(), E>) -> Result<Steps<'a>, E> {
        let mut rest = self.rest;
        for _ in 0..self.head.older {
            let frame = name(&mut rest, &self.head)?;
            let pinned = match rest.byte()? {
                0 => None,
                value => {
                    let value = value.into();
                    Some(names::level(value).ok_or(WireError::Value { what: "level", value })?)
                }
            };
            each(Older { frame, pinned })?;
        }
        Ok(Steps { head: self.head, rest, left: self.head.steps })
    }
}

/// Room for one piece's operations.
pub type OperationBuffer = [Operation; MOST_OPERATIONS];

/// The steps of a list that have not been read yet.
#[derive(Clone, Copy, Debug)]
pub struct Steps<'a> {
    head: Head,
    rest: Reader<'a>,
    left: u32,
}

impl Steps<'_> {
    /// Reads the next step. Its operations are in `buffer`, with the frames that `names` has for the names in the list;
    /// elsewhere in it names stay names. `None` behind the last.
    ///
    /// # Errors
    /// [`WireError`]; of no use to read on then.
    pub fn next<'b>(
        &mut self,
        names: &impl Names,
        buffer: &'b mut OperationBuffer,
    ) -> Result<Option<Step<'b>>, WireError> {
        let Some(left) = self.left.checked_sub(1) else {
            self.rest.end()?;
            return Ok(None);
        };
        self.left = left;
        let tag = self.rest.byte()?;
        let vcpu = VcpuId::new(self.rest.below(self.head.vcpus.into(), "vCPU")? as u32);
        let task = self.rest.below(self.head.tasks.into(), "task")? as u32;
        let deed = self.deed(tag & !INTERRUPT, names, buffer)?;
        Ok(Some(Step { vcpu, task, interrupt: tag & INTERRUPT != 0, deed }))
    }

    fn deed<'b>(
        &mut self,
        tag: u8,
        names: &impl Names,
        buffer: &'b mut OperationBuffer,
    ) -> Result<Deed<'b>, WireError> {
        Ok(match tag {
            ENTER => Deed::Library(Act::Enter),
            LEAVE => Deed::Library(Act::Leave),
            FLUSH => Deed::Library(Act::Flush),
            SWITCH_OUT => Deed::Library(Act::SwitchOut),
            SWITCH_IN => Deed::Library(Act::SwitchIn),
            WORK => Deed::Library(self.work(names, buffer)?),
            ZERO => Deed::Zero { frame: name(&mut self.rest, &self.head)? },
            COPY => Deed::CopyKernelHalf { frame: name(&mut self.rest, &self.head)? },
            STORE => Deed::Store { slot: self.slot()?, value: self.rest.word()? },
            TRAPPED => Deed::Trapped { slot: self.slot()?, value: self.rest.word()? },
            COMPARE => Deed::Compare { slot: self.slot()? },
            value => return Err(WireError::Value { what: "step", value: value.into() }),
        })
    }

    fn work<'b>(&mut self, names: &impl Names, buffer: &'b mut OperationBuffer) -> Result<Act<'b>, WireError> {
        let piece = match self.rest.byte()? {
            0 => Piece::Each,
            1 => Piece::Upper,
            2 => Piece::Range,
            3 => Piece::Base,
            value => return Err(WireError::Value { what: "piece of work", value: value.into() }),
        };
        let count = self.rest.below(1 + MOST_OPERATIONS as u64, "number of operations in one piece")? as usize;
        let operations = &mut buffer[..count];
        for place in &mut *operations {
            let tag = self.rest.byte()?;
            let named = operation::read(tag, &mut self.rest)?;
            let unknown = WireError::Value { what: "operation on frames with names; its tag", value: tag.into() };
            *place = rename(names, &named).ok_or(unknown)?;
        }
        Ok(Act::Work { piece, operations })
    }

    fn slot(&mut self) -> Result<PteSlot, WireError> {
        let slot = PteSlot::from_bits(self.rest.number()?);
        if slot.bits().is_multiple_of(8) && is_name(slot.table(), &self.head) {
            Ok(slot)
        } else {
            Err(WireError::Value { what: "entry of a frame with a name", value: slot.bits() })
        }
    }
}

const fn is_name(frame: Mfn, head: &Head) -> bool {
    0 < frame.number() && frame.number() <= head.frames
}

fn name(rest: &mut Reader<'_>, head: &Head) -> Result<Mfn, WireError> {
    let frame = Mfn::new(rest.number()?);
    if is_name(frame, head) { Ok(frame) } else { Err(WireError::Value { what: "name", value: frame.number() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    use hypercall::{DomId, FlushScope, MmuUpdate, MmuextOp, Pte, Subject, VaFlush, VcpuMask, VirtAddr};

    /// Frames are their own names.
    struct Same;

    impl Names for Same {
        fn frame(&self, frame: Mfn) -> Option<Mfn> {
            (frame.number() < 1000).then_some(frame)
        }

        fn direct_map(&self, address: VirtAddr) -> Option<VirtAddr> {
            Some(address)
        }
    }

    const HEAD: Head = Head { vcpus: 2, tasks: 3, frames: 9, older: 2, steps: 11 };
    const OLDER: [Older; 2] =
        [Older { frame: Mfn::new(4), pinned: Some(Level::L3) }, Older { frame: Mfn::new(9), pinned: None }];

    fn operations() -> Vec<Operation> {
        let (table, address) = (Mfn::new(300), VirtAddr::unchecked(0xffff_8000_1234_5000));
        let vcpus = VcpuMask::from_words([3, 1 << 63]);
        let mmuext = [
            MmuextOp::Pin { level: Level::L4, table },
            MmuextOp::Unpin { table },
            MmuextOp::NewBaseptr { table },
            MmuextOp::NewUserBaseptr { table: Mfn::new(0) },
            MmuextOp::TlbFlushLocal,
            MmuextOp::TlbFlushAll,
            MmuextOp::TlbFlushMulti { vcpus },
            MmuextOp::InvlpgLocal { address },
            MmuextOp::InvlpgAll { address },
            MmuextOp::InvlpgMulti { address, vcpus },
        ];
        let pte = Pte::from_bits(0x8000_0000_0000_9067);
        let update = MmuUpdate::new(PteSlot::from_bits(0x9ffa), pte);
        let mut all = std::vec![
            Operation::Update { update, subject: Subject::SELF },
            Operation::UpdateVaMapping { va: address, pte, flush: VaFlush::None },
            Operation::UpdateVaMapping { va: address, pte, flush: VaFlush::Tlb(FlushScope::Local) },
            Operation::StackSwitch { ss: 0x18, sp: address },
        ];
        all.extend(mmuext.map(|op| Operation::Mmuext { op, domain: DomId::SELF }));
        all
    }

    fn steps(operations: &[Operation]) -> [Step<'_>; 11] {
        let (slot, frame) = (PteSlot::of(Mfn::new(9), 511), Mfn::new(1));
        let deeds = [
            Deed::Library(Act::Enter),
            Deed::Library(Act::Work { piece: Piece::Upper, operations }),
            Deed::Library(Act::Flush),
            Deed::Library(Act::Leave),
            Deed::Library(Act::SwitchOut),
            Deed::Library(Act::SwitchIn),
            Deed::Zero { frame },
            Deed::CopyKernelHalf { frame },
            Deed::Store { slot, value: u64::MAX },
            Deed::Trapped { slot, value: 1 },
            Deed::Compare { slot },
        ];
        let mut number = 0;
        deeds.map(|deed| {
            number += 1;
            Step { vcpu: VcpuId::new(number % 2), task: number % 3, interrupt: number % 4 == 1, deed }
        })
    }

    fn bytes() -> Vec<u8> {
        let operations = operations();
        let mut writer = Writer::begin(Vec::new(), &HEAD);
        OLDER.iter().for_each(|older| writer.older(older));
        steps(&operations).iter().for_each(|step| writer.step(step).unwrap());
        writer.into_sink()
    }

    fn buffer() -> OperationBuffer {
        [Operation::FpuTaskswitch { set: false }; MOST_OPERATIONS]
    }

    /// Reads all there is.
    fn read(bytes: &[u8]) -> Result<usize, WireError> {
        let mut steps = List::decode(bytes)?.older(|_| Ok::<_, WireError>(()))?;
        let (mut count, mut buffer) = (0, buffer());
        while steps.next(&Same, &mut buffer)?.is_some() {
            count += 1;
        }
        Ok(count)
    }

    #[test]
    fn everything_comes_back() {
        let (bytes, operations) = (bytes(), operations());
        let list = List::decode(&bytes).unwrap();
        let mut older = Vec::new();
        let keep = |table| {
            older.push(table);
            Ok::<_, WireError>(())
        };
        let mut read = list.older(keep).unwrap();
        assert_eq!((list.head(), older.as_slice()), (&HEAD, OLDER.as_slice()));
        for step in steps(&operations) {
            assert_eq!(read.next(&Same, &mut buffer()), Ok(Some(step)));
        }
        assert_eq!(read.next(&Same, &mut buffer()), Ok(None));
    }

    #[test]
    fn a_list_that_is_cut_or_goes_on_is_none() {
        let mut bytes = bytes();
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        bytes.push(0);
        assert_eq!(read(&bytes), Err(WireError::Rest(1)));
    }

    #[test]
    fn no_changed_byte_is_read_beyond_the_end_or_names_what_is_not_there() {
        let bytes = bytes();
        for at in 0..bytes.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] = value;
                // Any answer but a panic.
                let _ = read(&changed);
            }
        }
        let wrong = |step: Step<'_>| {
            let mut writer = Writer::begin(Vec::new(), &Head { older: 0, steps: 1, ..HEAD });
            writer.step(&step).unwrap();
            read(&writer.into_sink())
        };
        let step = Step { vcpu: VcpuId::new(0), task: 0, interrupt: false, deed: Deed::Library(Act::Enter) };
        assert_eq!(wrong(step), Ok(1));
        assert!(wrong(Step { vcpu: VcpuId::new(2), ..step }).is_err());
        assert!(wrong(Step { task: 3, ..step }).is_err());
        let unknown = MmuextOp::Unpin { table: Mfn::new(1000) };
        let operations = &[Operation::Mmuext { op: unknown, domain: DomId::SELF }];
        assert!(wrong(Step { deed: Deed::Library(Act::Work { piece: Piece::Each, operations }), ..step }).is_err());
        for frame in [0, 10] {
            let frame = Mfn::new(frame);
            assert!(wrong(Step { deed: Deed::Zero { frame }, ..step }).is_err());
            assert!(wrong(Step { deed: Deed::Compare { slot: PteSlot::of(frame, 0) }, ..step }).is_err());
        }
    }

    #[test]
    fn what_cannot_be_carried_is_not_written() {
        let step = |operations: &[Operation]| {
            let deed = Deed::Library(Act::Work { piece: Piece::Each, operations });
            Writer::begin(Vec::new(), &HEAD).step(&Step { vcpu: VcpuId::new(0), task: 0, interrupt: false, deed })
        };
        let carried = operations()[0];
        assert_eq!(step(&[carried; MOST_OPERATIONS]), Some(()));
        assert_eq!(step(&[carried; MOST_OPERATIONS + 1]), None);
        assert_eq!(step(&[Operation::FpuTaskswitch { set: true }]), None);
    }
}
