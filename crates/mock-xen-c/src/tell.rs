//! What the referee is told of the guest's side.

use hypercall::{Errno, Level, Operation, Pte, PteSlot, VcpuId};
use mock_xen::referee::{Asker, Context, TaskId, Wish};

use crate::{Guest, known, mmuext, update};

/// Who acts: a task by a number of the program's choice, the vCPU it is on, and the context: 0 its own code, 1 a
/// handler that interrupts it, 2 the switch code between two tasks.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Who {
    /// The task.
    pub task: u64,
    /// The vCPU.
    pub vcpu: u32,
    /// The context.
    pub context: u32,
}

impl Who {
    pub(crate) fn asker(self) -> Asker {
        let context = match self.context {
            0 => Context::Task,
            1 => Context::Interrupt,
            2 => Context::Switch,
            other => panic!("mockxen: {other} is no context; 0 is a task's, 1 a handler's, 2 the switch's"),
        };
        Asker { task: TaskId::new(self.task), vcpu: VcpuId::new(self.vcpu), context }
    }
}

/// # Safety
/// 1. `guest` as for `known`.
unsafe fn ask(guest: *const Guest, who: Who, wish: impl Into<Wish>) -> u64 {
    // SAFETY: 1. the caller's promise.
    let guest = unsafe { known(guest) };
    let request = guest.test.referee().ask(who.asker(), wish);
    let mut requests = guest.requests.lock().unwrap_or_else(|broken| panic!("mockxen: {broken}"));
    requests.push(request);
    requests.len() as u64 - 1
}

/// The library is about to be handed an update of an entry of a table of `level`, 1 to 4. `slot` with Xen's command in
/// its lowest bits: 2 for an update that keeps accessed and dirty. Answers with the request's number.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_ask_update(guest: *const Guest, who: Who, level: u32, slot: u64, pte: u64) -> u64 {
    let level = (level as usize).checked_sub(1).and_then(|place| Level::ALL.get(place));
    let level = *level.expect("mockxen: a level is 1 to 4");
    // SAFETY: 1. the caller's promise.
    unsafe { ask(guest, who, Wish::new(update(slot, pte)).at_level(level)) }
}

/// The library is about to be handed an `mmuext_op`, by Xen's `command` number, its first argument, and the set of
/// vCPUs 0 to 63 where it has one. Answers with the request's number.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_ask_mmuext(
    guest: *const Guest,
    who: Who,
    command: u32,
    argument: u64,
    vcpus: u64,
) -> u64 {
    // SAFETY: 1. the caller's promise.
    unsafe { ask(guest, who, mmuext(command, argument, vcpus)) }
}

/// The library is about to be handed a stack switch. Answers with the request's number.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_ask_stack(guest: *const Guest, who: Who, ss: u64, sp: u64) -> u64 {
    // SAFETY: 1. the caller's promise.
    unsafe { ask(guest, who, Operation::StackSwitch { ss, sp: hypercall::VirtAddr::unchecked(sp) }) }
}

/// The library is about to be handed a write of the entry that maps `address`, with nothing flushed. Answers with the
/// request's number.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_ask_va_mapping(
    guest: *const Guest,
    who: Who,
    address: u64,
    pte: u64,
    invlpg_all: u32,
) -> u64 {
    let flush = match invlpg_all {
        0 => hypercall::VaFlush::None,
        _ => hypercall::VaFlush::Invlpg(hypercall::FlushScope::All),
    };
    let (va, pte) = (hypercall::VirtAddr::unchecked(address), Pte::from_bits(pte));
    // SAFETY: 1. the caller's promise.
    unsafe { ask(guest, who, Operation::UpdateVaMapping { va, pte, flush }) }
}

/// The call that took request `number` has returned (R1, R5, R6, R7, R14).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_answered(guest: *const Guest, number: u64) {
    // SAFETY: 1. the caller's promise.
    let guest = unsafe { known(guest) };
    let request =
        guest.requests.lock().unwrap_or_else(|broken| panic!("mockxen: {broken}")).get(number as usize).copied();
    guest.test.referee().answered(request.unwrap_or_else(|| panic!("mockxen: there is no request {number}")));
}

/// The guest has been told that an update was refused with `errno`, or with 0 that it was not attempted (R14).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_failed_update(guest: *const Guest, vcpu: u32, slot: u64, pte: u64, errno: u32) {
    // SAFETY: 1. the caller's promise.
    unsafe { failed(known(guest), vcpu, &update(slot, pte), errno) };
}

/// The same of an `mmuext_op`.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_failed_mmuext(
    guest: *const Guest,
    vcpu: u32,
    command: u32,
    argument: u64,
    vcpus: u64,
    errno: u32,
) {
    // SAFETY: 1. the caller's promise.
    unsafe { failed(known(guest), vcpu, &mmuext(command, argument, vcpus), errno) };
}

fn failed(guest: &Guest, vcpu: u32, operation: &Operation, errno: u32) {
    let referee = guest.test.referee();
    match Errno::new(errno as u16) {
        Some(errno) => referee.failed(VcpuId::new(vcpu), operation, errno),
        None => referee.not_attempted(VcpuId::new(vcpu), operation),
    }
}

/// An adapter of the program's, in the hypervisor's place, has refused one update of an array with `errno`, and has not
/// looked at the `behind` updates that follow it: `updates` are pairs of slot and value, from the refused one on.
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`; `updates` has 1 + `behind` pairs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_refused(
    guest: *const Guest,
    vcpu: u32,
    updates: *const u64,
    behind: usize,
    errno: u32,
) {
    // SAFETY: 1. the caller's promise.
    let (guest, words) = unsafe { (known(guest), std::slice::from_raw_parts(updates, 2 * (1 + behind))) };
    let errno = Errno::new(errno as u16).expect("mockxen: a refusal has a number");
    let (pairs, _) = words.as_chunks::<2>();
    for (n, [slot, pte]) in pairs.iter().enumerate() {
        let result = (n == 0).then_some(Err(errno));
        guest.test.referee().arrived(VcpuId::new(vcpu), &update(*slot, *pte), result);
    }
}

/// Enter has returned; `accepted` != 0 if it was taken (R4, R6).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_entered(guest: *const Guest, who: Who, accepted: u32) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().enter(who.asker(), accepted != 0);
}

/// Leave is about to be called (R2).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_leaves(guest: *const Guest, who: Who) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().leave(who.asker());
}

/// Leave has returned, and the failures it named have been told; one that names failures was taken (R2, R14).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_left(guest: *const Guest, who: Who, accepted: u32) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().left(who.asker(), accepted != 0);
}

/// Pause has returned (R5).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_paused(guest: *const Guest, who: Who, accepted: u32) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().paused(who.asker(), accepted != 0);
}

/// Resume has returned (R5).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_resumed(guest: *const Guest, who: Who, accepted: u32) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().resume(who.asker(), accepted != 0);
}

/// The accessor answered `pte` for the entry at `slot` (R11).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_read(guest: *const Guest, who: Who, slot: u64, pte: u64) {
    // SAFETY: 1. the caller's promise.
    let guest = unsafe { known(guest) };
    let slot = PteSlot::from_bits(slot);
    let memory = guest.test.xen().read_entry(slot).expect("mockxen: the entry lies in the guest's memory");
    guest.test.referee().read(who.asker(), slot, Pte::from_bits(pte), memory);
}

/// The guest has learnt that the entry at `slot` holds, or held last, `pte`, accessed and dirty with it (R11).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_seen(guest: *const Guest, slot: u64, pte: u64) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().seen(PteSlot::from_bits(slot), Pte::from_bits(pte));
}

/// Upcalls are masked on `vcpu` from now on (`masked` != 0), or one reason for it has gone (R15).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_mask(guest: *const Guest, vcpu: u32, masked: u32) {
    // SAFETY: 1. the caller's promise.
    let referee = unsafe { known(guest) }.test.referee();
    if masked == 0 { referee.unmasked(VcpuId::new(vcpu)) } else { referee.masked(VcpuId::new(vcpu)) }
}

/// On `vcpu`, task `next` runs in the place of task `previous` from now on (R7).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_switched(guest: *const Guest, vcpu: u32, previous: u64, next: u64) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().switch(VcpuId::new(vcpu), TaskId::new(previous), TaskId::new(next));
}

/// A handler on `vcpu` has returned (R6).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_interrupt_end(guest: *const Guest, vcpu: u32) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().interrupt_end(VcpuId::new(vcpu));
}

/// The library has reported that a task's region was left open (R2).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_leak_reported(guest: *const Guest, who: Who) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().leak_reported(who.asker());
}

/// Task `task` is gone (R2).
///
/// # Safety
/// 1. `guest` as for `mockxen_judge`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mockxen_task_exit(guest: *const Guest, task: u64) {
    // SAFETY: 1. the caller's promise.
    unsafe { known(guest) }.test.referee().task_exit(TaskId::new(task));
}
