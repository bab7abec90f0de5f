//! A trace's steps as a list for the lab's kernel.

use std::collections::HashMap;

use hypercall::{Level, Mfn, Operation, PteSlot};
use mmu_replay::{
    Deed, Head, ListWriter, MOST_OPERATIONS, Names as _, Older, Sink, Step as Carried, lead, rename, rename_word,
};

use super::naming::Naming;
use crate::replay::error::ReplayError;
use crate::replay::frames::{self, Frames};
use crate::replay::policy::library_act;
use crate::replay::program::{Act, GuestEvent, MachineSlot, Step};
use crate::replay::request::TaskKey;
use crate::replay::world::pte_slot;

/// Bytes in memory.
#[derive(Default)]
pub(super) struct Bytes(Vec<u8>);

#[cfg(test)]
impl Bytes {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// Writes the list; `naming` has learnt what the steps make L4s then.
///
/// # Errors
/// [`ReplayError::NotCarried`].
pub(super) fn list(frames: &Frames, steps: &[Step], naming: &mut Naming) -> Result<Vec<u8>, ReplayError> {
    let tasks = tasks(steps);
    let head = Head {
        vcpus: frames.vcpus(),
        tasks: tasks.len() as u32,
        frames: naming.count(),
        older: frames.older().len() as u32,
        steps: steps.len() as u32,
    };
    let mut writer = ListWriter::begin(Bytes::default(), &head);
    for (frame, older) in frames.older() {
        let frame = frames.machine(*frame);
        let pinned = match older {
            frames::Older::Table(level) => Some(*level),
            frames::Older::ReadOnly => None,
        };
        naming.root(frame, pinned == Some(Level::L4));
        writer.older(&Older { frame: name(naming, frame).map_err(|what| not_carried(0, what))?, pinned });
    }
    for step in steps {
        let wrong = |what| not_carried(step.line, what);
        carry(&mut writer, step, tasks[&step.task], naming).map_err(wrong)?;
    }
    Ok(writer.into_sink().0)
}

fn not_carried(line: u64, what: String) -> ReplayError {
    ReplayError::NotCarried { line, what }
}

/// Numbers for the tasks, in the order in which they come up.
fn tasks(steps: &[Step]) -> HashMap<TaskKey, u32> {
    let mut tasks = HashMap::new();
    for step in steps {
        let next = tasks.len() as u32;
        tasks.entry(step.task).or_insert(next);
    }
    tasks
}

fn carry(writer: &mut ListWriter<Bytes>, step: &Step, task: u32, naming: &mut Naming) -> Result<(), String> {
    let named: Vec<Operation> = match &step.act {
        Act::Work { operations, .. } => operations.iter().map(|op| operation(naming, op)).collect::<Result<_, _>>()?,
        _ => Vec::new(),
    };
    let deed = match &step.act {
        Act::Guest(event) => guest(naming, event)?,
        Act::Compare { slot, .. } => Deed::Compare { slot: entry(naming, *slot)? },
        act => match library_act(act) {
            Some(lead::Act::Work { piece, .. }) => Deed::Library(lead::Act::Work { piece, operations: &named }),
            Some(asked) => Deed::Library(asked),
            None => return Err(format!("no list has a place for {act:?}")),
        },
    };
    let carried = Carried { vcpu: step.vcpu, task, interrupt: step.interrupt, deed };
    let most = || format!("{} operations asked for as one piece, more than {MOST_OPERATIONS}", named.len());
    writer.step(&carried).ok_or_else(most)
}

fn guest(naming: &mut Naming, event: &GuestEvent) -> Result<Deed<'static>, String> {
    Ok(match *event {
        GuestEvent::Zero { frame } => {
            naming.root(frame, false);
            Deed::Zero { frame: name(naming, frame)? }
        }
        GuestEvent::CopyKernelHalf { frame } => {
            naming.root(frame, true);
            Deed::CopyKernelHalf { frame: name(naming, frame)? }
        }
        GuestEvent::Store { slot, value } => Deed::Store { slot: entry(naming, slot)?, value: word(naming, value)? },
        GuestEvent::Trapped { slot, value } => {
            Deed::Trapped { slot: entry(naming, slot)?, value: word(naming, value)? }
        }
    })
}

fn name(naming: &Naming, frame: Mfn) -> Result<Mfn, String> {
    naming.frame(frame).ok_or_else(|| format!("nothing is known of {frame}"))
}

fn entry(naming: &Naming, slot: MachineSlot) -> Result<PteSlot, String> {
    naming.slot(pte_slot(slot)).ok_or_else(|| format!("entry {} of {} stands for another one", slot.index, slot.table))
}

fn word(naming: &Naming, value: u64) -> Result<u64, String> {
    rename_word(naming, value).ok_or_else(|| format!("nothing is known of the frame in {value:#x}"))
}

fn operation(naming: &Naming, operation: &Operation) -> Result<Operation, String> {
    rename(naming, operation).ok_or_else(|| format!("{operation:?} names a frame of which nothing is known"))
}
