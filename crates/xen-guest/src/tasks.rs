//! Kernel tasks: preemptive, round robin, each on the vCPU it was spawned on.
//!
//! What a vCPU runs first, main or its loop for work, is its task 0. A task is switched out where the
//! timer finds it, anywhere with upcalls open ([`preempt_every`]), or where it says so ([`yield_now`]).
//! Between the outgoing task's last step and the incoming one's first the switch hook runs, with
//! upcalls masked. A task is its frame on its own stack; switching is going on with another frame.

use core::arch::naked_asm;
use core::fmt;
use core::marker::PhantomData;

use hypercall::{Errno, SwitchContext, TaskContext};
use spin::Once;

use crate::{
    frame::{Frame, SAVED_FPU, resume, save},
    layout::{FRAME_CS, KERNEL_SS, OPEN_RFLAGS},
    mask::{are_masked, mask},
    percpu::{MAX_VCPUS, PerVcpu, current_vcpu},
    stack::Stack,
    timer,
};

/// Tasks of a vCPU, its first included.
const TASKS: usize = 5;
/// Bytes of a task's stack.
const STACK_BYTES: usize = 64 << 10;

/// What a task runs. It ends by returning.
pub type Entry = fn(&TaskContext, usize);

/// A task was not spawned: the vCPU has as many as there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the vCPU has its {TASKS} tasks; join one first")
    }
}

impl core::error::Error for NoRoom {}

/// A task of the vCPU that spawned it. To be joined; until then its place is taken.
#[must_use = "a task keeps its place until it is joined"]
#[derive(Debug)]
pub struct Task {
    number: usize,
    /// It belongs to the vCPU it was spawned on.
    vcpu: PhantomData<*mut ()>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// No task.
    Free,
    /// Runs, or will when it is its turn.
    Ready,
    /// Has returned and waits to be joined.
    Done,
}

struct Place {
    state: State,
    /// Where it goes on; of no meaning while it runs.
    frame: *mut Frame,
    entry: Option<(Entry, usize)>,
}

struct Scheduler {
    places: [Place; TASKS],
    running: usize,
    switches: u64,
    /// Length of a turn in ns; 0: no preemption.
    turn: u64,
    /// The timer's ticks that have been acted on.
    ticks: u64,
}

// SAFETY: the frames lie on stacks of the vCPU the scheduler belongs to, which alone uses them.
unsafe impl Send for Scheduler {}

static SCHEDULERS: PerVcpu<Scheduler> = PerVcpu::new(Scheduler::new(), Scheduler::new());
static SWITCH_HOOK: Once<fn(&SwitchContext)> = Once::new();

/// Of each vCPU's tasks but its first.
static STACKS: [[Stack<STACK_BYTES>; TASKS - 1]; MAX_VCPUS] =
    [const { [const { Stack::new() }; TASKS - 1] }; MAX_VCPUS];

impl Scheduler {
    const fn new() -> Self {
        let mut places = [const { Place { state: State::Free, frame: core::ptr::null_mut(), entry: None } }; TASKS];
        places[0].state = State::Ready;
        Self { places, running: 0, switches: 0, turn: 0, ticks: 0 }
    }

    /// The task whose turn it is after the running one's; `None` where no other is ready.
    fn next(&self) -> Option<usize> {
        (1..TASKS)
            .map(|step| (self.running + step) % TASKS)
            .find(|number| matches!(self.places[*number].state, State::Ready))
    }

    fn add(&mut self, entry: Entry, argument: usize) -> Result<usize, NoRoom> {
        let number = self.places.iter().position(|place| matches!(place.state, State::Free)).ok_or(NoRoom)?;
        let stack = &STACKS[current_vcpu().number() as usize][number - 1];
        let rip = (start as *const ()).addr() as u64;
        let frame = stack.top::<Frame>();
        // SAFETY: 1. The place is free, so nobody uses its stack. 2. The frame lies within it, aligned.
        unsafe { frame.write(Frame::fresh(rip, frame.addr() as u64)) };
        self.places[number] = Place { state: State::Ready, frame, entry: Some((entry, argument)) };
        Ok(number)
    }

    /// Takes the outgoing task's frame and answers with the one of task `next`.
    fn switch_to(&mut self, next: usize, frame: *mut Frame) -> *mut Frame {
        self.places[self.running].frame = frame;
        self.running = next;
        self.switches += 1;
        self.places[next].frame
    }

    /// Whether the running task's turn has ended. Begins the next one.
    fn turn_is_over(&mut self) -> bool {
        let ticks = timer::ticks(current_vcpu());
        if self.turn == 0 || ticks == self.ticks {
            return false;
        }
        self.ticks = ticks;
        timer::arm(timer::now() + self.turn);
        true
    }
}

/// Makes an overflow of any task's stack end the domain.
pub(crate) fn guard_stacks() -> Result<(), Errno> {
    STACKS.iter().flatten().try_for_each(Stack::guard)
}

/// Spawns a task on the calling vCPU, which runs `entry` with `argument` when it is its turn.
///
/// # Errors
/// [`NoRoom`].
pub fn spawn(entry: Entry, argument: usize) -> Result<Task, NoRoom> {
    let number = SCHEDULERS.with(|scheduler| scheduler.add(entry, argument))?;
    Ok(Task { number, vcpu: PhantomData })
}

/// Waits for a task to return, and frees its place. Other tasks run meanwhile.
///
/// # Panics
/// With upcalls masked.
pub fn join(task: Task) {
    loop {
        let done = SCHEDULERS.with(|scheduler| {
            let place = &mut scheduler.places[task.number];
            let done = matches!(place.state, State::Done);
            if done {
                place.state = State::Free;
            }
            done
        });
        if done {
            return;
        }
        yield_now();
    }
}

/// From now on a task of the calling vCPU runs for `turn` ns at most while others are ready; 0 ends
/// that. Takes the vCPU's timer.
pub fn preempt_every(turn: u64) {
    SCHEDULERS.with(|scheduler| {
        scheduler.turn = turn;
        scheduler.ticks = timer::ticks(current_vcpu());
    });
    if turn == 0 { timer::disarm() } else { timer::arm(timer::now() + turn) }
}

/// Switches that the calling vCPU has made.
#[must_use]
pub fn switches() -> u64 {
    SCHEDULERS.with(|scheduler| scheduler.switches)
}

/// Sets what runs between two tasks, on every vCPU and with upcalls masked. The first hook stays.
pub fn on_switch(hook: fn(&SwitchContext)) {
    SWITCH_HOOK.call_once(|| hook);
}

/// Lets the next task run; returns when it is the caller's turn again.
///
/// # Panics
/// With upcalls masked: the task would go on with upcalls open.
pub fn yield_now() {
    assert!(!are_masked(), "a task that yields goes on with upcalls open");
    core::mem::forget(mask());
    // SAFETY: 1. Upcalls are masked. 2. A task's code is what runs.
    unsafe { leave_task() };
}

/// Saves the caller as an upcall would, and goes on with whoever is next. Upcalls are masked before and
/// open when it returns.
#[unsafe(naked)]
unsafe extern "C" fn leave_task() {
    naked_asm!(
        // Without its return address the stack is at a multiple of 16, as an upcall finds it.
        "pop rcx",
        "mov rdx, rsp",
        "push {ss}; push rdx; push {rflags}; push {cs}; push rcx; push 0",
        "push rcx; push r11; push rax",
        save!(),
        "call {handler}",
        "jmp {resume}",
        ss = const KERNEL_SS,
        rflags = const OPEN_RFLAGS,
        cs = const FRAME_CS,
        saved_fpu = const SAVED_FPU,
        handler = sym switch,
        resume = sym resume,
    )
}

/// Goes on with the next task, the switch hook run before, or with the same where no other is ready.
///
/// # Safety
/// Upcalls are masked; `frame` is where the running task goes on.
unsafe extern "C" fn switch(frame: *mut Frame) -> *mut Frame {
    let Some(next) = SCHEDULERS.with(|scheduler| scheduler.next()) else { return frame };
    if let Some(hook) = SWITCH_HOOK.get() {
        // SAFETY: this is the switch code, upcalls are masked, and the token does not outlive the hook.
        hook(&unsafe { SwitchContext::assume() });
    }
    SCHEDULERS.with(|scheduler| scheduler.switch_to(next, frame))
}

/// Goes on after an upcall: with the same task, or with the next one when the turn is over.
///
/// # Safety
/// As for [`switch`].
pub(crate) unsafe fn after_upcall(frame: *mut Frame) -> *mut Frame {
    if !SCHEDULERS.with(Scheduler::turn_is_over) {
        return frame;
    }
    // SAFETY: the caller's promise.
    unsafe { switch(frame) }
}

/// The first code of every spawned task.
extern "C" fn start() -> ! {
    let entry = SCHEDULERS.with(|scheduler| scheduler.places[scheduler.running].entry.take());
    if let Some((entry, argument)) = entry {
        // SAFETY: this is a task's own code, and the token does not outlive the block.
        let context = unsafe { TaskContext::assume() };
        entry(&context, argument);
    }
    SCHEDULERS.with(|scheduler| scheduler.places[scheduler.running].state = State::Done);
    loop {
        yield_now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_go_round_the_ready_tasks() {
        let mut scheduler = Scheduler::new();
        assert_eq!(scheduler.next(), None);
        scheduler.places[2].state = State::Ready;
        scheduler.places[3].state = State::Done;
        scheduler.places[4].state = State::Ready;
        let order = [(); 5].map(|()| {
            scheduler.running = scheduler.next().unwrap();
            scheduler.running
        });
        assert_eq!(order, [2, 4, 0, 2, 4]);
    }

    #[test]
    fn a_switch_keeps_the_outgoing_frame() {
        let mut scheduler = Scheduler::new();
        let [first, second, third] = [0x1000, 0x2000, 0x3000].map(core::ptr::without_provenance_mut::<Frame>);
        scheduler.places[1] = Place { state: State::Ready, frame: second, entry: None };
        assert_eq!(scheduler.switch_to(1, first), second);
        assert_eq!((scheduler.running, scheduler.switches), (1, 1));
        assert_eq!(scheduler.switch_to(0, third), first);
        assert_eq!(scheduler.switch_to(1, first), third);
    }
}
