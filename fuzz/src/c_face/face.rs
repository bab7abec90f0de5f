//! A kernel in C, as far as Rust can play one: its memory, and the calls of the header.
//!
//! What the header leaves undefined stays out: pointers that lead nowhere or to what is used otherwise, storage that is given
//! up while it is used, callbacks that do not return, and a `lock` that goes wrong in the middle of a call, where there is
//! nobody to be answered.

use std::cell::Cell;
use std::ptr;

use arbitrary::Arbitrary;
use mock_xen::testing::TestGuest;
use pvmmu::entries::{
    Held, pvmmu_commit_pte, pvmmu_get_and_clear, pvmmu_harvest, pvmmu_held_init, pvmmu_modify, pvmmu_operation,
    pvmmu_read_pte, pvmmu_set_pte, pvmmu_set_ptes, pvmmu_set_upper, pvmmu_test_and_clear_young, pvmmu_wrprotect,
};
use pvmmu::error::{Code, NamedFailure, Why};
use pvmmu::operation::Operation as Wish;
use pvmmu::platform::{Kernel, Platform, Queue, pvmmu_kernel_init, pvmmu_queue_init};
use pvmmu::region::{
    Task, pvmmu_enter, pvmmu_flush, pvmmu_is_lazy, pvmmu_leave, pvmmu_pause, pvmmu_resume, pvmmu_task_exit,
    pvmmu_task_init,
};
use pvmmu::switch::{Stats, pvmmu_interrupt_flush, pvmmu_stats, pvmmu_switch};
use pvmmu::words::{Pte, Slot};

use super::TASKS;
use super::ground::Ground;
use super::misuse::{Misuse, misuse};
use super::platform::{self, Asked, Behind, WrongLock, platform};
use super::room::Room;
use super::words::{Answered, Call, failed_of, operation_of, slot};
use crate::Finding;

/// What a kernel calls: the face, or what it is held against.
pub(super) trait Face {
    fn call(&self, task: usize, call: &Call) -> Answered;
    fn switch(&self, wishes: &[Wish]) -> Answered;
    fn interrupt_flush(&self) -> Answered;
    /// The counts of the present vCPU, in the order of the header.
    fn stats(&self) -> Vec<u64>;
    /// A call with one thing wrong, which is refused and changes nothing.
    fn call_wrongly(&self, task: usize, call: &Call, wrong: Wrong) -> Result<(), Finding>;
    /// Something else that is refused and changes nothing.
    fn misuse(&self, task: usize, misuse: &Misuse) -> Result<(), Finding>;
}

/// What is wrong with a call.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(super) enum Wrong {
    TaskNull,
    TaskUnaligned,
    /// The task's memory holds whatever was there.
    TaskNever(u8),
    /// It holds something else of the library's.
    TaskIsAQueue,
    Lock(WrongLock),
    OutNull,
    OutUnaligned,
    CallbackNull,
}

/// The kernel.
pub(super) struct Hosted<'g> {
    pub(super) kernel: Room<Kernel>,
    pub(super) queues: [Room<Queue>; 2],
    pub(super) tasks: [Room<Task>; TASKS],
    held: Room<Held>,
    /// A kernel whose platform can store.
    storing: Room<Kernel>,
    _never: Room<Queue>,
    behind: Box<Behind<'g>>,
    profile: u32,
    comes_back: bool,
}

/// Where a call writes, and which of its functions are missing.
#[derive(Clone, Copy)]
struct Places {
    task: *mut Task,
    out: Option<usize>,
    has_callback: bool,
}

impl<'g> Hosted<'g> {
    /// `fill` is what its memory held before; `maps` whether it has the function `table`; `comes_back` whether its callbacks
    /// try to use the library.
    pub(super) fn new(ground: &'g Ground<'g>, profile: u32, (fill, maps, comes_back): (u8, bool, bool)) -> Self {
        let kernel = Room::<Kernel>::new(fill);
        let queues = [Room::<Queue>::new(fill), Room::<Queue>::new(fill)];
        let (never, storing) = (Room::<Queue>::new(fill), Room::<Kernel>::new(fill));
        let behind = Box::new(Behind {
            ground,
            queues: queues.each_ref().map(Room::at),
            kernel: kernel.at(),
            never: never.at(),
            wrong_lock: Cell::new(None),
            comes_back: Cell::new(ptr::null_mut()),
        });
        let tasks = std::array::from_fn(|_| Room::new(fill));
        let face =
            Self { kernel, queues, tasks, held: Room::new(fill), storing, _never: never, behind, profile, comes_back };
        face.init(maps);
        face
    }

    fn init(&self, maps: bool) {
        let (platform, none) = (platform(&self.behind, maps), ptr::null_mut());
        let storing = Platform { store: Some(platform::store), ..platform };
        let begin = |code: Code| assert_eq!(code, Code::None, "initialised");
        // SAFETY: 1. each has the room that is told; 2. the functions keep what is said of them.
        begin(unsafe { pvmmu_kernel_init(self.kernel.at(), size_of::<Kernel>(), &raw const platform, none) });
        // SAFETY: 1. and 2. as before.
        begin(unsafe { pvmmu_kernel_init(self.storing.at(), size_of::<Kernel>(), &raw const storing, none) });
        for (vcpu, queue) in (0..).zip(&self.queues) {
            // SAFETY: 1. it has the room that is told.
            begin(unsafe { pvmmu_queue_init(queue.at(), size_of::<Queue>(), vcpu, none) });
        }
        // SAFETY: 1. it has the room that is told.
        begin(unsafe { pvmmu_held_init(self.held.at(), size_of::<Held>(), none) });
        (0..TASKS).for_each(|task| self.begin(task));
    }

    /// What it tells the face of itself.
    pub(super) fn platform(&self) -> Platform {
        platform(&self.behind, false)
    }

    pub(super) const fn storing(&self) -> &Room<Kernel> {
        &self.storing
    }

    pub(super) fn guest(&self) -> &TestGuest {
        self.behind.ground.guest
    }

    fn begin(&self, task: usize) {
        let (at, bytes) = (self.tasks[task].at(), size_of::<Task>());
        // SAFETY: 1. it has the room that is told.
        let code = unsafe { pvmmu_task_init(at, bytes, self.kernel.at(), self.profile, ptr::null_mut()) };
        assert_eq!(code, Code::None, "initialised");
    }

    /// What a call answers by `code` and `why`.
    fn answered(&self, code: Code, why: &Why, out: Vec<u64>) -> Answered {
        let ground = self.behind.ground;
        if code == Code::None {
            if why.failed != UNTOLD.failed || why.value != UNTOLD.value {
                ground.stray("`why` is written by a call that is done");
            }
            return Answered::with(out);
        }
        if why.code != code {
            ground.stray(format!("{code:?} is answered, and `why` says {:?}", why.code));
        }
        let named = why.failures.iter().take(why.failed as usize);
        let failures = named.filter_map(|failure| {
            let failed = failed_of(failure);
            if failed.is_none() {
                ground.stray(format!("a failure that is none: {failure:?}"));
            }
            failed
        });
        let failures = failures.collect();
        Answered { limit: why.limit, failed: why.failed, failures, ..Answered::of(code, why.value) }
    }

    fn make(&self, places: &Places, call: &Call) -> Answered {
        let (mut why, mut out) = (UNTOLD, Vec::new());
        let to = &raw mut why;
        let code = match call {
            Call::Range(..) | Call::Toggle(..) | Call::Harvest(..) => self.make_by_callback(places, call, to, &mut out),
            Call::Read(_) | Call::GetAndClear(_) | Call::Young(..) | Call::IsLazy => {
                Self::make_with_answer(places, call, to, &mut out)
            }
            _ => Self::make_plain(places.task, call, to),
        };
        self.answered(code, &why, out)
    }

    fn make_plain(task: *mut Task, call: &Call, to: *mut Why) -> Code {
        let (at, pte) = (|bits| Slot { bits }, |bits| Pte { bits });
        // SAFETY: 1. the task lives as long as the face, or is one that is refused before anything is done with it; 2. `to` is
        // the caller's.
        unsafe {
            match *call {
                Call::Set(slot, bits) => pvmmu_set_pte(task, at(slot), pte(bits), to),
                Call::Commit(slot, bits) => pvmmu_commit_pte(task, at(slot), pte(bits), to),
                Call::Upper(slot, bits) => pvmmu_set_upper(task, at(slot), pte(bits), to),
                Call::Operation(ref wish) => pvmmu_operation(task, wish, to),
                Call::WriteProtect(slot, count) => pvmmu_wrprotect(task, at(slot), count, to),
                Call::Enter => pvmmu_enter(task, to),
                Call::Leave => pvmmu_leave(task, to),
                Call::Pause => pvmmu_pause(task, to),
                Call::Resume => pvmmu_resume(task, to),
                Call::Exit => pvmmu_task_exit(task, to),
                _ => pvmmu_flush(task, to),
            }
        }
    }

    fn make_with_answer(places: &Places, call: &Call, to: *mut Why, out: &mut Vec<u64>) -> Code {
        let (task, mut pte, mut lazy, mut young) = (places.task, Pte::default(), 0_u32, [0_u64; 8]);
        // SAFETY: 1. as in `make_plain`; 2. each place is the caller's, or one that is refused.
        let code = unsafe {
            match *call {
                Call::Read(bits) => pvmmu_read_pte(task, Slot { bits }, places.out(&raw mut pte), to),
                Call::GetAndClear(bits) => pvmmu_get_and_clear(task, Slot { bits }, places.out(&raw mut pte), to),
                Call::Young(bits, count) => {
                    pvmmu_test_and_clear_young(task, Slot { bits }, count, places.out(young.as_mut_ptr()), to)
                }
                _ => pvmmu_is_lazy(task, places.out(&raw mut lazy), to),
            }
        };
        match call {
            Call::Young(..) => out.extend(young),
            Call::IsLazy => out.push(lazy.into()),
            _ => out.push(pte.bits),
        }
        code
    }

    fn make_by_callback(&self, places: &Places, call: &Call, to: *mut Why, out: &mut Vec<u64>) -> Code {
        let pte = if let Call::Range(_, _, pte) = *call { pte } else { 0 };
        let mut asked = Asked { behind: &self.behind, pte, told: Vec::new() };
        let (task, data) = (places.task, (&raw mut asked).cast());
        // SAFETY: 1. as in `make_plain`; 2. the callbacks can be called with `data`, which nobody else uses meanwhile.
        let code = unsafe {
            match *call {
                Call::Range(bits, count, _) => {
                    let entry = places.callback(platform::entry as EntryOf);
                    pvmmu_set_ptes(task, Slot { bits }, count, entry, data, to)
                }
                Call::Toggle(bits, count) => {
                    let change = places.callback(platform::change as ChangeOf);
                    pvmmu_modify(task, Slot { bits }, count, change, data, to)
                }
                Call::Harvest(bits, count, options) => {
                    let each = places.callback(platform::held as EachOf);
                    pvmmu_harvest(task, Slot { bits }, count, options, self.held.at(), each, data, to)
                }
                _ => Code::None,
            }
        };
        out.append(&mut asked.told);
        code
    }
}

type EntryOf = unsafe extern "C" fn(*mut std::ffi::c_void, usize) -> Pte;
type ChangeOf = unsafe extern "C" fn(*mut std::ffi::c_void, usize, Pte, *mut Pte) -> u32;
type EachOf = unsafe extern "C" fn(*mut std::ffi::c_void, Slot, Pte);

impl Places {
    const fn of(task: *mut Task) -> Self {
        Self { task, out: None, has_callback: true }
    }

    /// Where an answer is to go that has its right place at `right`.
    fn out<T>(&self, right: *mut T) -> *mut T {
        self.out.map_or(right, |offset| if offset == 0 { ptr::null_mut() } else { right.wrapping_byte_add(offset) })
    }

    fn callback<F>(&self, callback: F) -> Option<F> {
        self.has_callback.then_some(callback)
    }
}

/// A `why` that nobody has written.
pub(super) const UNTOLD: Why = Why {
    code: Code::None,
    failed: 0xdead,
    value: 0xdead,
    limit: 0xdead,
    failures: [NamedFailure { operation: NO_WISH, errno: 0 }; 4],
};

/// Nothing.
pub(super) const NO_WISH: Wish = Wish {
    kind: 0,
    detail: 0,
    slot: Slot { bits: 0 },
    pte: Pte { bits: 0 },
    frame: pvmmu::words::Mfn { number: 0 },
    address: pvmmu::words::Va { address: 0 },
    value: 0,
    vcpus: pvmmu::words::Vcpus { words: [0; 2] },
};

/// Whether nothing is wrong with a call's own words.
fn is_sound(call: &Call) -> bool {
    match *call {
        Call::Set(bits, _) | Call::Commit(bits, _) | Call::Upper(bits, _) | Call::Read(bits) => slot(bits).is_ok(),
        Call::Range(bits, ..) | Call::Toggle(bits, _) | Call::WriteProtect(bits, _) => slot(bits).is_ok(),
        Call::GetAndClear(bits) | Call::Young(bits, _) => slot(bits).is_ok(),
        Call::Harvest(bits, _, options) => slot(bits).is_ok() && options < 4,
        Call::Operation(ref wish) => operation_of(wish).is_ok(),
        _ => true,
    }
}

impl Wrong {
    /// Whether it can be wrong with `call`.
    const fn is_about(self, call: &Call) -> bool {
        match self {
            Self::OutNull | Self::OutUnaligned => {
                matches!(call, Call::Read(_) | Call::GetAndClear(_) | Call::Young(..) | Call::IsLazy)
            }
            Self::CallbackNull => matches!(call, Call::Range(..) | Call::Toggle(..) | Call::Harvest(..)),
            _ => true,
        }
    }

    const fn code(self) -> Code {
        match self {
            Self::TaskNull | Self::OutNull | Self::CallbackNull => Code::Null,
            Self::TaskUnaligned | Self::OutUnaligned => Code::Unaligned,
            Self::TaskNever(_) | Self::TaskIsAQueue => Code::NotInitialised,
            Self::Lock(lock) => lock.code(),
        }
    }
}

impl WrongLock {
    const fn code(self) -> Code {
        match self {
            Self::None | Self::Other | Self::Vcpu(_) => Code::WrongVcpu,
            Self::Never => Code::NotInitialised,
            Self::Unaligned => Code::Unaligned,
            Self::Context(_) => Code::Context,
        }
    }
}

impl Face for Hosted<'_> {
    fn call(&self, task: usize, call: &Call) -> Answered {
        let at = self.tasks[task].at();
        self.behind.comes_back.set(if self.comes_back { at } else { ptr::null_mut() });
        let answered = self.make(&Places::of(at), call);
        self.behind.comes_back.set(ptr::null_mut());
        if matches!(call, Call::Exit) && answered.is(Code::None) {
            // It is none any more.
            let late = self.make(&Places::of(at), &Call::Enter);
            if !late.is(Code::NotInitialised) {
                self.behind.ground.stray(format!("a task that has ended enters: {late:?}"));
            }
            self.begin(task);
        }
        answered
    }

    fn switch(&self, wishes: &[Wish]) -> Answered {
        let mut why = UNTOLD;
        // SAFETY: 1. the kernel lives, and so many operations can be read.
        let code = unsafe { pvmmu_switch(self.kernel.at(), wishes.as_ptr(), wishes.len(), &raw mut why) };
        self.answered(code, &why, Vec::new())
    }

    fn interrupt_flush(&self) -> Answered {
        let mut why = UNTOLD;
        // SAFETY: 1. the kernel lives.
        let code = unsafe { pvmmu_interrupt_flush(self.kernel.at(), &raw mut why) };
        self.answered(code, &why, Vec::new())
    }

    fn stats(&self) -> Vec<u64> {
        let (mut stats, mut why) = (Stats::default(), UNTOLD);
        // SAFETY: 1. the kernel lives.
        let code = unsafe { pvmmu_stats(self.kernel.at(), &raw mut stats, &raw mut why) };
        let first = [stats.queued, stats.applied, stats.refused, stats.not_attempted, stats.merged, stats.superseded];
        let rest = [stats.direct, stats.largest_batch];
        let words = [&first[..], &[stats.pending, stats.flushes], &stats.flushes_by_reason, &rest].concat();
        self.answered(code, &why, words).out
    }

    fn call_wrongly(&self, task: usize, call: &Call, wrong: Wrong) -> Result<(), Finding> {
        if !is_sound(call) || !wrong.is_about(call) {
            return Ok(());
        }
        let never = Room::<Task>::new(if let Wrong::TaskNever(fill) = wrong { fill } else { 0 });
        let mut places = Places::of(self.tasks[task].at());
        match wrong {
            Wrong::TaskNull => places.task = ptr::null_mut(),
            Wrong::TaskUnaligned => places.task = places.task.wrapping_byte_add(8),
            Wrong::TaskNever(_) => places.task = never.at(),
            Wrong::TaskIsAQueue => places.task = self.queues[0].at().cast(),
            Wrong::Lock(lock) => self.behind.wrong_lock.set(Some(lock)),
            Wrong::OutNull => places.out = Some(0),
            Wrong::OutUnaligned => places.out = Some(2),
            Wrong::CallbackNull => places.has_callback = false,
        }
        let (answered, code) = (self.make(&places, call), wrong.code());
        if answered.is(code) && self.behind.wrong_lock.take().is_none() {
            return Ok(());
        }
        Err(Finding::new(format_args!("{call:?} with {wrong:?} answers {answered:?}, not {code:?}")))
    }

    fn misuse(&self, task: usize, what: &Misuse) -> Result<(), Finding> {
        misuse(self, task, what)
    }
}
