//! Kernel tasks: preemptive, round robin.
//!
//! What a vCPU runs first, main or its loop for work, is its task 0. A task is switched out where the
//! timer finds it, anywhere with upcalls open ([`preempt_every`]), or where it says so ([`yield_now`]).
//! Between the outgoing task's last step and the incoming one's first the switch hook runs, with
//! upcalls masked. A task is its frame on its own stack; switching is going on with another frame.
//!
//! A task runs on the vCPU it was spawned on, unless it was spawned to wander ([`spawn_wandering`]): then a vCPU
//! that [`wander`]s may give it to another one. A vCPU works on a stack until it has gone on with another
//! frame, so what it gives away is a task that an earlier switch has left, and the place of one that has ended
//! is given back by the next switch.

use core::arch::naked_asm;
use core::fmt;
use core::ops::RangeInclusive;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering::SeqCst};

use fastrand::Rng;
use hypercall::{Errno, SwitchContext, TaskContext, VcpuId};
use spin::{Mutex, Once};

use crate::{
    frame::{Frame, SAVED_FPU, resume, save},
    layout::{FRAME_CS, KERNEL_SS, OPEN_RFLAGS},
    mask::{are_masked, mask},
    percpu::{PerVcpu, current_vcpu},
    smp,
    stack::Stack,
    timer,
};

/// Tasks that are spawned, on all vCPUs.
const TASKS: usize = 8;
/// Bytes of a task's stack.
const STACK_BYTES: usize = 64 << 10;

/// What a task runs. It ends by returning.
pub type Entry = fn(&TaskContext, usize);

/// A task was not spawned: there are as many as there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are {TASKS} tasks already; join one first")
    }
}

impl core::error::Error for NoRoom {}

/// A task. To be joined; until then its place is taken.
#[must_use = "a task keeps its place until it is joined"]
#[derive(Debug)]
pub struct Task(usize);

/// Room for a task.
struct Place {
    state: AtomicU32,
    /// Where the task goes on; of no meaning while it runs.
    frame: AtomicPtr<Frame>,
    work: Mutex<Option<Work>>,
    stack: Stack<STACK_BYTES>,
}

#[derive(Clone, Copy)]
struct Work {
    entry: Entry,
    argument: usize,
    wanders: bool,
}

/// States of a place. It is the vCPU named by the state that changes it from `READY` on.
const FREE: u32 = 0;
/// Is being made.
const CLAIMED: u32 = 1;
/// Has returned and waits to be joined.
const DONE: u32 = 2;
/// Runs on vCPU 0, or will when it is its turn; on vCPU n: n above it.
const READY: u32 = 3;

const fn ready_on(vcpu: VcpuId) -> u32 {
    READY + vcpu.number()
}

static PLACES: [Place; TASKS] = [const {
    Place {
        state: AtomicU32::new(FREE),
        frame: AtomicPtr::new(core::ptr::null_mut()),
        work: Mutex::new(None),
        stack: Stack::new(),
    }
}; TASKS];

/// The place of task `number` of a vCPU: none of its own first task's, number 0.
fn place(number: usize) -> Option<&'static Place> {
    PLACES.get(number.checked_sub(1)?)
}

impl Place {
    /// Claims it; `false` where it is taken.
    fn claim(&self) -> bool {
        self.state.compare_exchange(FREE, CLAIMED, SeqCst, SeqCst).is_ok()
    }

    /// Lets a claimed place's task begin on the calling vCPU.
    fn begin(&self, work: Work) {
        let _masked = mask();
        let rip = (start as *const ()).addr() as u64;
        let frame = self.stack.top::<Frame>();
        // SAFETY: 1. The place was free and is claimed, so nobody uses its stack. 2. The frame lies within it, aligned.
        unsafe { frame.write(Frame::fresh(rip, frame.addr() as u64)) };
        self.frame.store(frame, SeqCst);
        *self.work.lock() = Some(work);
        self.state.store(ready_on(current_vcpu()), SeqCst);
    }

    fn is_ready_on(&self, vcpu: VcpuId) -> bool {
        self.state.load(SeqCst) == ready_on(vcpu)
    }

    /// What it is to do. Never waits: whoever has the lock has upcalls masked, and only for a few instructions.
    fn work(&self) -> Option<Work> {
        let _masked = mask();
        *self.work.lock()
    }
}

/// Lengths of turns in ns, at random between two.
#[derive(Debug)]
struct Turns {
    shortest: u64,
    longest: u64,
    random: Rng,
}

impl Turns {
    fn next(&mut self) -> u64 {
        self.random.u64(self.shortest..=self.longest)
    }
}

struct Scheduler {
    /// Where the vCPU's first task goes on; of no meaning while it runs.
    first: AtomicPtr<Frame>,
    running: usize,
    /// Whether the running task has ended, and gives its place back when it is left.
    has_ended: bool,
    /// The task that has ended and was left at the last switch.
    left: Option<usize>,
    counts: Counts,
    /// `None`: no preemption.
    turns: Option<Turns>,
    /// The timer's ticks that have been acted on.
    ticks: u64,
    /// By what the vCPU gives tasks away.
    wander: Option<Rng>,
}

/// What a vCPU's scheduler has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Switches from one task to another.
    pub switches: u64,
    /// Those by the timer.
    pub preemptions: u64,
    /// Tasks given to another vCPU.
    pub migrations: u64,
}

static SCHEDULERS: PerVcpu<Scheduler> = PerVcpu::new(Scheduler::new(), Scheduler::new());
static SWITCH_HOOK: Once<fn(&SwitchContext)> = Once::new();

/// The numbers of the tasks behind `running`, in the order of their turns.
fn behind(running: usize) -> impl Iterator<Item = usize> {
    (1..=TASKS).map(move |step| (running + step) % (TASKS + 1))
}

impl Scheduler {
    const fn new() -> Self {
        Self {
            first: AtomicPtr::new(core::ptr::null_mut()),
            running: 0,
            has_ended: false,
            left: None,
            counts: Counts { switches: 0, preemptions: 0, migrations: 0 },
            turns: None,
            ticks: 0,
            wander: None,
        }
    }

    /// The task whose turn it is after the running one's; `None` where no other is ready.
    fn next(&mut self) -> Option<usize> {
        if let Some(left) = self.left.take().and_then(place) {
            left.state.store(DONE, SeqCst);
        }
        let me = current_vcpu();
        behind(self.running).find(|number| place(*number).is_none_or(|place| place.is_ready_on(me)))
    }

    /// Takes the outgoing task's frame and answers with the one of task `next`.
    fn switch_to(&mut self, next: usize, frame: *mut Frame) -> *mut Frame {
        self.give_away(next);
        self.frame_of(self.running).store(frame, SeqCst);
        self.left = core::mem::take(&mut self.has_ended).then_some(self.running);
        self.running = next;
        self.counts.switches += 1;
        self.frame_of(next).load(SeqCst)
    }

    fn frame_of(&self, number: usize) -> &AtomicPtr<Frame> {
        place(number).map_or(&self.first, |place| &place.frame)
    }

    /// Now and then, where it wanders: gives a task that neither runs nor is next to another vCPU.
    fn give_away(&mut self, next: usize) {
        let Some(random) = &mut self.wander else { return };
        if random.bool() {
            return;
        }
        let me = current_vcpu();
        let Some(other) = smp::online().iter().find(|vcpu| *vcpu != me) else { return };
        let may_go = |number: &usize| {
            *number != next
                && place(*number)
                    .is_some_and(|place| place.is_ready_on(me) && place.work().is_some_and(|work| work.wanders))
        };
        if let Some(place) = behind(self.running).find(may_go).and_then(place) {
            place.state.store(ready_on(other), SeqCst);
            smp::wake_from_idleness();
            self.counts.migrations += 1;
        }
    }

    /// Whether the running task's turn has ended. Begins the next one.
    fn turn_is_over(&mut self) -> bool {
        let ticks = timer::ticks(current_vcpu());
        let Some(turns) = &mut self.turns else { return false };
        if ticks == self.ticks {
            return false;
        }
        self.ticks = ticks;
        timer::arm(timer::now() + turns.next());
        true
    }
}

/// Makes an overflow of any task's stack end the domain.
pub(crate) fn guard_stacks() -> Result<(), Errno> {
    PLACES.iter().try_for_each(|place| place.stack.guard())
}

/// Spawns a task on the calling vCPU, which runs `entry` with `argument` when it is its turn.
///
/// # Errors
/// [`NoRoom`].
pub fn spawn(entry: Entry, argument: usize) -> Result<Task, NoRoom> {
    begin(Work { entry, argument, wanders: false })
}

/// As [`spawn`], a task that need not stay on its vCPU: between any two of its steps it may find itself on another.
///
/// # Errors
/// [`NoRoom`].
pub fn spawn_wandering(entry: Entry, argument: usize) -> Result<Task, NoRoom> {
    begin(Work { entry, argument, wanders: true })
}

fn begin(work: Work) -> Result<Task, NoRoom> {
    let number = PLACES.iter().position(Place::claim).ok_or(NoRoom)?;
    PLACES[number].begin(work);
    Ok(Task(number))
}

/// Waits for a task to return, and frees its place. Other tasks run meanwhile.
///
/// # Panics
/// With upcalls masked.
pub fn join(task: Task) {
    while PLACES[task.0].state.compare_exchange(DONE, FREE, SeqCst, SeqCst).is_err() {
        yield_now();
    }
}

/// From now on a task of the calling vCPU runs for `turn` ns at most while others are ready; 0 ends
/// that. Takes the vCPU's timer.
pub fn preempt_every(turn: u64) {
    set_turns((turn > 0).then(|| Turns { shortest: turn, longest: turn, random: Rng::with_seed(0) }));
}

/// As [`preempt_every`], with turns of a length at random within `turns` ns.
///
/// # Panics
/// Where there is no length to choose, or one of 0.
pub fn preempt_at_random(turns: RangeInclusive<u64>, seed: u64) {
    let (shortest, longest) = turns.into_inner();
    assert!(0 < shortest && shortest <= longest, "a turn has a length");
    set_turns(Some(Turns { shortest, longest, random: Rng::with_seed(seed) }));
}

fn set_turns(turns: Option<Turns>) {
    let first = SCHEDULERS.with(|scheduler| {
        scheduler.turns = turns;
        scheduler.ticks = timer::ticks(current_vcpu());
        scheduler.turns.as_mut().map(Turns::next)
    });
    match first {
        Some(turn) => timer::arm(timer::now() + turn),
        None => timer::disarm(),
    }
}

/// From now on the calling vCPU gives tasks that may wander to another vCPU, at random; `None` ends that.
pub fn wander(seed: Option<u64>) {
    SCHEDULERS.with(|scheduler| scheduler.wander = seed.map(Rng::with_seed));
}

/// What the calling vCPU's scheduler has done.
#[must_use]
pub fn counts() -> Counts {
    SCHEDULERS.with(|scheduler| scheduler.counts)
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

/// Yields until no other task of the calling vCPU is ready, and none waits to be given up.
///
/// # Panics
/// As [`yield_now`].
pub(crate) fn let_others_run() {
    while others_wait() {
        yield_now();
    }
}

/// Whether another task of the calling vCPU is ready.
pub(crate) fn others_wait() -> bool {
    SCHEDULERS.with(Scheduler::next).is_some()
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
    let Some(next) = SCHEDULERS.with(Scheduler::next) else { return frame };
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
    let next = unsafe { switch(frame) };
    SCHEDULERS.with(|scheduler| scheduler.counts.preemptions += u64::from(next != frame));
    next
}

/// The first code of every spawned task.
extern "C" fn start() -> ! {
    let number = SCHEDULERS.with(|scheduler| scheduler.running);
    if let Some(work) = place(number).and_then(Place::work) {
        // SAFETY: this is a task's own code, and the token does not outlive the block.
        let context = unsafe { TaskContext::assume() };
        (work.entry)(&context, work.argument);
    }
    SCHEDULERS.with(|scheduler| scheduler.has_ended = true);
    loop {
        yield_now();
    }
}

#[cfg(test)]
mod tests {
    use core::array;

    use super::*;

    #[test]
    fn turns_go_round_all_tasks() {
        let order: [usize; TASKS] = array::from_fn(|step| step + 1);
        assert!(behind(0).eq(order));
        assert!(behind(2).take(3).eq([3, 4, 5]) && behind(2).last() == Some(1));
        assert!(behind(TASKS).next() == Some(0), "behind the last is the vCPU's first task");
    }

    #[test]
    fn turns_are_as_long_as_they_may_be() {
        let mut turns = Turns { shortest: 10, longest: 13, random: Rng::with_seed(5) };
        let mut seen = [false; 4];
        (0..100).for_each(|_| seen[turns.next() as usize - 10] = true);
        assert_eq!(seen, [true; 4]);
    }
}
