//! The second vCPU.
//!
//! [`start`] gives it a state of its own and lets it run. From then on it waits for work, runs what
//! [`run`] posts as its task 0, and waits again. It is never taken down.

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

use crossbeam::utils::CachePadded;
use hypercall::{Errno, InterruptContext, TaskContext, VcpuId, VcpuMask};
use spin::{Mutex, Once};

use crate::{
    boot, calls,
    events::{self, Port},
    layout::{KERNEL_CS, KERNEL_SS, OPEN_RFLAGS, VcpuContext},
    mask,
    memory::tables,
    percpu::{self, AREAS, MAX_VCPUS, current_vcpu},
    stack::Stack,
    tasks, timer, traps,
};

/// Bytes of the stack a vCPU starts on.
const STACK_BYTES: usize = 128 << 10;
const _: () = assert!(MAX_VCPUS == 2, "there is one stack and one state, for vCPU 1");

/// Why a vCPU does not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartError {
    /// Only vCPU 1 can be started.
    NotSecond(VcpuId),
    /// It runs already.
    Running(VcpuId),
    /// Xen refused; [`Errno::NOENT`]: the domain has no such vCPU.
    Refused(Errno),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSecond(vcpu) => write!(f, "{vcpu} cannot be started; the runtime has one besides vcpu 0"),
            Self::Running(vcpu) => write!(f, "{vcpu} runs already"),
            Self::Refused(Errno::NOENT) => f.write_str("the domain has one vCPU; boot it with `dom0_max_vcpus=2`"),
            Self::Refused(errno) => write!(f, "Xen answered {errno}"),
        }
    }
}

impl core::error::Error for StartError {}

impl From<Errno> for StartError {
    fn from(errno: Errno) -> Self {
        Self::Refused(errno)
    }
}

/// The vCPU has work that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Busy;

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the vCPU has work that has not ended")
    }
}

impl core::error::Error for Busy {}

#[derive(Clone, Copy)]
enum Work {
    None,
    Posted(tasks::Entry, usize),
    Running,
}

/// Bit 0 is set from the start: vCPU 0 always runs.
static ONLINE: AtomicU64 = AtomicU64::new(1);
/// Locked with upcalls masked on either side, and for a few instructions only.
static WORK: CachePadded<Mutex<Work>> = CachePadded::new(Mutex::new(Work::None));
static WAKE: Once<Port> = Once::new();
static IS_ASLEEP: AtomicBool = AtomicBool::new(false);

static STACK: Stack<STACK_BYTES> = Stack::new();
static STATE: Mutex<VcpuContext> = Mutex::new(VcpuContext::EMPTY);

/// Lets other vCPUs run: for loops that wait for one. On a machine with fewer processors than vCPUs
/// such a loop would otherwise wait for its own time to run out.
pub fn relax() {
    calls::sched_yield();
}

/// The vCPUs that run.
#[must_use]
pub fn online() -> VcpuMask {
    VcpuMask::from_words([ONLINE.load(SeqCst), 0])
}

/// Lets vCPU 1 run, and returns when it waits for work.
///
/// # Errors
/// [`StartError`].
pub fn start(vcpu: VcpuId) -> Result<(), StartError> {
    if vcpu != VcpuId::new(1) {
        return Err(StartError::NotSecond(vcpu));
    }
    if online().contains(vcpu) {
        return Err(StartError::Running(vcpu));
    }
    STACK.guard()?;
    timer::bind(vcpu)?;
    WAKE.try_call_once(|| events::bind_ipi(vcpu, on_wake))?;
    initialise(vcpu)?;
    percpu::register_info(vcpu)?;
    calls::vcpu_up(vcpu)?;
    while !online().contains(vcpu) {
        relax();
    }
    Ok(())
}

fn initialise(vcpu: VcpuId) -> Result<(), Errno> {
    let mut state = STATE.lock();
    describe(vcpu, &mut state);
    // SAFETY: the state names the vCPU's own stack and area, the kernel's stubs and the boot tables.
    unsafe { calls::initialise_vcpu(vcpu, &mut state) }
}

fn describe(vcpu: VcpuId, state: &mut VcpuContext) {
    let stack_end = STACK.end();
    let area = (&raw const AREAS[vcpu.number() as usize]).expose_provenance();
    state.flags = VcpuContext::IN_KERNEL;
    (state.regs.rip, state.regs.cs) = ((secondary as *const ()).addr() as u64, KERNEL_CS);
    (state.regs.rsp, state.regs.ss, state.regs.rflags) = (stack_end - 8, KERNEL_SS, OPEN_RFLAGS);
    (state.kernel_sp, state.kernel_ss) = (stack_end, KERNEL_SS);
    // Here the table is indexed by vector.
    traps::table().iter().filter(|trap| trap.address != 0).for_each(|trap| state.traps[trap.vector as usize] = *trap);
    state.control[3] = tables::root().base().map_or(0, hypercall::MachAddr::value);
    [state.event_rip, state.failsafe_rip, state.syscall_rip] = boot::entries();
    state.gs_base_kernel = area as u64;
}

/// The first code of vCPU 1, entered with upcalls masked.
extern "C" fn secondary() -> ! {
    let stopped = timer::stop_ticker();
    debug_assert!(stopped.is_ok(), "a vCPU may stop its own ticker");
    mask::open();
    ONLINE.fetch_or(1 << current_vcpu().number(), SeqCst);
    // SAFETY: this is the vCPU's task 0, which never ends.
    let context = unsafe { TaskContext::assume() };
    loop {
        wait_for_work(&context);
    }
}

fn wait_for_work(context: &TaskContext) {
    // Others may have come here, or may not have been left for good.
    tasks::let_others_run();
    let masked = mask::mask();
    let mut work = WORK.lock();
    let Work::Posted(entry, argument) = *work else {
        drop(work);
        // Said before the last look, so that a task that is given away from now on comes with a wake-up; masked since
        // before both, so a wake-up that comes now ends the sleep.
        IS_ASLEEP.store(true, SeqCst);
        if !tasks::others_wait() {
            calls::sched_block();
        }
        IS_ASLEEP.store(false, SeqCst);
        return;
    };
    *work = Work::Running;
    drop(work);
    drop(masked);
    entry(context, argument);
    set(Work::None);
}

fn set(work: Work) {
    let _masked = mask::mask();
    *WORK.lock() = work;
}

/// Posts work to the second vCPU, which runs `entry` with `argument`.
///
/// # Errors
/// [`Busy`]; nothing has changed.
pub fn run(entry: tasks::Entry, argument: usize) -> Result<(), Busy> {
    {
        let _masked = mask::mask();
        let mut work = WORK.lock();
        if !matches!(*work, Work::None) {
            return Err(Busy);
        }
        *work = Work::Posted(entry, argument);
    }
    wake();
    Ok(())
}

/// Ends the second vCPU's sleep, if it sleeps for want of work or is about to.
pub(crate) fn wake_from_idleness() {
    if IS_ASLEEP.load(SeqCst) {
        wake();
    }
}

fn wake() {
    if let Some(port) = WAKE.get() {
        port.send();
    }
}

/// Whether the second vCPU has no work.
#[must_use]
pub fn is_idle() -> bool {
    let _masked = mask::mask();
    matches!(*WORK.lock(), Work::None)
}

/// Waits until the second vCPU has no work. Other tasks run meanwhile.
///
/// # Panics
/// With upcalls masked.
pub fn wait() {
    while !is_idle() {
        tasks::yield_now();
        relax();
    }
}

/// A wake-up needs no handling: the vCPU has left its sleep.
fn on_wake(_: &InterruptContext) {}
