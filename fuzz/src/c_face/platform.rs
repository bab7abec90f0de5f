//! The kernel's own functions, as C gives them to the face: what they answer, rightly or wrongly, and what they try meanwhile.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr;

use pvmmu::error::Code;
use pvmmu::platform::{Here, Kernel, PVMMU_CONTEXT_INTERRUPT, PVMMU_CONTEXT_TASK, Platform, Queue};
use pvmmu::region::{Task, pvmmu_enter, pvmmu_leave};
use pvmmu::report::{
    PVMMU_REPORT_FAILED, PVMMU_REPORT_LEAKED_REGION, PVMMU_REPORT_MULTICALL_REFUSED, PVMMU_REPORT_UNBALANCED_PAUSE,
    Report,
};
use pvmmu::switch::{pvmmu_interrupt_flush, pvmmu_stats};
use pvmmu::words::{Mfn, Pte, Slot, Vcpus};

use super::ground::Ground;
use super::words::{Told, failed_of, pte_of, toggled};

/// What `lock` gets wrong, once.
#[derive(arbitrary::Arbitrary, Clone, Copy, Debug)]
pub(super) enum WrongLock {
    /// It has no queue.
    None,
    /// It hands out the other vCPU's.
    Other,
    /// Its queue has not been initialised.
    Never,
    /// Its queue is no place for one.
    Unaligned,
    /// It tells of a vCPU that is not the queue's.
    Vcpu(u32),
    /// It tells of no context there is.
    Context(u32),
}

/// What the platform's functions find behind `data`.
pub(super) struct Behind<'g> {
    pub(super) ground: &'g Ground<'g>,
    pub(super) queues: [*mut Queue; 2],
    pub(super) kernel: *mut Kernel,
    /// One that has not been initialised.
    pub(super) never: *mut Queue,
    pub(super) wrong_lock: Cell<Option<WrongLock>>,
    /// The task by which callbacks come back, which is in a call.
    pub(super) comes_back: Cell<*mut Task>,
}

/// What a callback of a call finds behind its own `data`.
pub(super) struct Asked<'b, 'g> {
    pub(super) behind: &'b Behind<'g>,
    pub(super) pte: u64,
    pub(super) told: Vec<u64>,
}

/// The functions; `table` is there where `maps` says so, and knows no table.
pub(super) fn platform(behind: &Behind<'_>, maps: bool) -> Platform {
    Platform {
        data: ptr::from_ref(behind).cast_mut().cast(),
        lock: Some(lock),
        unlock: Some(unlock),
        hypercall: Some(hypercall),
        load: Some(load),
        online: Some(online),
        flush_others: Some(flush_others),
        report: Some(report),
        fatal: Some(fatal),
        table: if maps { Some(table) } else { None },
        store: None,
    }
}

/// # Safety
/// 1. `data` is that of [`platform`].
unsafe fn behind<'b>(data: *mut c_void) -> &'b Behind<'b> {
    // SAFETY: 1. the caller's promise; 2. it is only shared.
    unsafe { &*data.cast::<Behind<'b>>() }
}

impl Behind<'_> {
    fn expect(&self, code: Code, wanted: Code, what: &str) {
        if code != wanted {
            self.ground.stray(format!("{what} answers {code:?}, not {wanted:?}"));
        }
    }

    /// A callback that runs within a step uses the library, and is refused whatever it tries (R9).
    fn come_back_within(&self, what: &str) {
        let task = self.comes_back.get();
        if task.is_null() {
            return;
        }
        // SAFETY: 1. the task and the kernel live as long as the face.
        let codes = unsafe {
            [
                pvmmu_enter(task, ptr::null_mut()),
                pvmmu_stats(self.kernel, ptr::null_mut(), ptr::null_mut()),
                pvmmu_interrupt_flush(self.kernel, ptr::null_mut()),
            ]
        };
        codes.into_iter().for_each(|code| self.expect(code, Code::WithinStep, what));
    }

    /// One that runs outside of steps comes back by the task that is in the call.
    fn come_back(&self, what: &str) {
        if self.ground.is_masked() {
            self.ground.stray(format!("{what} is called with a vCPU taken"));
        }
        let task = self.comes_back.get();
        if task.is_null() || self.ground.is_handler.get() {
            return;
        }
        // SAFETY: 1. the task lives as long as the face.
        let codes = unsafe { [pvmmu_leave(task, ptr::null_mut()), pvmmu_enter(task, ptr::null_mut())] };
        codes.into_iter().for_each(|code| self.expect(code, Code::Busy, what));
    }

    /// What `lock` answers when it goes wrong.
    fn lock_wrongly(&self, wrong: WrongLock, here: &mut Here) -> *mut Queue {
        let own = self.queues[self.ground.vcpu.get()];
        match wrong {
            WrongLock::None => ptr::null_mut(),
            WrongLock::Other => self.queues[1 - self.ground.vcpu.get()],
            WrongLock::Never => self.never,
            WrongLock::Unaligned => own.wrapping_byte_add(64),
            WrongLock::Vcpu(number) => {
                here.vcpu = number.max(2);
                own
            }
            WrongLock::Context(number) => {
                here.context = number.max(2);
                own
            }
        }
    }
}

unsafe extern "C" fn lock(data: *mut c_void, here: *mut Here) -> *mut Queue {
    // SAFETY: 1. the face passes the platform's `data`, and a place for where the step runs.
    let (behind, here) = unsafe { (behind(data), &mut *here) };
    let ground = behind.ground;
    here.saved = ground.mask();
    here.vcpu = ground.vcpu.get() as u32;
    here.context = if ground.is_handler.get() { PVMMU_CONTEXT_INTERRUPT } else { PVMMU_CONTEXT_TASK };
    match behind.wrong_lock.take() {
        Some(wrong) => behind.lock_wrongly(wrong, here),
        None => behind.queues[ground.vcpu.get()],
    }
}

unsafe extern "C" fn unlock(data: *mut c_void, here: *const Here) {
    // SAFETY: 1. as in `lock`.
    let (behind, here) = unsafe { (behind(data), &*here) };
    if here.saved != behind.ground.depth() {
        behind.ground.stray("`unlock` is not passed what its `lock` filled in");
    }
    behind.ground.unmask();
}

unsafe extern "C" fn hypercall(data: *mut c_void, number: u64, arguments: *const u64) -> i64 {
    // SAFETY: 1. as in `lock`; the arguments are five.
    let (behind, arguments) = unsafe { (behind(data), *arguments.cast::<[u64; 5]>()) };
    if !behind.ground.is_masked() {
        behind.ground.stray("a hypercall without a vCPU");
    }
    behind.come_back_within("a call from within a hypercall");
    behind.ground.hypercall(number, arguments)
}

unsafe extern "C" fn load(data: *mut c_void, slot: Slot) -> Pte {
    // SAFETY: 1. as in `lock`.
    let behind = unsafe { behind(data) };
    Pte { bits: behind.ground.load(::hypercall::PteSlot::from_bits(slot.bits)).bits() }
}

unsafe extern "C" fn online(data: *mut c_void, vcpus: *mut Vcpus) {
    // SAFETY: 1. as in `lock`, and a place for vCPUs.
    let (behind, vcpus) = unsafe { (behind(data), &mut *vcpus) };
    behind.come_back("`online`");
    vcpus.words = *behind.ground.online().words();
}

unsafe extern "C" fn flush_others(data: *mut c_void, table: Mfn) {
    // SAFETY: 1. as in `lock`.
    let behind = unsafe { behind(data) };
    behind.come_back("`flush_others`");
    behind.ground.flush_others(table.number, || {
        // SAFETY: 1. the kernel lives as long as the face.
        let code = unsafe { pvmmu_interrupt_flush(behind.kernel, ptr::null_mut()) };
        behind.expect(code, Code::None, "the other vCPU's handler");
    });
}

unsafe extern "C" fn report(data: *mut c_void, report: *const Report) {
    // SAFETY: 1. as in `lock`, and a report.
    let (behind, report) = unsafe { (behind(data), &*report) };
    behind.come_back("`report`");
    let failed = || failed_of(&report.failure).map_or(Told::Other, Told::Failed);
    behind.ground.report(match report.kind {
        PVMMU_REPORT_FAILED => failed(),
        PVMMU_REPORT_LEAKED_REGION => Told::Leaked(report.value),
        PVMMU_REPORT_UNBALANCED_PAUSE => Told::Unbalanced(report.value),
        PVMMU_REPORT_MULTICALL_REFUSED => Told::Refused(report.value),
        _ => Told::Other,
    });
}

/// No program here lets `lock` go wrong in the middle of a call.
unsafe extern "C" fn fatal(_data: *mut c_void, code: Code) {
    eprintln!("the face gives up with {code:?}");
    std::process::abort();
}

/// A plain store, to a page that is no table.
pub(super) unsafe extern "C" fn store(data: *mut c_void, slot: Slot, pte: Pte) {
    // SAFETY: 1. as in `lock`.
    let ground = unsafe { behind(data) }.ground;
    let slot = ::hypercall::PteSlot::from_bits(slot.bits);
    if let Err(error) = ground.guest.xen().write_plain(slot.table(), slot.index(), pte.bits) {
        ground.stray(format!("a store that faults: {error}"));
    }
}

unsafe extern "C" fn table(data: *mut c_void, _table: Mfn) -> *const u64 {
    // SAFETY: 1. as in `lock`.
    let _ = unsafe { behind(data) };
    ptr::null()
}

/// The entry for a range.
pub(super) unsafe extern "C" fn entry(data: *mut c_void, n: usize) -> Pte {
    // SAFETY: 1. the face passes what the call was given: an `Asked`.
    let asked = unsafe { &*data.cast::<Asked<'_, '_>>() };
    asked.behind.come_back_within("`pte_of`");
    Pte { bits: pte_of(n, asked.pte) }
}

/// The change of an entry.
pub(super) unsafe extern "C" fn change(data: *mut c_void, _n: usize, known: Pte, pte: *mut Pte) -> u32 {
    // SAFETY: 1. as in `entry`.
    let asked = unsafe { &*data.cast::<Asked<'_, '_>>() };
    asked.behind.come_back_within("`change`");
    let Some(bits) = toggled(known.bits) else { return 0 };
    // SAFETY: 1. a place for the new entry.
    unsafe { (*pte).bits = bits };
    1
}

/// What a harvest tells.
pub(super) unsafe extern "C" fn held(data: *mut c_void, slot: Slot, held: Pte) {
    // SAFETY: 1. as in `entry`; 2. nobody else has it during the call.
    let asked = unsafe { &mut *data.cast::<Asked<'_, '_>>() };
    asked.behind.come_back("`each`");
    asked.told.extend([slot.bits, held.bits]);
}
