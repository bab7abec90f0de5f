//! The hypercalls of the runtime itself: everything but page tables.
//!
//! Of the four claims of [`xen::hypercall`], the first and the last hold for all of them: this crate is
//! linked into kernels only (see `boot`), which are compiled without a red zone. (2) and (3) below are
//! the other two: what memory the call touches, and that Rust relies on nothing it changes.

use hypercall::{Errno, Mfn, Operation, Pte, SegmentBase, VaFlush, VcpuId, VirtAddr, xen};

use crate::layout::{TrapInfo, VcpuContext};

const SET_TRAP_TABLE: u64 = 0;
const SET_CALLBACKS: u64 = 4;
const MEMORY_OP: u64 = 12;
const XEN_VERSION: u64 = 17;
const CONSOLE_IO: u64 = 18;
const VCPU_OP: u64 = 24;
const SCHED_OP: u64 = 29;
const EVENT_CHANNEL_OP: u64 = 32;
const DOMAIN_CONTROL: u64 = 36;

const XENVER_EXTRAVERSION: u64 = 1;

const VCPU_INITIALISE: u64 = 0;
const VCPU_UP: u64 = 1;
const VCPU_STOP_PERIODIC_TIMER: u64 = 7;
const VCPU_SET_SINGLESHOT_TIMER: u64 = 8;
const VCPU_STOP_SINGLESHOT_TIMER: u64 = 9;
const VCPU_REGISTER_INFO: u64 = 10;

const SCHED_YIELD: u64 = 0;
const SCHED_BLOCK: u64 = 1;
const SCHED_SHUTDOWN: u64 = 2;

const MEMORY_MACHPHYS_MFN_LIST: u64 = 5;

const CONTROL_FRAME_TYPES: u32 = 61;
/// Words of `struct xen_domctl`: a head of two, and 128 bytes for the command.
const CONTROL_WORDS: usize = 18;
/// Of Xen 4.17; others refuse it.
const CONTROL_VERSION: u32 = 0x15;

const CHANNEL_BIND_VIRQ: u64 = 1;
const CHANNEL_SEND: u64 = 4;
const CHANNEL_BIND_IPI: u64 = 7;
const VIRQ_TIMER: u32 = 0;

/// # Safety
/// Claims 2 and 3 of [`xen::hypercall`].
unsafe fn call(number: u64, args: [u64; 5]) -> Result<i64, Errno> {
    // SAFETY: (1) in kernels only, (4) without a red zone; (2, 3) the caller's promise.
    let (answer, _) = unsafe { xen::hypercall(number, args) };
    Errno::from_return(answer)
}

/// A call whose last argument points at memory that Xen reads, or reads and writes.
///
/// # Safety
/// 1. `T` is laid out as the call asks for.
/// 2. Claim 3 of [`xen::hypercall`].
unsafe fn call_with<T, const N: usize>(number: u64, before: [u64; N], argument: &mut T) -> Result<i64, Errno> {
    let mut args = [0; 5];
    args[..N].copy_from_slice(&before);
    args[N] = (&raw mut *argument).expose_provenance() as u64;
    // SAFETY: (2) the argument is borrowed for the length of the call; (3) the caller's promise.
    unsafe { call(number, args) }
}

/// The version Xen tells, major in the upper and minor in the lower half.
#[must_use]
pub fn xen_version() -> u32 {
    // SAFETY: (2, 3) command 0 reads nothing and changes nothing.
    unsafe { call(XEN_VERSION, [0; 5]) }.map_or(0, |version| version as u32)
}

/// What Xen adds to its version, such as `.7`, as bytes up to the first zero.
///
/// # Errors
/// Xen's refusal.
pub fn xen_extra_version() -> Result<[u8; 16], Errno> {
    let mut extra = [0; 16];
    // SAFETY: (1) the argument is the 16 bytes of an `xen_extraversion_t`; (2) no mapping changes.
    unsafe { call_with(XEN_VERSION, [XENVER_EXTRAVERSION], &mut extra) }?;
    Ok(extra)
}

/// Enters Xen and leaves it again: an upcall that is due and not masked is made on the way.
#[cold]
pub(crate) fn take_upcalls() {
    let _ = xen_version();
}

/// Writes to the console. Up to 127 bytes go out in one piece, not mixed with Xen's own lines.
pub(crate) fn console_write(bytes: &[u8]) {
    let args = [0, bytes.len() as u64, bytes.as_ptr().expose_provenance() as u64, 0, 0];
    // SAFETY: (2) Xen reads `bytes`; (3) it changes nothing. Nobody is there to be told of a refusal.
    let _ = unsafe { call(CONSOLE_IO, args) };
}

/// The frame that holds the start of the machine-to-physical table.
pub(crate) fn machine_to_physical_start() -> Result<Mfn, Errno> {
    let mut start = 0_u64;
    let mut argument = [1, (&raw mut start).expose_provenance() as u64, 0];
    // SAFETY: (1) the argument is the room of the list, its address and, as an answer, its length; the list
    // has the one word it has room for; (2) no mapping changes.
    unsafe { call_with(MEMORY_OP, [MEMORY_MACHPHYS_MFN_LIST], &mut argument) }?;
    Ok(Mfn::new(start))
}

/// Replaces each frame number in `frames` by what domain 0's frame of this number is
/// (`XEN_DOMCTL_getpageframeinfo3`).
pub(crate) fn frame_types(frames: &mut [u64]) -> Result<(), Errno> {
    let address = frames.as_mut_ptr().expose_provenance() as u64;
    let mut argument = [0; CONTROL_WORDS];
    argument[0] = u64::from(CONTROL_FRAME_TYPES) | u64::from(CONTROL_VERSION) << 32;
    (argument[2], argument[3]) = (frames.len() as u64, address);
    // SAFETY: (1) the argument is command and version, the domain (0), count and address of the list, and room for the
    // largest command; the list is borrowed for the length of the call; (2) no mapping changes.
    unsafe { call_with(DOMAIN_CONTROL, [], &mut argument) }.map(drop)
}

/// Lets other vCPUs run.
pub(crate) fn sched_yield() {
    // SAFETY: (2) no argument leads to memory; (3) no mapping, stack or descriptor changes.
    let _ = unsafe { call(SCHED_OP, [SCHED_YIELD, 0, 0, 0, 0]) };
}

/// Opens upcalls and sleeps until the next one, in one step.
pub(crate) fn sched_block() {
    // SAFETY: (2) no argument leads to memory; (3) no mapping, stack or descriptor changes.
    let _ = unsafe { call(SCHED_OP, [SCHED_BLOCK, 0, 0, 0, 0]) };
}

/// Ends the domain.
pub(crate) fn sched_shutdown(reason: u32) -> ! {
    let mut reason = reason;
    loop {
        // SAFETY: (1) the argument is one `u32`; (2) nothing goes on after the call.
        let _ = unsafe { call_with(SCHED_OP, [SCHED_SHUTDOWN], &mut reason) };
    }
}

/// A port on which VIRQ_TIMER of `vcpu` arrives.
pub(crate) fn bind_timer(vcpu: VcpuId) -> Result<u32, Errno> {
    let mut argument = [VIRQ_TIMER, vcpu.number(), 0];
    // SAFETY: (1) the argument is virq, vCPU and, as an answer, the port; (2) no mapping changes.
    unsafe { call_with(EVENT_CHANNEL_OP, [CHANNEL_BIND_VIRQ], &mut argument) }?;
    Ok(argument[2])
}

/// A port that interrupts `vcpu` when it is sent to.
pub(crate) fn bind_ipi(vcpu: VcpuId) -> Result<u32, Errno> {
    let mut argument = [vcpu.number(), 0];
    // SAFETY: (1) the argument is vCPU and, as an answer, the port; (2) no mapping changes.
    unsafe { call_with(EVENT_CHANNEL_OP, [CHANNEL_BIND_IPI], &mut argument) }?;
    Ok(argument[1])
}

/// Sends to a port.
pub(crate) fn send(port: u32) -> Result<(), Errno> {
    let mut argument = port;
    // SAFETY: (1) the argument is the port; (2) no mapping changes.
    unsafe { call_with(EVENT_CHANNEL_OP, [CHANNEL_SEND], &mut argument) }.map(drop)
}

/// Stops the ticker every PV vCPU starts with.
pub(crate) fn stop_periodic_timer(vcpu: VcpuId) -> Result<(), Errno> {
    let args = [VCPU_STOP_PERIODIC_TIMER, vcpu.number().into(), 0, 0, 0];
    // SAFETY: (2) no argument leads to memory; (3) no mapping, stack or descriptor changes.
    unsafe { call(VCPU_OP, args) }.map(drop)
}

/// Lets VIRQ_TIMER arrive at system time `deadline` (ns), at once if that is past. Own vCPU only.
pub(crate) fn set_timer(vcpu: VcpuId, deadline: u64) -> Result<(), Errno> {
    // SAFETY: (1) the argument is the deadline and a word of flags; (2) no mapping changes.
    unsafe { call_with(VCPU_OP, [VCPU_SET_SINGLESHOT_TIMER, vcpu.number().into()], &mut [deadline, 0]) }.map(drop)
}

/// Takes a [`set_timer`] back.
pub(crate) fn stop_timer(vcpu: VcpuId) -> Result<(), Errno> {
    let args = [VCPU_STOP_SINGLESHOT_TIMER, vcpu.number().into(), 0, 0, 0];
    // SAFETY: (2) no argument leads to memory; (3) no mapping, stack or descriptor changes.
    unsafe { call(VCPU_OP, args) }.map(drop)
}

/// Gives `vcpu` its first state.
///
/// # Safety
/// The state is one in which the vCPU may run: stack, entry points, tables.
pub(crate) unsafe fn initialise_vcpu(vcpu: VcpuId, context: &mut VcpuContext) -> Result<(), Errno> {
    // SAFETY: (1) the argument is a state; (2) the caller vouches for what it says.
    unsafe { call_with(VCPU_OP, [VCPU_INITIALISE, vcpu.number().into()], context) }.map(drop)
}

/// Has Xen share `struct vcpu_info` with `vcpu` at `offset` of `frame`, and mark everything there as pending. Own vCPU,
/// or one that is not up; once.
///
/// # Safety
/// What lies there is of that layout, and nothing else ever does.
pub(crate) unsafe fn register_vcpu_info(vcpu: VcpuId, frame: Mfn, offset: u32) -> Result<(), Errno> {
    let mut argument = [frame.number(), u64::from(offset)];
    // SAFETY: (1) the argument is frame, offset and a reserved word; (2) no mapping changes, and what Xen writes from
    // now on is the caller's promise.
    unsafe { call_with(VCPU_OP, [VCPU_REGISTER_INFO, vcpu.number().into()], &mut argument) }.map(drop)
}

/// Lets `vcpu` run.
pub(crate) fn vcpu_up(vcpu: VcpuId) -> Result<(), Errno> {
    // SAFETY: (2) no argument leads to memory; (3) a vCPU starts in the state it was given.
    unsafe { call(VCPU_OP, [VCPU_UP, vcpu.number().into(), 0, 0, 0]) }.map(drop)
}

/// Sets the handlers of the exceptions in `traps`, whose last element is empty.
///
/// # Safety
/// Each address is an entry stub for its vector.
pub(crate) unsafe fn set_trap_table(traps: &[TrapInfo]) -> Result<(), Errno> {
    let args = [traps.as_ptr().expose_provenance() as u64, 0, 0, 0, 0];
    // SAFETY: (2) Xen reads up to the empty element; (3) the caller's promise.
    unsafe { call(SET_TRAP_TABLE, args) }.map(drop)
}

/// Sets the entry points for upcalls, failed returns and system calls.
///
/// # Safety
/// Each address is an entry stub for its purpose.
pub(crate) unsafe fn set_callbacks(event: u64, failsafe: u64, syscall: u64) -> Result<(), Errno> {
    // SAFETY: (2) no argument leads to memory; (3) the caller's promise.
    unsafe { call(SET_CALLBACKS, [event, failsafe, syscall, 0, 0]) }.map(drop)
}

/// Sets the base by which the vCPU finds its own data.
///
/// # Safety
/// `base` is the address of the calling vCPU's data and stays so.
pub(crate) unsafe fn set_gs_base(base: u64) -> Result<(), Errno> {
    // SAFETY: the caller vouches for the base.
    unsafe { register_call(&Operation::SetSegmentBase { which: SegmentBase::GsKernel, base }) }
}

/// Changes how `address` is mapped and drops its TLB entry on this vCPU.
///
/// # Safety
/// No reference depends on the mapping, or only in the way it is changed.
pub(crate) unsafe fn set_mapping(address: VirtAddr, pte: Pte, flush: VaFlush) -> Result<(), Errno> {
    // SAFETY: the caller vouches for the mapping.
    unsafe { register_call(&Operation::UpdateVaMapping { va: address, pte, flush }) }
}

/// # Safety
/// As for the operation, which is one that travels in registers and points at no memory.
unsafe fn register_call(operation: &Operation) -> Result<(), Errno> {
    let raw = operation.encode(0).ok_or(Errno::INVAL)?;
    // SAFETY: (2) the operation points at no memory; (3) the caller's promise.
    unsafe { call(raw.number.into(), raw.args) }.map(drop)
}
