//! Operations on entries: queued in a region, effective at the return elsewhere.
//!
//! All may be called in every context. In a region they may wait, and failures are named by the leave. Elsewhere a single
//! operation answers with its failure, and those of a range go to `report` (R14).

use core::ffi::c_void;

use pv_mmu::{Dynamic, HeldBuffer, Known, Operations as _, ReadModifyWrite as _};

use crate::{
    error::{Code, Refusal, Why, answer},
    face::{Face, with_task},
    operation::Operation,
    region::{Task, can_put, put},
    storage::{self, Storage},
    words::{Pte, Slot},
};

/// Gives the entry for number `n` of a range, from 0 on. Runs with upcalls masked and must not use the library.
pub type PteOf = Option<unsafe extern "C" fn(data: *mut c_void, n: usize) -> Pte>;

/// Looks at `known`, entry number `n` of a range as the caller's operations have left it (R11), and answers with 1 and
/// the new entry in `pte`, or with 0 to leave it. Runs with upcalls masked and must not use the library.
pub type Change = Option<unsafe extern "C" fn(data: *mut c_void, n: usize, known: Pte, pte: *mut Pte) -> u32>;

/// Is told what the entry at `slot` held last, accessed and dirty final. Runs with upcalls as they were; the task is in
/// the call meanwhile.
pub type EachHeld = Option<unsafe extern "C" fn(data: *mut c_void, slot: Slot, held: Pte)>;

/// Entries that a `struct pvmmu_held` has room for.
pub const PVMMU_HELD_ENTRIES: usize = 512;
/// Words of `struct pvmmu_held`.
pub const PVMMU_HELD_WORDS: usize = 1032;

/// Room for what a table's entries held.
#[repr(C, align(16))]
pub struct Held {
    opaque: [u64; PVMMU_HELD_WORDS],
}

impl Storage for Held {
    type Value = HeldBuffer<PVMMU_HELD_ENTRIES>;
    const MARK: u64 = u64::from_le_bytes(*b"pvmmu/h1");
}

/// Harvest: leave no accessed or dirty bits behind in the entries, by a second update of each.
pub const PVMMU_HARVEST_CLEAN: u32 = 1;
/// Harvest: flush every TLB behind the entries, in the same batch (R12).
pub const PVMMU_HARVEST_FLUSH_TLBS: u32 = 2;

/// Sets an L1 entry of the caller's own tables. In a region it may wait (R1).
///
/// Errors: `PVMMU_ERROR_SLOT`; outside a region `PVMMU_ERROR_FAILED`; those of every call by a task
/// (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_set_pte(task: *mut Task, slot: Slot, pte: Pte, why: *mut Why) -> Code {
    let set = |slot| {
        // SAFETY: 1. the caller's promise.
        unsafe { with_task(task, |dynamic| Ok(dynamic.set_pte(slot, pte.native())?)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(set), why) }
}

/// Sets an L1 entry and keeps what accessed and dirty bits the processor has set in it until then (R11).
///
/// Errors: as `pvmmu_set_pte`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_commit_pte(task: *mut Task, slot: Slot, pte: Pte, why: *mut Why) -> Code {
    let set = |slot| {
        // SAFETY: 1. the caller's promise.
        unsafe { with_task(task, |dynamic| Ok(dynamic.commit_pte(slot, pte.native())?)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(set), why) }
}

/// Sets an entry of an L2, L3 or L4 table of the caller's own, in its place in the order (R3).
///
/// Errors: as `pvmmu_set_pte`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_set_upper(task: *mut Task, slot: Slot, pte: Pte, why: *mut Why) -> Code {
    let set = |slot| {
        // SAFETY: 1. the caller's promise.
        unsafe { with_task(task, |dynamic| Ok(dynamic.set_upper(slot, pte.native())?)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(set), why) }
}

/// Asks for any operation: a TLB flush, a pin, a base pointer, a descriptor, in its place in the order (R3, R10, R12).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_ARGUMENT`, `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_ADDRESS`; outside a region
/// `PVMMU_ERROR_FAILED`; those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers. 2. The operation takes nothing away that the kernel stands on, as for a hypercall of its own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_operation(task: *mut Task, operation: *const Operation, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let result = unsafe { read(operation, 2) }.and_then(|operation| operation.native()).and_then(|operation| {
        // SAFETY: 1. the caller's promise.
        unsafe { with_task(task, |dynamic| Ok(submit(dynamic, &operation)?)) }
    });
    // SAFETY: 1. the caller's promise.
    unsafe { answer(result, why) }
}

/// `mmuext_op`s of the caller's own have a way of their own, which looks at who is online.
fn submit<O: pv_mmu::Operations>(to: &mut O, operation: &hypercall::Operation) -> O::Answer {
    match operation {
        hypercall::Operation::Mmuext { op, .. } => to.mmuext(*op),
        other => to.operation(other),
    }
}

/// # Safety
/// 1. `place` is null, unaligned or can be read.
pub(crate) unsafe fn read<'a, T>(place: *const T, argument: u64) -> Result<&'a T, Refusal> {
    can_put(place.cast_mut(), argument)?;
    // SAFETY: 1. the caller's promise; 2. neither null nor unaligned.
    Ok(unsafe { &*place })
}

/// Reads an entry as the caller's operations have left it, pending ones included (R11).
///
/// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`; those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_read_pte(task: *mut Task, slot: Slot, pte: *mut Pte, why: *mut Why) -> Code {
    let look = |slot| {
        // SAFETY: 1. the caller's promise.
        let held = unsafe { with_task(task, |dynamic| Ok(dynamic.read_pte(slot))) }?;
        // SAFETY: 1. the caller's promise.
        unsafe { put(pte, 3, Pte::of(held)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(look), why) }
}

/// Sets `count` consecutive L1 entries of one table from `slot` on: part of the queue when lazy, else one array in one
/// hypercall. `pte_of` gives each. In order with what is queued (R1, R3).
///
/// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_EMPTY_RANGE`, `PVMMU_ERROR_BEYOND_TABLE`; those of
/// every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers; `pte_of` can be called with `data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_set_ptes(
    task: *mut Task,
    slot: Slot,
    count: usize,
    pte_of: PteOf,
    data: *mut c_void,
    why: *mut Why,
) -> Code {
    let set = |slot| {
        let pte_of = pte_of.ok_or(Refusal::null(4))?;
        // SAFETY: 1. the caller's promise.
        let entry = |n| unsafe { pte_of(data, n) }.native();
        // SAFETY: 1. the caller's promise.
        unsafe { with_task(task, |dynamic| Ok(dynamic.set_ptes(slot, count, entry)?)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(set), why) }
}

/// Changes `count` consecutive L1 entries of one table by what they hold: `change` decides for each. Accessed and dirty
/// that the processor sets meanwhile are kept. The caller holds the lock that keeps others from the entries until the
/// leave (R3, R11).
///
/// Errors: as `pvmmu_set_ptes`.
///
/// # Safety
/// 1. Pointers; `change` can be called with `data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_modify(
    task: *mut Task,
    slot: Slot,
    count: usize,
    change: Change,
    data: *mut c_void,
    why: *mut Why,
) -> Code {
    let modify = |slot| {
        let change = change.ok_or(Refusal::null(4))?;
        // SAFETY: 1. the caller's promise.
        let entry = |n, known: Known| unsafe { ask(change, data, n, known.pte()) };
        // SAFETY: 1. the caller's promise.
        unsafe { with_task(task, |dynamic| Ok(dynamic.modify_range(slot, count, entry)?)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(modify), why) }
}

/// The entry that `change` wants.
///
/// # Safety
/// 1. `change` can be called with `data`.
#[inline]
pub(crate) unsafe fn ask(
    change: unsafe extern "C" fn(*mut c_void, usize, Pte, *mut Pte) -> u32,
    data: *mut c_void,
    n: usize,
    known: hypercall::Pte,
) -> Option<hypercall::Pte> {
    let mut pte = Pte::of(known);
    // SAFETY: 1. the caller's promise.
    let changes = unsafe { change(data, n, Pte::of(known), &raw mut pte) };
    (changes != 0).then_some(pte.native())
}

/// Takes from `count` consecutive L1 entries of one table the right to store; accessed and dirty stay. The caller
/// flushes (R3, R11).
///
/// Errors: as `pvmmu_set_ptes`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_wrprotect(task: *mut Task, slot: Slot, count: usize, why: *mut Why) -> Code {
    let protect = |slot| {
        // SAFETY: 1. the caller's promise.
        unsafe { with_task(task, |dynamic| Ok(dynamic.wrprotect_range(slot, count)?)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(protect), why) }
}

/// Empties an L1 entry and answers with what it held last, accessed and dirty final (R11). Flushes what is queued; for
/// many entries see `pvmmu_harvest`.
///
/// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_NOT_CLEARED`; those of every call by a task
/// (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_get_and_clear(task: *mut Task, slot: Slot, held: *mut Pte, why: *mut Why) -> Code {
    let clear = |slot| {
        can_put(held, 3)?;
        // SAFETY: 1. the caller's promise.
        let cleared = unsafe { with_task(task, |dynamic| Ok(dynamic.get_and_clear(slot)?)) }?;
        // SAFETY: 1. the caller's promise.
        unsafe { put(held, 3, Pte::of(cleared.pte())) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(clear), why) }
}

/// Initialises room for what entries held, of `bytes` bytes (`sizeof(struct pvmmu_held)`). One for each vCPU or task is
/// enough; it is used in one call at a time. What a harvest (R11) is given.
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`.
///
/// # Safety
/// 1. Pointers; `held` has `bytes` bytes, and nobody uses it yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_held_init(held: *mut Held, bytes: usize, why: *mut Why) -> Code {
    const EMPTY: &HeldBuffer<PVMMU_HELD_ENTRIES> = &HeldBuffer::new();
    // SAFETY: 1. there is room for a value where this is told; 2. an empty buffer holds nothing that a copy would share.
    let write = |place: *mut HeldBuffer<PVMMU_HELD_ENTRIES>| unsafe { place.copy_from_nonoverlapping(EMPTY, 1) };
    // SAFETY: 1. the caller's promise; 2. it writes all of it.
    unsafe { answer(storage::init_by(held, bytes, 1, write), why) }
}

/// Empties `count` consecutive L1 entries of one table, flushes once, and tells `each` what every entry held last, in
/// order. Entries that held nothing, or that could not be emptied, are not told; failures are as for a range.
/// `options`: any of `PVMMU_HARVEST_*`. `room` is the call's until it returns.
/// What was queued for the entries goes out before (R10, R11).
///
/// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_ARGUMENT`, `PVMMU_ERROR_EMPTY_RANGE`,
/// `PVMMU_ERROR_BEYOND_TABLE`; of `room` those of a task; those of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers; `each` can be called with `data`.
#[allow(clippy::too_many_arguments, reason = "C has no structures that grow")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_harvest(
    task: *mut Task,
    slot: Slot,
    count: usize,
    options: u32,
    room: *mut Held,
    each: EachHeld,
    data: *mut c_void,
    why: *mut Why,
) -> Code {
    let gather = |slot| {
        let each = each.ok_or(Refusal::null(6))?;
        // SAFETY: 1. the caller's promise.
        let tell = |held: &pv_mmu::Held| unsafe { each(data, Slot::of(held.slot()), Pte::of(held.pte())) };
        // SAFETY: 1. the caller's promise.
        unsafe { harvest(task, (slot, count), options, room, tell) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(gather), why) }
}

/// # Safety
/// 1. As [`pvmmu_harvest`].
unsafe fn harvest(
    task: *mut Task,
    (slot, count): (hypercall::PteSlot, usize),
    options: u32,
    room: *mut Held,
    tell: impl Fn(&pv_mmu::Held),
) -> Result<(), Refusal> {
    if options & !(PVMMU_HARVEST_CLEAN | PVMMU_HARVEST_FLUSH_TLBS) != 0 {
        return Err(Refusal::of(Code::Argument, options.into()));
    }
    // SAFETY: 1. the caller's promise.
    let mut buffer = unsafe { storage::check(room, 5) }?.take()?;
    let gather = |dynamic: &mut Dynamic<'_, Face<'_>>| {
        let mut harvest = dynamic.harvest(&mut buffer);
        if options & PVMMU_HARVEST_CLEAN != 0 {
            harvest = harvest.cleaning();
        }
        harvest.get_and_clear_range(slot, count).map_err(|error| Refusal::harvest(error, count))?;
        if options & PVMMU_HARVEST_FLUSH_TLBS != 0 {
            harvest.flush_tlbs();
        }
        harvest.finish().iter().for_each(tell);
        Ok(())
    };
    // SAFETY: 1. the caller's promise.
    unsafe { with_task(task, gather) }
}

/// Which of `count` consecutive L1 entries of one table were used: bit n % 64 of word n / 64 of `young`, 8 words. From
/// now on they count as not used; dirty stays. An entry that is used, writable and not dirty is read-only for a moment,
/// and flushes (R11).
///
/// Errors: `PVMMU_ERROR_SLOT`, `PVMMU_ERROR_NULL`, `PVMMU_ERROR_EMPTY_RANGE`, `PVMMU_ERROR_BEYOND_TABLE`; those of
/// every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers; `young` has 8 words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_test_and_clear_young(
    task: *mut Task,
    slot: Slot,
    count: usize,
    young: *mut u64,
    why: *mut Why,
) -> Code {
    let age = |slot| {
        let words = young.cast::<[u64; 8]>();
        can_put(words, 4)?;
        // SAFETY: 1. the caller's promise.
        let found = unsafe { with_task(task, |dynamic| Ok(dynamic.test_and_clear_young_range(slot, count)?)) }?;
        let word =
            |word: usize| (0..64).filter(|bit| found.contains(64 * word + bit)).fold(0, |all, bit| all | 1 << bit);
        // SAFETY: 1. the caller's promise.
        unsafe { put(words, 4, core::array::from_fn(word)) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(slot.check().and_then(age), why) }
}
