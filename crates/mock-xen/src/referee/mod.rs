//! A judge of batching: it is told what the guest asks for and what arrives at the hypervisor, and
//! reports every rule of the contract that the way between the two has broken.
//!
//! The referee knows nothing of how a batcher works. It holds each operation asked for until an
//! arrival stands for it or the guest is told that it failed, and keeps its own count of every task's
//! regions. At each sync point nothing that fell due may still be held. So any batcher can be judged:
//! a library, a kernel's own, or a recorded one.
//!
//! **Guest side.** Whoever drives the batcher tells, in the order in which things happen:
//!
//! - [`Referee::ask`] just before the batcher is handed an operation, [`Referee::answered`] once that
//!   call has returned. An operation that may not wait must have arrived by then.
//! - [`Referee::enter`] and [`Referee::resume`] once these calls have returned; leave, pause and
//!   explicit flush are told twice, before ([`Referee::leave`]) and after ([`Referee::left`]), because
//!   what must be effective is what was asked before they began. `accepted` is whether the batcher
//!   took the call; a leave that reports failed operations has been taken.
//! - [`Referee::switch`] when the next task is about to run, [`Referee::interrupt_end`] when a handler
//!   returns, [`Referee::task_exit`] when a task is gone.
//! - [`Referee::failed`] and [`Referee::not_attempted`] for each operation of which the guest is told
//!   so, before the `left` or `answered` that ends it.
//!
//! **Hypervisor side.** [`Referee::arrived`] for each operation in the order in which the hypervisor
//! got to it, with its result, or `None` for one behind a refused one of the same array.
//!
//! What the two sides may differ in: writes of one L1 entry may be merged by the rules of PRESERVE_AD
//! while nothing but L1 updates for the same domains and registers of the vCPU lies between them; a TLB flush may do the work
//! of others asked beside it; L1 updates of different entries, and the few other pairs proven in
//! `effect.rs`, may change places. Operations behind a refused one may be attempted later or reported,
//! and TLB flushes be issued again after them, which otherwise arrive no more often than they were asked; trying them again breaks the order only if something
//! with which they do not commute has become effective in between.
//!
//! Memory is bounded by the tasks that have not ended, what is pending, [`Settings::REMEMBERED`] arrivals on
//! each vCPU, the entries with unseen notes, the pages given away and the first 1000 violations. A moment is the number of an event: moments order everything the referee was
//! told. It may be told by several threads.
//!
//! An `update_va_mapping` names no entry, so reads of the entry behind its address are not judged
//! (R11).
//!
//! **Processors.** [`Referee::noted`], [`Referee::replaced`] and [`Referee::used_stale`] come from the machine.
//! Against them stands what the guest has [`seen`](Referee::seen) and which pages it has
//! [`released`](Referee::released).

mod arriving;
mod asker;
mod asking;
mod chain;
mod choices;
mod counters;
mod digest;
mod doubt;
mod effect;
mod hardware;
mod history;
mod queue;
mod reach;
mod request;
mod rule;
mod settings;
mod shadow;
mod state;
mod syncing;
mod task;
mod telling;
mod violation;

use core::fmt;
use std::hash::Hasher;

use hypercall::{Errno, Mfn, Operation, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};
use parking_lot::Mutex;

pub use asker::{Asker, Context, Moment, RequestId, TaskId};
pub use counters::Counters;
pub use rule::Rule;
pub use settings::{Profile, Settings, Wish};
pub use violation::{Asked, Finding, RegionCall, SyncPoint, Violation};

use doubt::Bench;
use state::State;

/// A completion callback that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallbackId(Moment);

/// The judge; see the [module](self).
///
/// ```
/// use hypercall::{Mfn, Pte, PteSlot, VcpuId};
/// use mock_xen::{referee::{Asker, Profile, Referee, Rule, TaskId}, testing::update};
///
/// // Two streams: what a task asks, and what arrives. Here the second never does.
/// let referee = Referee::new(Profile::Strict);
/// let task = Asker::task(TaskId::new(1), VcpuId::new(0));
/// referee.enter(task, true);
/// let request = referee.ask(task, &update(PteSlot::of(Mfn::new(7), 0), Pte::EMPTY));
/// referee.answered(request);
/// assert!(referee.verdict().is_clean(), "in a region it may wait");
///
/// referee.leave(task);
/// referee.left(task, true);
/// let verdict = referee.verdict();
/// assert_eq!((verdict.found, verdict.violations[0].rule), (1, Rule::R2));
/// ```
#[derive(Debug)]
pub struct Referee {
    bench: Mutex<Bench>,
}

/// A panicking guest, as tests of planted faults have, leaves the referee to be asked: it judges under its own lock, and nothing
/// of a caller's runs there.
impl std::panic::UnwindSafe for Referee {}

impl Referee {
    /// A referee for `profile` with its other [`Settings`] as they are by themselves.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self::with_settings(Settings::new(profile))
    }

    /// A referee with these settings.
    #[must_use]
    pub fn with_settings(settings: Settings) -> Self {
        Self { bench: Mutex::new(Bench::new(State::new(settings))) }
    }

    fn happens<R>(&self, event: impl Fn(&mut State) -> R + Send + 'static) -> R {
        self.bench.lock().happens(event)
    }

    /// `asker` is about to hand an operation to its batcher. An [`Operation`] is taken for one of L1
    /// that may wait; [`Wish`] says otherwise.
    pub fn ask(&self, asker: Asker, wish: impl Into<Wish>) -> RequestId {
        let wish = wish.into();
        let mut bench = self.bench.lock();
        bench.settle();
        bench.happens(move |state| state.ask(asker, wish))
    }

    /// What was asked has not been taken after all, and will be asked again: its batcher had to do something
    /// else first, and has done nothing for it. `false`, and nothing changes, if something has arrived for
    /// it.
    pub fn withdraw(&self, request: RequestId) -> bool {
        self.happens(move |state| state.withdraw(request))
    }

    /// The call that took the operation has returned: one that may not wait is effective or reported
    /// (R1, R5, R6, R7, R14).
    pub fn answered(&self, request: RequestId) {
        self.happens(move |state| state.answered(request));
    }

    /// Enter has returned (R4, R6).
    pub fn enter(&self, asker: Asker, accepted: bool) {
        self.happens(move |state| state.enter(asker, accepted));
    }

    /// Leave is about to be called.
    pub fn leave(&self, asker: Asker) {
        self.happens(move |state| state.sync_begins(asker));
    }

    /// Leave has returned: what the task asked for before is effective or reported (R2, R12, R14), and
    /// its completion callbacks have run.
    pub fn left(&self, asker: Asker, accepted: bool) {
        self.happens(move |state| state.left(asker, accepted));
    }

    /// Pause has returned: whatever the task asked for is effective or reported (R5).
    pub fn paused(&self, asker: Asker, accepted: bool) {
        self.happens(move |state| state.paused(asker, accepted));
    }

    /// Resume has returned. A library may refuse to end a pause in which regions are still open; the
    /// pause is taken to have ended all the same.
    pub fn resume(&self, asker: Asker, accepted: bool) {
        self.happens(move |state| state.resumed(asker, accepted));
    }

    /// An explicit flush is about to be called.
    pub fn flush(&self, asker: Asker) {
        self.happens(move |state| state.sync_begins(asker));
    }

    /// An explicit flush has returned: what the task asked for before is effective or reported (R2, R12).
    pub fn flushed(&self, asker: Asker) {
        self.happens(move |state| state.flushed(asker));
    }

    /// The batcher has reported that the task leaked its regions, and has ended them (R2). A report
    /// where nothing is open is false, and so is one of a region that is left afterwards.
    pub fn leak_reported(&self, asker: Asker) {
        self.happens(move |state| state.leak_reported(asker));
    }

    /// `next` is about to run its first step on `vcpu`, where `prev` ran: nothing is left there (R7).
    pub fn switch(&self, vcpu: VcpuId, prev: TaskId, next: TaskId) {
        self.happens(move |state| state.switch(vcpu, prev, next));
    }

    /// The handler that interrupted the task on `vcpu` returns: what it asked for is effective (R6).
    pub fn interrupt_end(&self, vcpu: VcpuId) {
        self.happens(move |state| state.interrupt_end(vcpu));
    }

    /// `task` is gone: it was in no region, nothing of it is left, everything is reported (R2, R14).
    pub fn task_exit(&self, task: TaskId) {
        self.happens(move |state| state.task_exit(task));
    }

    /// The guest has been told, on `vcpu`, that `operation`, as asked or as merged, was refused with
    /// `errno` (R14): once for each refusal. For what did not arrive, see [`Referee::hypercall_refused`].
    pub fn failed(&self, vcpu: VcpuId, operation: &Operation, errno: Errno) {
        let operation = *operation;
        self.happens(move |state| state.failed(vcpu, &operation, errno));
    }

    /// The guest has been told, on `vcpu`, that `operation`, as asked or as merged, was not attempted
    /// (R14). That is so only of what stood in an array behind a refused operation, or was pending when one
    /// asked before it on its vCPU, or a whole hypercall there, was refused.
    pub fn not_attempted(&self, vcpu: VcpuId, operation: &Operation) {
        let operation = *operation;
        self.happens(move |state| state.not_attempted(vcpu, &operation));
    }

    /// A hypercall of `vcpu` was refused with `errno` as a whole: what it carried did not arrive. Only what
    /// is pending now may be reported as failed with this errno without having arrived (R14).
    pub fn hypercall_refused(&self, vcpu: VcpuId, errno: Errno) {
        self.happens(move |state| state.hypercall_refused(vcpu, errno));
    }

    /// The completion callback of what `asker` has just asked for will have to run, once, before its region
    /// has been left (R13, R14).
    pub fn callback_due(&self, asker: Asker, request: RequestId) -> CallbackId {
        self.happens(move |state| state.callback_due(asker, request))
    }

    /// A completion callback has run, and was given `status`: what became of its operation, `None` if it was
    /// not attempted (R14).
    pub fn callback_ran(&self, callback: CallbackId, status: Option<Result<(), Errno>>) {
        self.happens(move |state| state.callback_ran(callback, status));
    }

    /// The batcher's accessor answered `value` for the entry at `slot`, of which memory held `memory`
    /// (R11).
    pub fn read(&self, asker: Asker, slot: PteSlot, value: Pte, memory: Pte) {
        self.happens(move |state| state.read(asker, slot, value, memory));
    }

    /// `asker` read the entry at `slot` from memory, past the accessor (R11).
    pub fn raw_read(&self, asker: Asker, slot: PteSlot) {
        self.happens(move |state| state.raw_read(asker, slot));
    }

    /// `asker` writes the L1 entry at `slot` past the batcher, as by an atomic that the hypervisor traps
    /// and emulates: it must not overtake what is queued (R6, R10, R12).
    pub fn trapped_write(&self, asker: Asker, slot: PteSlot) {
        self.happens(move |state| state.trapped_write(asker, slot));
    }

    /// Upcalls are masked on `vcpu` from now on; nests. Operations that arrive meanwhile count
    /// against the bound (R15).
    pub fn masked(&self, vcpu: VcpuId) {
        let _moment = self.happens(move |state| state.masked(vcpu));
    }

    /// One reason for masking upcalls on `vcpu` has gone.
    pub fn unmasked(&self, vcpu: VcpuId) {
        self.happens(move |state| state.unmasked(vcpu));
    }

    /// `vcpu` makes a hypercall, with upcalls masked while it lasts. Need not be told; if it is, an
    /// operation that stood behind a refused one is not confused with an equal one in the same
    /// multicall.
    pub fn hypercall_begins(&self, vcpu: VcpuId) {
        self.happens(move |state| state.hypercall_begins(vcpu));
    }

    /// The hypercall has returned.
    pub fn hypercall_ends(&self, vcpu: VcpuId) {
        self.happens(move |state| state.hypercall_ends(vcpu));
    }

    /// `vcpu` runs on these base pointers from before the referee listened; it follows those that arrive by
    /// itself (R12).
    pub fn loaded(&self, vcpu: VcpuId, kernel: Mfn, user: Option<Mfn>) {
        self.happens(move |state| state.loaded(vcpu, kernel, user));
    }

    /// `operation` arrived at the hypervisor from `vcpu`: applied, refused, or, as `None`, not looked at
    /// because it stood behind a refused one.
    pub fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>) {
        let (mut bench, operation) = (self.bench.lock(), *operation);
        if result != Some(Ok(())) {
            bench.doubt();
        }
        bench.happens(move |state| state.arrived(vcpu, &operation, result));
    }

    /// An update from `vcpu` replaced `old` by `new` in the L1 entry at `slot` (R11).
    pub fn replaced(&self, vcpu: VcpuId, slot: PteSlot, old: Pte, new: Pte) {
        self.happens(move |state| state.replaced(vcpu, slot, old, new));
    }

    /// A processor has set `flags` in the L1 entry at `slot`.
    pub fn noted(&self, slot: PteSlot, flags: PteFlags) {
        self.happens(move |state| state.noted(slot, flags));
    }

    /// The guest has learnt the notes that `pte` has, as what the entry at `slot` holds or held last.
    pub fn seen(&self, slot: PteSlot, pte: Pte) {
        self.happens(move |state| state.seen(slot, pte));
    }

    /// The guest has the table back as memory, and with it all that was noted in its entries.
    pub fn seen_table(&self, table: Mfn) {
        self.happens(move |state| state.seen_table(table));
    }

    /// The guest gives `frame` away: from now on nobody may reach it by what is cached (R12).
    pub fn released(&self, frame: Mfn) {
        self.happens(move |state| state.released(frame));
    }

    /// The guest takes `frame` into use.
    pub fn taken(&self, frame: Mfn) {
        self.happens(move |state| state.taken(frame));
    }

    /// `vcpu` reached `frame` at `address` by a translation that the tables do not give any more (R12).
    pub fn used_stale(&self, vcpu: VcpuId, address: VirtAddr, frame: Mfn, is_store: bool) {
        self.happens(move |state| state.used_stale(vcpu, address, frame, is_store));
    }

    /// The moment of what it was told last.
    #[must_use]
    pub fn moment(&self) -> Moment {
        self.bench.lock().state.moment
    }

    /// Operations asked for on `vcpu` that have not arrived.
    #[must_use]
    pub fn pending(&self, vcpu: VcpuId) -> usize {
        self.bench.lock().state.vcpus.get(&vcpu).map_or(0, |vcpu| vcpu.queue.pending())
    }

    /// Feeds `hasher` with all that further findings depend on: two referees that feed the same will judge
    /// alike whatever comes. Of arrivals that are remembered to tell a repetition from an invention it
    /// feeds nothing: whoever compares builds referees that remember none ([`Settings::remembering`]).
    /// Of what may be taken for several things behind a refusal it feeds the likeliest way only: two that feed the same may
    /// differ in what another way explains.
    pub fn digest(&self, hasher: &mut impl Hasher) {
        self.bench.lock().state.digest(hasher);
    }

    /// Forgets everything it was told; the settings stay.
    pub fn reset(&self) {
        let mut bench = self.bench.lock();
        *bench = Bench::new(State::new(bench.state.settings));
    }

    /// How many violations were found so far.
    #[must_use]
    pub fn found(&self) -> u64 {
        self.bench.lock().state.violation_count
    }

    /// What became of all operations so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.bench.lock().state.counters()
    }

    /// The violations found so far, in the order found; of more than 1000 the first 1000.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.bench.lock().state.violations.clone()
    }

    /// Everything found so far.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let state = &self.bench.lock().state;
        let pending = state.vcpus.values().map(|vcpu| vcpu.queue.pending()).sum();
        let (violations, found) = (state.violations.clone(), state.violation_count);
        let untold = state.owed.iter().filter(|owed| !owed.is_told).count();
        let open = state.tasks.values().filter(|task| task.is_open()).count();
        Verdict { violations, found, pending, untold, open, undecided: state.undecided, counters: state.counters() }
    }
}

/// What a referee found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verdict {
    /// The violations, in the order found; of more than 1000 the first 1000.
    pub violations: Vec<Violation>,
    /// How many violations there were.
    pub found: u64,
    /// Operations that have not arrived.
    pub pending: usize,
    /// Refusals of which the guest has not been told yet.
    pub untold: usize,
    /// Tasks that are inside a region or a pause.
    pub open: usize,
    /// How often, behind a refusal, too many ways were left to take arrivals to tell whether a rule was broken.
    pub undecided: u64,
    /// What became of the others.
    pub counters: Counters,
}

impl Verdict {
    /// Whether no rule was broken.
    #[must_use]
    pub const fn is_clean(&self) -> bool {
        self.found == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { asked, arrivals, merged, superseded, .. } = self.counters;
        match self.found {
            0 => write!(f, "no rule broken: ")?,
            1 => write!(f, "a rule is broken: ")?,
            found => write!(f, "rules are broken {found} times: ")?,
        }
        write!(f, "{asked} asked, {arrivals} arrived, {merged} merged, {superseded} superseded")?;
        write!(f, ", {} pending", self.pending)?;
        if self.undecided > 0 {
            write!(f, ", {} times it cannot be told", self.undecided)?;
        }
        self.violations.iter().try_for_each(|violation| write!(f, "\n  {violation}"))
    }
}
