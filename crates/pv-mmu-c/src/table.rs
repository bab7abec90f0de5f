//! The life of a page table, by a handle whose state is checked at run time.
//!
//! Protocol. A draft is the kernel's memory and takes stores; `validate` or `attach` makes it live; a live one takes
//! operations on its slots; `retire` gives it back as a draft. A call that does not fit the state is refused with
//! `PVMMU_ERROR_TABLE_STATE`. Where one fails on its way, the handle is in the state that the table is in.

use core::{ffi::c_void, fmt, mem};

use hypercall::{ENTRIES_PER_TABLE, Level, PteSlot, VirtAddr};
use pv_mmu::{
    Dynamic,
    table::{Alias, Draft, Live, NotRewritten, TableMemory},
};

use crate::{
    entries::{Change, ask},
    error::{Code, Refusal, Why, answer},
    face::{Face, as_task},
    platform::{Functions, Kernel},
    region::{Task, put},
    storage::{self, Kept, Storage, Taken},
    words::{Mfn, Pte, Slot, Va},
};

/// The table is memory.
pub const PVMMU_TABLE_DRAFT: u32 = 1;
/// The processor may walk it.
pub const PVMMU_TABLE_LIVE: u32 = 2;

/// Words of `struct pvmmu_table`.
pub const PVMMU_TABLE_WORDS: usize = 24;

/// A page table's handle.
#[repr(C, align(16))]
pub struct Table {
    opaque: [u64; PVMMU_TABLE_WORDS],
}

impl Storage for Table {
    type Value = State;
    const MARK: u64 = u64::from_le_bytes(*b"pvmmu/p1");
}

/// Where a table is in its life.
pub(crate) enum State {
    Draft(Draft<Page>),
    Live(Live<Page>),
    /// Within a call.
    Between,
}

/// The page, behind the platform's `load` and `store`.
pub(crate) struct Page {
    kernel: &'static Functions,
    frame: hypercall::Mfn,
    alias: Alias,
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.frame, f)
    }
}

impl TableMemory for Page {
    fn frame(&self) -> hypercall::Mfn {
        self.frame
    }

    fn alias(&self) -> Alias {
        self.alias
    }

    fn load(&self, index: usize) -> hypercall::Pte {
        self.kernel.load(PteSlot::of(self.frame, index))
    }

    fn store(&mut self, index: usize, pte: hypercall::Pte) {
        self.kernel.store(PteSlot::of(self.frame, index), pte);
    }
}

impl State {
    const fn number(&self) -> u32 {
        match self {
            Self::Draft(_) => PVMMU_TABLE_DRAFT,
            Self::Live(_) => PVMMU_TABLE_LIVE,
            Self::Between => 0,
        }
    }

    fn wrong(&self) -> Refusal {
        Refusal::of(Code::TableState, self.number().into())
    }

    /// The draft it is.
    fn draft(&mut self) -> Result<&mut Draft<Page>, Refusal> {
        match self {
            Self::Draft(draft) => Ok(draft),
            other => Err(other.wrong()),
        }
    }
}

/// The table, for one call.
///
/// # Safety
/// 1. `table` is null or a table's handle.
unsafe fn take<'t>(table: *mut Table) -> Result<Taken<'t, State>, Refusal> {
    // SAFETY: 1. the caller's promise.
    unsafe { storage::check(table, 1) }.and_then(Kept::take)
}

/// Lets a task of its own context make something else of the table.
///
/// # Safety
/// 1. `table` is null or a table's handle, `task` a task.
unsafe fn turn(
    table: *mut Table,
    task: *mut Task,
    step: impl FnOnce(State, &mut Dynamic<'_, Face<'_>>) -> (State, Result<(), Refusal>),
) -> Result<(), Refusal> {
    // SAFETY: 1. the caller's promise.
    let mut taken = unsafe { take(table) }?;
    let turn = |dynamic: &mut Dynamic<'_, Face<'_>>| {
        let (state, result) = step(mem::replace(&mut *taken, State::Between), dynamic);
        *taken = state;
        result
    };
    // SAFETY: 1. the caller's promise.
    unsafe { as_task(task, turn) }
}

/// Initialises the handle of a table of `level` (1 to 4), of `bytes` bytes (`sizeof(struct pvmmu_table)`), as a draft:
/// the page in `frame`, which the kernel has mapped at `alias` by the entry `writable` and nowhere else writable, with
/// what is stored there. Nothing reaches it, so none of R1 to R18 is about what is stored in
/// it.
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_SIZE`, `PVMMU_ERROR_NOT_INITIALISED`,
/// `PVMMU_ERROR_ARGUMENT` (the level), `PVMMU_ERROR_ADDRESS`, `PVMMU_ERROR_MISSING_FUNCTION` (9: `store`).
///
/// # Safety
/// 1. Pointers; `table` has `bytes` bytes, and nobody uses it yet. 2. Nobody else stores to the page.
#[allow(clippy::too_many_arguments, reason = "C has no structures that grow")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_init(
    table: *mut Table,
    bytes: usize,
    kernel: *const Kernel,
    level: u32,
    frame: Mfn,
    alias: Va,
    writable: Pte,
    why: *mut Why,
) -> Code {
    let draft = |address: VirtAddr| {
        // SAFETY: 1. the caller's promise.
        let kept = unsafe { storage::check(kernel, 3) }?;
        // SAFETY: 1. a kernel is never written again and outlives its tables.
        let kernel = unsafe { &*kept.get() };
        if !kernel.stores() {
            return Err(Refusal::of(Code::MissingFunction, 9));
        }
        let place = (level as usize).checked_sub(1).and_then(|place| Level::ALL.get(place));
        let level = *place.ok_or(Refusal::of(Code::Argument, level.into()))?;
        let page = Page { kernel, frame: frame.native(), alias: Alias { address, writable: writable.native() } };
        // SAFETY: 1. the caller's promise.
        unsafe { storage::init(table, bytes, 1, State::Draft(Draft::new(page, level))) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(alias.check().and_then(draft), why) }
}

/// Takes the page of a draft back: the handle is none any more. Refused while the processor may walk it (R12).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_BUSY`,
/// `PVMMU_ERROR_TABLE_STATE`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_forget(table: *mut Table, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let forgotten = unsafe { storage::check(table, 1) }.and_then(|kept| {
        kept.take()?.draft()?;
        kept.forget();
        Ok(())
    });
    // SAFETY: 1. the caller's promise.
    unsafe { answer(forgotten, why) }
}

/// Where the table is in its life: `PVMMU_TABLE_DRAFT` or `PVMMU_TABLE_LIVE`. What is stored and what is queued follows
/// from it (R11).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_UNALIGNED`, `PVMMU_ERROR_NOT_INITIALISED`, `PVMMU_ERROR_BUSY`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_state(table: *mut Table, state: *mut u32, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let number = unsafe { take(table) }.map(|taken| taken.number());
    // SAFETY: 1. the caller's promise.
    unsafe { answer(number.and_then(|number| put(state, 2, number)), why) }
}

/// Stores entry `index` (0 to 511) of a draft. A live table takes operations only (R10).
///
/// Errors: as `pvmmu_table_forget`; `PVMMU_ERROR_ARGUMENT` (the index).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_store(table: *mut Table, index: usize, pte: Pte, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let stored = unsafe { take(table) }.and_then(|mut taken| {
        let draft = taken.draft()?;
        check_index(index).map(|()| draft.store(index, pte.native()))
    });
    // SAFETY: 1. the caller's promise.
    unsafe { answer(stored, why) }
}

/// Reads entry `index` (0 to 511) of a draft. Of a table that was retired, accessed and dirty are final (R11).
///
/// Errors: as `pvmmu_table_store`; `PVMMU_ERROR_NULL`.
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_load(table: *mut Table, index: usize, pte: *mut Pte, why: *mut Why) -> Code {
    // SAFETY: 1. the caller's promise.
    let loaded = unsafe { take(table) }.and_then(|mut taken| {
        let draft = taken.draft()?;
        check_index(index).map(|()| Pte::of(draft.load(index)))
    });
    // SAFETY: 1. the caller's promise.
    unsafe { answer(loaded.and_then(|held| put(pte, 3, held)), why) }
}

fn check_index(index: usize) -> Result<(), Refusal> {
    if index < ENTRIES_PER_TABLE { Ok(()) } else { Err(Refusal::of(Code::Argument, index as u64)) }
}

/// Makes a draft live by a pin, in one hypercall with what is queued (R3). It is effective when this returns.
///
/// Errors: `PVMMU_ERROR_TABLE_STATE`; `PVMMU_ERROR_FAILED`: it is a draft as before; `PVMMU_ERROR_INTERRUPT`; those of
/// a handle (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_validate(table: *mut Table, task: *mut Task, why: *mut Why) -> Code {
    let validate = |state, dynamic: &mut Dynamic<'_, Face<'_>>| match state {
        State::Draft(draft) => match draft.validate(dynamic) {
            Ok(live) => (State::Live(live), Ok(())),
            Err(error) => (State::Draft(error.draft), Err(error.failure.into())),
        },
        other => {
            let wrong = other.wrong();
            (other, Err(wrong))
        }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(turn(table, task, validate), why) }
}

/// Lets the entry `at`, one level above, point to the table with the flags of `flags` (its frame is not looked at): a
/// draft becomes live by it, a live one is moved there from the entry that pointed to it before. In one hypercall with
/// what is queued (R3).
///
/// Errors: `PVMMU_ERROR_SLOT`; `PVMMU_ERROR_FAILED`: it is as before; `PVMMU_ERROR_INTERRUPT`; those of a handle
/// (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_attach(
    table: *mut Table,
    task: *mut Task,
    at: Slot,
    flags: Pte,
    why: *mut Why,
) -> Code {
    let attach = |at| {
        let step = |state, dynamic: &mut Dynamic<'_, Face<'_>>| match state {
            State::Draft(draft) => match draft.attach(dynamic, at, flags.flags()) {
                Ok(live) => (State::Live(live), Ok(())),
                Err(error) => (State::Draft(error.draft), Err(error.failure.into())),
            },
            State::Live(mut live) => {
                let attached = live.attach(dynamic, at, flags.flags()).map_err(Refusal::from);
                (State::Live(live), attached)
            }
            State::Between => (State::Between, Err(State::Between.wrong())),
        };
        // SAFETY: 1. the caller's promise.
        unsafe { turn(table, task, step) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(at.check().and_then(attach), why) }
}

/// Gives a live table up: entry, pin, and alias writable, in one hypercall with what is queued; `flush_others` is
/// called before (R12). It comes back as a draft with what it held last.
///
/// Errors: `PVMMU_ERROR_TABLE_STATE`; `PVMMU_ERROR_FAILED`: it is live as before; `PVMMU_ERROR_INTERRUPT`; those of a
/// handle (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_retire(table: *mut Table, task: *mut Task, why: *mut Why) -> Code {
    let retire = |state, dynamic: &mut Dynamic<'_, Face<'_>>| match state {
        State::Live(live) => match live.retire(dynamic) {
            Ok(draft) => (State::Draft(draft), Ok(())),
            Err(error) => (State::Live(error.live), Err(error.failure.into())),
        },
        other => {
            let wrong = other.wrong();
            (other, Err(wrong))
        }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(turn(table, task, retire), why) }
}

/// Changes `changes` of a live table's entries or fewer: by updates, or, where the measured costs say so, by giving the
/// table up, plain stores, and making it live again; `change` is asked for each of the 512 entries, or told of a few.
/// The caller holds the locks of the table and of the entry that points to it; the entry is empty meanwhile. Accessed
/// and dirty are kept by updates, and final in what `change` is told otherwise (R11).
///
/// Errors: `PVMMU_ERROR_NULL`, `PVMMU_ERROR_TABLE_STATE`; `PVMMU_ERROR_FAILED`: `pvmmu_table_state` tells whether it
/// was not given up and is live as before, or is a draft with the new entries that Xen does not accept;
/// `PVMMU_ERROR_INTERRUPT`; those of a handle (`pvmmu_table_forget`) and of every call by a task (`pvmmu_task_exit`).
///
/// # Safety
/// 1. Pointers; `change` can be called with `data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pvmmu_table_rewrite(
    table: *mut Table,
    task: *mut Task,
    changes: usize,
    change: Change,
    data: *mut c_void,
    why: *mut Why,
) -> Code {
    let rewrite = |change| {
        // SAFETY: 1. the caller's promise.
        let entry = |n, old| unsafe { ask(change, data, n, old) };
        let step = |state, dynamic: &mut Dynamic<'_, Face<'_>>| match state {
            State::Live(live) => rewritten(live.rewrite(dynamic, changes, entry)),
            other => {
                let wrong = other.wrong();
                (other, Err(wrong))
            }
        };
        // SAFETY: 1. the caller's promise.
        unsafe { turn(table, task, step) }
    };
    // SAFETY: 1. the caller's promise.
    unsafe { answer(change.ok_or(Refusal::null(4)).and_then(rewrite), why) }
}

fn rewritten(result: Result<Live<Page>, NotRewritten<Page>>) -> (State, Result<(), Refusal>) {
    match result {
        Ok(live) => (State::Live(live), Ok(())),
        Err(NotRewritten::Retired(error)) => (State::Live(error.live), Err(error.failure.into())),
        Err(NotRewritten::Validated(error)) => (State::Draft(error.draft), Err(error.failure.into())),
    }
}
