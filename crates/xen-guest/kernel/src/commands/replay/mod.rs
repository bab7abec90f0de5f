//! A recorded trace, led through `pv-mmu` on the real Xen.
//!
//! The payload is a [`List`]: it is gone through once before anything is changed. Then the guest of the trace is rebuilt
//! ([`world`]), and every vCPU of it goes through the whole list: a step is taken by the vCPU it names, when all before
//! it have been; the others wait, and answer meanwhile who asks them to flush. vCPU 0 runs the command, vCPU 1 is the
//! second one. The trace's base pointers are really loaded: every L4 has the kernel's own entries.

mod end;
mod frames;
mod kernel;
mod notes;
mod world;

use core::sync::atomic::{AtomicU32, Ordering::SeqCst};

use hypercall::{InterruptContext, Operation, SwitchContext, TaskContext, VcpuId};
use mmu_replay::lead::{Contexts, Leader};
use mmu_replay::{Deed, Head, List, MOST_OPERATIONS, OperationBuffer, Step, Steps, WireError};
use pv_mmu::{Profile, TaskState};
use spin::{Mutex, Once};
use xen_guest::{MAX_VCPUS, current_vcpu, smp, start_info};
use xen_wire::Request;

use self::{frames::Frames, kernel::Replayed, notes::Notes, world::World};
use crate::{error::Error, reply::Reply};

/// Tasks there is room for.
const TASKS: usize = 1024;

const NO_OPERATION: Operation = Operation::FpuTaskswitch { set: false };
/// Each vCPU's room for the operations of a step.
static BUFFERS: [Mutex<OperationBuffer>; MAX_VCPUS] =
    [const { Mutex::new([NO_OPERATION; MOST_OPERATIONS]) }; MAX_VCPUS];
/// Whoever takes a step has them; a task may go on on another vCPU.
static STATES: Mutex<[TaskState; TASKS]> = Mutex::new([const { TaskState::with_profile(Profile::Nested) }; TASKS]);
/// The step whose turn it is.
static TURN: AtomicU32 = AtomicU32::new(0);

static NOTES: Mutex<Notes> = Mutex::new(Notes::new());

static REPLAY: Once<Replay> = Once::new();

/// What both vCPUs work on.
struct Replay {
    head: Head,
    steps: Steps<'static>,
    world: World,
    kernel: Replayed,
}

/// The replay under way.
fn under_way() -> &'static Replay {
    REPLAY.get().expect("nothing of a replay runs before it has been set up")
}

/// Leads the library through the list that the payload is.
pub(crate) fn replay(context: &TaskContext, _: &[u8], reply: &mut Reply) -> Result<(), Error> {
    // Again, because this way the second vCPU may have it too.
    let list = List::decode(Request::decode(start_info::module())?.payload)?;
    let steps = check(&list)?;
    let world = World::build(&list)?;
    let head = *list.head();
    let replay = REPLAY.call_once(|| Replay { head, steps, world, kernel: Replayed::new() });
    if head.vcpus > 1 {
        smp::start(VcpuId::new(1))?;
        smp::run(lead, 0)?;
    }
    lead(context, 0);
    smp::wait();
    end::tell(replay, reply)
}

/// Whether the list is whole, and this kernel has what it asks for.
fn check<'a>(list: &List<'a>) -> Result<Steps<'a>, Error> {
    let head = list.head();
    let frames = Frames::take(head.frames)?;
    room("vCPUs", head.vcpus.into(), MAX_VCPUS as u64)?;
    room("tasks", head.tasks.into(), TASKS as u64)?;
    room("steps", head.steps.into(), notes::STEPS as u64)?;
    let steps = list.older(|_| Ok::<_, WireError>(()))?;
    let (mut read, mut buffer) = (steps, BUFFERS[0].lock());
    while read.next(&frames, &mut buffer)?.is_some() {}
    Ok(steps)
}

fn room(what: &'static str, asked: u64, room: u64) -> Result<(), Error> {
    if asked <= room { Ok(()) } else { Err(Error::Room { what, asked, room }) }
}

/// Takes all steps of the calling vCPU, each when its turn has come.
fn lead(_: &TaskContext, _: usize) {
    let (replay, me) = (under_way(), current_vcpu());
    // SAFETY: which context a step is in is the trace's to say, and between two steps the vCPU does nothing else. The
    // tokens are gone when it is done. What is done as a handler is what a handler would do that comes in between
    // two steps.
    let contexts = unsafe {
        Contexts { task: TaskContext::assume(), interrupt: InterruptContext::assume(), switch: SwitchContext::assume() }
    };
    let mut leader = Leader::new(&replay.kernel, &contexts, me);
    let mut buffer = BUFFERS[me.number() as usize].lock();
    let mut steps = replay.steps;
    // The list has been read to its end before.
    for number in 0..replay.head.steps {
        let Ok(Some(step)) = steps.next(replay.world.frames(), &mut buffer) else { break };
        if step.vcpu == me {
            wait(&leader, number);
            take(replay, &mut leader, number, step);
            TURN.store(number + 1, SeqCst);
        }
    }
    wait(&leader, replay.head.steps);
}

/// Waits for a step's turn.
fn wait(leader: &Leader<'_, Replayed>, number: u32) {
    while TURN.load(SeqCst) != number {
        under_way().kernel.answer(leader);
        smp::relax();
    }
}

fn take(replay: &Replay, leader: &mut Leader<'_, Replayed>, number: u32, step: Step<'_>) {
    NOTES.lock().begin(number);
    let world = &replay.world;
    let done = match step.deed {
        Deed::Library(act) => {
            let task = &mut STATES.lock()[step.task as usize];
            if !leader.act(task, step.interrupt, &act) {
                NOTES.lock().complain(&"an enter or leave was not taken");
            }
            true
        }
        Deed::Compare { slot } => {
            NOTES.lock().found(world.entry(slot));
            true
        }
        Deed::Zero { frame } => {
            world.entries(frame).for_each(|(_, word)| NOTES.lock().found(word));
            world.zero(frame)
        }
        Deed::CopyKernelHalf { frame } => world.copy_own(frame),
        Deed::Store { slot, value } => world.store(slot, value),
        Deed::Trapped { slot, value } => {
            let held = world.exchange(slot, value);
            NOTES.lock().found(held.unwrap_or_default());
            held.is_some()
        }
    };
    if !done {
        NOTES.lock().beside();
    }
}
