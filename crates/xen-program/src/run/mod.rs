//! The interpreter: one for every machine.
//!
//! It allocates nothing: what it keeps is in a [`Scratch`] that the caller provides. Every program is
//! read twice. The first reading checks all of it, so that a damaged one is refused before anything
//! is done; the second carries it out, step by step. After the last step every page the program
//! names is probed, and the arena is brought back to what it was before the next program starts.
//! Where that is not possible the programs behind are not run: whatever they answered would be about
//! the rest of this one.

mod call;
mod clean;
mod guard;
mod probe;
mod room;
mod values;
mod world;

use hypercall::PAGE_SHIFT;

use crate::arena::{BASE, UNMAPPED};
use crate::code::{self, StepHead};
use crate::frame::{Frame, Table};
use crate::list::{ANSWERS, HEAD, Head, ListError, Mode, Report, Status, VERSION, next_program};
use crate::machine::{Machine, PageFault};
use crate::record::{FAULT, REFUSED, Record, Refusal, STORED, VALUE};
use crate::wire::{Buffer, Digest, Malformed, Reader, Sink};
pub(crate) use room::Room;
use values::{Layout, Scan, Written};
use world::{FrameSet, Reached, World};

/// What the interpreter keeps, about 120 KiB: a kernel has it in a static.
#[derive(Debug)]
pub struct Scratch {
    world: World,
    written: Written,
}

impl Scratch {
    /// Empty.
    #[must_use]
    pub const fn new() -> Self {
        Self { world: World::new(), written: Written::new() }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs every program of `list` and writes the answers to `answers`; answers with their length.
///
/// # Errors
/// Where `list` is none, the arena is not set up, or `answers` has no room for a status per program.
/// Nothing was run then.
pub fn run_list<M: Machine>(
    list: &[u8],
    machine: &mut M,
    scratch: &mut Scratch,
    answers: &mut [u8],
) -> Result<usize, ListError> {
    let mut reader = Reader::new(list);
    let head = check_list(&mut reader)?;
    let count = head.count as usize;
    let (start, mut rest) = answers.split_at_mut_checked(HEAD).ok_or(ListError::NoRoom)?;
    if rest.len() < count {
        return Err(ListError::NoRoom);
    }
    scratch.world.start(machine)?;
    let mut out = Buffer::new(start);
    out.bytes(&ANSWERS);
    out.bytes(&[VERSION, head.report as u8, 0, 0]);
    out.bytes(&head.count.to_le_bytes());
    let (mut length, mut going) = (HEAD, true);
    for behind in (0..count).rev() {
        let program = next_program(&mut reader)?;
        let room = rest.len() - behind;
        let answered = if going { answer(head, program, machine, scratch, &mut rest[..room]) } else { None };
        let (status, used) = answered.unwrap_or((Status::NotRun, 1));
        rest[0] = status as u8;
        going &= matches!(status, Status::Done | Status::Malformed);
        length += used;
        rest = &mut rest[used..];
    }
    Ok(length)
}

/// Checks that a list is whole, and answers with its head; the reader stays at the first program.
fn check_list(reader: &mut Reader<'_>) -> Result<Head, ListError> {
    let head = Head::read(reader)?;
    let mut rest = reader.clone();
    for _ in 0..head.count {
        next_program(&mut rest)?;
    }
    rest.end()?;
    Ok(head)
}

/// Runs one program and writes its answer to `room`, of at least one byte, except the status, which it
/// answers with, with the answer's length. `None` where the answer does not fit.
fn answer<M: Machine>(
    head: Head,
    program: &[u8],
    machine: &mut M,
    scratch: &mut Scratch,
    room: &mut [u8],
) -> Option<(Status, usize)> {
    let (_status, room) = room.split_first_mut()?;
    let named = match scan(program) {
        Ok(named) => named,
        Err(fault) => {
            let mut out = Buffer::new(room);
            out.number(fault.at as u64);
            return Some((Status::Malformed, 1 + out.used()?));
        }
    };
    let mut runner = Runner::new(machine, scratch, head.mode, named);
    let (clean, used) = match head.report {
        Report::Full => {
            let (length, body) = room.split_at_mut_checked(4)?;
            let mut record = Buffer::new(body);
            let clean = runner.run(program, &mut record);
            let used = record.used()?;
            length.copy_from_slice(&(used as u32).to_le_bytes());
            (clean, 4 + used)
        }
        Report::Digest => {
            let mut digest = Digest::new();
            let clean = runner.run(program, &mut digest);
            room.get_mut(..8)?.copy_from_slice(&digest.0.to_le_bytes());
            (clean, 8)
        }
    };
    Some((if clean { Status::Done } else { Status::Unclean }, 1 + used))
}

/// Reads a whole program and answers with the frames it names.
///
/// # Errors
/// Where it is damaged.
pub(crate) fn scan(program: &[u8]) -> Result<FrameSet, Malformed> {
    let mut reader = Reader::new(program);
    let mut scan = Scan { named: FrameSet(0), room: Room::new() };
    for _ in 0..code::steps(&mut reader)? {
        scan.room = Room::new();
        let values = match StepHead::read(&mut reader)? {
            StepHead::Call { args, .. } => args,
            StepHead::Load => 1,
            StepHead::Store | StepHead::Exchange => 2,
            StepHead::Probe(frame) => {
                scan.named.add(frame);
                0
            }
        };
        for _ in 0..values {
            code::value(&mut reader, &mut scan)?;
        }
    }
    reader.end()?;
    Ok(scan.named)
}

/// One program being run.
struct Runner<'a, M> {
    machine: &'a mut M,
    world: &'a mut World,
    written: &'a mut Written,
    mode: Mode,
    /// Frames that are observed after each step.
    named: FrameSet,
    /// Pages that were loaded as base pointers.
    loaded: FrameSet,
    /// Whether an entry has changed since the TLB was flushed.
    stale: bool,
    /// Tells moments of interruptions apart.
    seed: u64,
}

impl<'a, M: Machine> Runner<'a, M> {
    fn new(machine: &'a mut M, scratch: &'a mut Scratch, mode: Mode, named: FrameSet) -> Self {
        let Scratch { world, written } = scratch;
        let mut named = named;
        // Calls that take an address change it without naming it.
        named.add(Table::L1.into());
        Self { machine, world, written, mode, named, loaded: FrameSet(0), stale: true, seed: 0 }
    }

    /// Carries out a program that was found to be whole; whether the arena is as it was.
    fn run<S: Sink>(&mut self, program: &[u8], sink: &mut S) -> bool {
        let mut digest = Digest::new();
        digest.bytes(program);
        self.seed = digest.0;
        let mut reader = Reader::new(program);
        // The program was scanned: what cannot be read any more is not there.
        let steps = code::steps(&mut reader).unwrap_or(0);
        sink.number(steps as u64);
        for _ in 0..steps {
            if self.step(&mut reader, sink).is_err() {
                break;
            }
            self.stale |= self.world.observe(self.machine, self.named, sink);
        }
        self.world.observe(self.machine, FrameSet::ALL, sink);
        self.named.0 |= self.world.used_pages().0;
        self.probe_all(sink);
        self.world.observe(self.machine, self.named, sink);
        self.clean(sink)
    }

    fn step<S: Sink>(&mut self, reader: &mut Reader<'_>, sink: &mut S) -> Result<(), Malformed> {
        self.written.clear(self.machine);
        match StepHead::read(reader)? {
            StepHead::Call { interrupt, number, args } => {
                let mut registers = [0; code::REGISTERS];
                for register in registers.iter_mut().take(args) {
                    *register = self.value(reader)?;
                }
                self.call(interrupt, number, registers, sink);
            }
            StepHead::Load => {
                let address = self.value(reader)?;
                self.access(address, sink, |runner, index| {
                    runner.machine.load(address).map(|word| Some(runner.world.translated(index, word)))
                });
            }
            StepHead::Store => {
                let (address, word) = (self.value(reader)?, self.value(reader)?);
                self.access(address, sink, |runner, _| runner.machine.store(address, word).map(|()| None));
            }
            StepHead::Exchange => {
                let (address, word) = (self.value(reader)?, self.value(reader)?);
                self.access(address, sink, |runner, index| match runner.machine.exchange(address, word) {
                    Ok(word) => Ok(Some(runner.world.translated(index, word))),
                    // Where nothing is mapped an emulated processor may fault at the load already.
                    Err(PageFault(code)) => Err(PageFault(code | PageFault::WRITE)),
                });
            }
            StepHead::Probe(frame) => self.probe(frame, sink),
        }
        Ok(())
    }

    fn value(&mut self, reader: &mut Reader<'_>) -> Result<u64, Malformed> {
        let mut layout = Layout { machine: self.machine, world: self.world, written: self.written };
        code::value(reader, &mut layout)
    }

    /// The table the vCPU runs on, as far as it has a name.
    fn base(&self) -> Frame {
        let root = Frame::from(Table::Root);
        if self.loaded.0 == 0 { root } else { self.world.named(self.machine.base()).unwrap_or(root) }
    }

    /// Loads or stores the word at `address`, if it is one that is observed, or none at all.
    fn access<S: Sink>(
        &mut self,
        address: u64,
        sink: &mut S,
        access: impl FnOnce(&mut Self, usize) -> Result<Option<crate::record::Word>, PageFault>,
    ) {
        let index = match self.world.reach(self.base(), address) {
            _ if !address.is_multiple_of(8) || self.written.missing.is_some() => None,
            Reached::Word(_, index) => Some(index),
            Reached::Nothing => Some(0),
            Reached::Elsewhere => None,
        };
        let Some(index) = index else {
            sink.bytes(&[REFUSED, Refusal::Elsewhere as u8]);
            return;
        };
        self.flush();
        match access(self, index) {
            Ok(None) => sink.byte(STORED),
            Ok(Some(word)) => {
                sink.byte(VALUE);
                sink.word(word);
            }
            Err(PageFault(code)) => {
                sink.byte(FAULT);
                sink.number(code);
            }
        }
    }
}

/// Whether an address lies in the arena and not in the arguments, so that a program may have changed
/// what it leads to.
const fn is_remapped(address: u64) -> bool {
    let arena = address >> (PAGE_SHIFT + 27) == BASE >> (PAGE_SHIFT + 27);
    arena && !(address >= crate::arena::ARGUMENTS && address < UNMAPPED)
}
