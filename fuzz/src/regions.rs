//! Regions of random programs: three tasks on two vCPUs, preempted and moved, with interrupts and refusals, batched by
//! `pv-mmu` on the mock. Nothing stays pending, every reference is counted right, and the referee finds nothing. Where
//! something is refused, the counts of the library are held against what it has told as well.

mod kernel;

use arbitrary::{Arbitrary, Unstructured};
use hypercall::{MmuextOp, Operation, Pte, PteFlags, PteSlot, UpdateCommand, VcpuId, VcpuMask, VirtAddr};
use mock_xen::referee::{Profile as Judged, Settings};
use mock_xen::testing::{Answer, TestGuest, TestTask, mmuext, update};
use pv_mmu::{
    Context, Dynamic, Failure, LeaveError, Operations, PauseError, Profile, ReadModifyWrite, Region, TaskState,
};

use crate::{Finding, trying};
use kernel::{Kernel, MASKED_BOUND};

pub use kernel::Planted;

/// What the tasks of a guest do, in order.
#[derive(Arbitrary, Clone, Debug)]
pub struct Program {
    /// Whether regions nest.
    nested: bool,
    /// Whether anything is refused.
    refuses: bool,
    acts: Vec<Act>,
}

/// One thing that happens on the present vCPU.
#[derive(Arbitrary, Clone, Debug)]
enum Act {
    Enter,
    Leave,
    Pause,
    Resume,
    Flush,
    Ask(Ask),
    /// A region by guard, left or dropped.
    Region(Vec<Ask>, bool),
    Interrupt(Handled),
    /// The vCPU runs another task, which may have run on the other vCPU before.
    Switch(u8),
    /// Goes on on the other vCPU.
    OtherVcpu,
    /// Counting is switched.
    Count(bool),
}

/// What a task asks for.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ask {
    Set(Place, Entry),
    Commit(Place, Entry),
    Range(Place, u8, Entry),
    WriteProtect(Place),
    GetAndClear(Place),
    Read(Place),
    Extended(Extended),
    /// An operation that keeps its place.
    Plain(Place, Entry),
    Stack(u8),
    /// A processor uses an entry.
    Use(Place, bool),
}

/// What an interrupt handler does.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Handled {
    Set(Place, Entry),
    Extended(Extended),
    Flush,
}

/// One of a task's few entries.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Place(u8);

/// What an entry is to hold.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Entry {
    Empty,
    Page { page: u8, writable: bool, noted: bool },
    Refused,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Extended {
    FlushLocal,
    FlushAll,
    FlushVcpus(u8),
    Page(u8),
    PageAll(u8),
    Pin,
    Unpin,
}

/// Entries that each task has for itself, as if it held their lock: what two vCPUs write without one has no order.
const PLACES: usize = 8;
const TASKS: usize = 3;
/// Acts that are looked at; more show nothing new and take long.
const ACTS: usize = 96;

impl Entry {
    fn pte(self, guest: &TestGuest) -> Pte {
        match self {
            Self::Empty => Pte::EMPTY,
            Self::Refused => guest.refused_pte(),
            Self::Page { page, writable, noted } => {
                let rw = if writable { PteFlags::RW } else { PteFlags::NONE };
                let noted = if noted { PteFlags::ACCESSED_DIRTY } else { PteFlags::NONE };
                Pte::new(guest.page(usize::from(page) % TestGuest::PAGES), PteFlags::PRESENT | rw | noted)
            }
        }
    }
}

impl Extended {
    fn op(self, guest: &TestGuest, refuses: bool) -> MmuextOp {
        let address = |page: u8| VirtAddr::unchecked(u64::from(page % 4) << 12);
        match self {
            Self::FlushAll => MmuextOp::TlbFlushAll,
            Self::FlushVcpus(vcpus) => {
                MmuextOp::TlbFlushMulti { vcpus: VcpuMask::from_words([u64::from(vcpus) % 4, 0]) }
            }
            Self::Page(page) => MmuextOp::InvlpgLocal { address: address(page) },
            Self::PageAll(page) => MmuextOp::InvlpgAll { address: address(page) },
            Self::Pin if refuses => MmuextOp::Pin { level: hypercall::Level::L1, table: guest.empty_table() },
            Self::Unpin if refuses => MmuextOp::Unpin { table: guest.empty_table() },
            Self::FlushLocal | Self::Pin | Self::Unpin => MmuextOp::TlbFlushLocal,
        }
    }
}

/// A guest, its kernel, and what runs where.
struct Play<'g> {
    guest: &'g TestGuest,
    kernel: &'g Kernel<'g>,
    states: Vec<TaskState>,
    running: [usize; 2],
    refuses: bool,
    is_strict: bool,
}

/// A task in the middle of something, with those who watch it.
#[derive(Clone, Copy)]
struct Now<'g> {
    guest: &'g TestGuest,
    kernel: &'g Kernel<'g>,
    number: usize,
    task: TestTask<'g>,
    refuses: bool,
}

impl Now<'_> {
    fn slot(&self, place: Place) -> PteSlot {
        self.guest.slot(self.number * 2 * PLACES + usize::from(place.0) % PLACES)
    }

    fn pte(&self, entry: Entry) -> Pte {
        if matches!(entry, Entry::Refused) && !self.refuses { Pte::EMPTY } else { entry.pte(self.guest) }
    }

    /// What the platform has been told since the last call goes to the referee before the call is over.
    fn passed<R>(&self, call: impl FnOnce() -> R) -> R {
        let answer = call();
        self.kernel.pass_reports();
        answer
    }

    /// The same for a call that names its failure.
    fn answered(&self, call: impl FnOnce() -> Result<(), Failure>) -> Answer {
        self.passed(|| self.kernel.answer_of(call()))
    }

    fn ask(&self, asks: &mut impl Asking, ask: Ask) {
        let (guest, task) = (self.guest, self.task);
        match ask {
            Ask::Set(place, entry) => {
                let (slot, pte) = (self.slot(place), self.pte(entry));
                task.ask_all(&[update(slot, pte)], |_| self.answered(|| asks.set(slot, pte)));
            }
            Ask::Commit(place, entry) => {
                let (slot, pte) = (self.slot(place), self.pte(entry));
                let wish = update(slot.with_command(UpdateCommand::PreserveAd), pte);
                task.ask_all(&[wish], |_| self.answered(|| asks.commit(slot, pte)));
            }
            Ask::Range(place, count, entry) => self.range(asks, place, count, entry),
            Ask::WriteProtect(place) => self.write_protect(asks, self.slot(place)),
            Ask::GetAndClear(place) => self.get_and_clear(asks, self.slot(place)),
            Ask::Read(place) => {
                let slot = self.slot(place);
                task.read(slot, || asks.read(slot));
            }
            Ask::Extended(extended) => {
                let op = extended.op(guest, self.refuses);
                task.ask_all(&[mmuext(op)], |_| self.answered(|| asks.extended(op)));
            }
            Ask::Plain(place, entry) => self.operation(asks, update(self.slot(place), self.pte(entry))),
            Ask::Stack(page) => {
                let sp = VirtAddr::unchecked(u64::from(page) << 12);
                self.operation(asks, Operation::StackSwitch { ss: 0xe02b, sp });
            }
            Ask::Use(place, stores) => self.touch(place, stores),
        }
    }

    fn operation(&self, asks: &mut impl Asking, operation: Operation) {
        self.task.ask_all(&[operation], |_| self.answered(|| asks.operation(&operation)));
    }

    fn range(&self, asks: &mut impl Asking, place: Place, count: u8, entry: Entry) {
        let (first, pte) = (self.slot(place), self.pte(entry));
        let room = PLACES - usize::from(place.0) % PLACES;
        let slots: Vec<_> = (0..usize::from(count) % room + 1).filter_map(|n| first.offset(n)).collect();
        let wishes: Vec<_> = slots.iter().map(|slot| update(*slot, pte)).collect();
        self.task.ask_all(&wishes, |_| self.passed(|| asks.range(first, slots.len(), pte)));
    }

    /// What an entry holds, from which follows what is asked for. What is pending goes first: Xen stores more than was asked,
    /// and whether it has is not for the caller to know.
    fn held(&self, asks: &mut impl Asking, slot: PteSlot) -> Pte {
        self.task.flush(|| self.passed(|| asks.flush()));
        self.task.read(slot, || asks.read(slot))
    }

    fn write_protect(&self, asks: &mut impl Asking, slot: PteSlot) {
        let old = self.held(asks, slot);
        if !old.flags().contains(PteFlags::RW) {
            return;
        }
        let new = old.with_flags(old.flags().without(PteFlags::RW));
        let wish = update(slot.with_command(UpdateCommand::PreserveAd), new);
        self.task.ask_all(&[wish], |_| self.passed(|| asks.write_protect(slot)));
    }

    fn get_and_clear(&self, asks: &mut impl Asking, slot: PteSlot) {
        let old = self.held(asks, slot);
        if !old.is_present() {
            return;
        }
        let wish = update(slot.with_command(UpdateCommand::PreserveAd), Pte::EMPTY);
        self.task.ask_all(&[wish], |_| self.passed(|| asks.get_and_clear(slot)));
    }

    /// Refused where the entry maps nothing.
    fn touch(&self, place: Place, stores: bool) {
        let noted = if stores { PteFlags::ACCESSED_DIRTY } else { PteFlags::ACCESSED };
        let _ = self.guest.xen().set_accessed_dirty(self.slot(place), noted);
    }

    fn leave(&self, dynamic: &mut Dynamic<'_, Kernel<'_>>) {
        self.task.leave(|| {
            self.passed(|| match dynamic.leave() {
                Ok(()) => Answer::from(true),
                Err(LeaveError::Failed(failures)) => self.kernel.told(&failures),
                Err(_) => Answer::from(false),
            })
        });
    }

    fn pause(&self, dynamic: &mut Dynamic<'_, Kernel<'_>>) {
        self.task.pause(|| {
            self.passed(|| match dynamic.pause() {
                Ok(()) => Answer::from(true),
                Err(PauseError::Failed(failures)) => self.kernel.told(&failures),
                Err(_) => Answer::from(false),
            })
        });
    }

    fn interrupt(&self, handled: Handled) {
        self.task.interrupt(|handler| {
            let mut interrupt = self.kernel.mmu().interrupt(self.kernel.interrupt());
            let operation = match handled {
                Handled::Flush => return handler.flush(|| self.passed(|| interrupt.flush())),
                Handled::Set(place, entry) => update(self.slot(place), self.pte(entry)),
                Handled::Extended(extended) => mmuext(extended.op(self.guest, self.refuses)),
            };
            handler.ask_all(&[operation], |_| self.answered(|| interrupt.operation(&operation)));
        });
    }

    /// `nests`: where it does not, what it is within has no other region within (R4), and it is a flush of that.
    fn region(&self, state: &mut TaskState, asks: &[Ask], leaves: bool, nests: bool) {
        let mut region = self.kernel.mmu().enter(state, self.kernel.task());
        if nests {
            self.passed(|| self.task.enter(|| true));
        }
        asks.iter().for_each(|ask| self.ask(&mut region, *ask));
        let leave = || {
            self.passed(|| {
                if leaves {
                    return region.leave().map_or_else(|failures| self.kernel.told(&failures), Answer::from);
                }
                drop(region);
                Answer::from(())
            })
        };
        if nests { self.task.leave(leave) } else { self.task.flush(leave) }
    }
}

/// What a task asks through: a region's guard, or the interface with run-time checks.
trait Asking {
    fn set(&mut self, slot: PteSlot, pte: Pte) -> Result<(), Failure>;
    fn commit(&mut self, slot: PteSlot, pte: Pte) -> Result<(), Failure>;
    fn range(&mut self, first: PteSlot, count: usize, pte: Pte);
    fn write_protect(&mut self, slot: PteSlot);
    fn get_and_clear(&mut self, slot: PteSlot);
    fn read(&self, slot: PteSlot) -> Pte;
    fn extended(&mut self, op: MmuextOp) -> Result<(), Failure>;
    fn operation(&mut self, operation: &Operation) -> Result<(), Failure>;
    fn flush(&mut self);
}

macro_rules! asking {
    ($kind:ident, $answer:expr) => {
        impl Asking for $kind<'_, Kernel<'_>> {
            fn set(&mut self, slot: PteSlot, pte: Pte) -> Result<(), Failure> {
                $answer(self.set_pte(slot, pte))
            }

            fn commit(&mut self, slot: PteSlot, pte: Pte) -> Result<(), Failure> {
                $answer(self.commit_pte(slot, pte))
            }

            fn range(&mut self, first: PteSlot, count: usize, pte: Pte) {
                self.set_ptes(first, count, |_| pte).expect("the range is within the table");
            }

            fn write_protect(&mut self, slot: PteSlot) {
                self.wrprotect(slot);
            }

            fn get_and_clear(&mut self, slot: PteSlot) {
                // What is refused here is told where other refusals are.
                let _ = ReadModifyWrite::get_and_clear(self, slot);
            }

            fn read(&self, slot: PteSlot) -> Pte {
                self.read_pte(slot)
            }

            fn extended(&mut self, op: MmuextOp) -> Result<(), Failure> {
                $answer(self.mmuext(op))
            }

            fn operation(&mut self, operation: &Operation) -> Result<(), Failure> {
                $answer(Operations::operation(self, operation))
            }

            fn flush(&mut self) {
                $kind::flush(self);
            }
        }
    };
}

asking!(Region, Ok);
asking!(Dynamic, core::convert::identity);

impl<'g> Play<'g> {
    fn now(&self) -> Now<'g> {
        let vcpu = self.kernel.current.get();
        let number = self.running[vcpu];
        let task = self.guest.task(number as u64, VcpuId::new(vcpu as u32));
        Now { guest: self.guest, kernel: self.kernel, number, task, refuses: self.refuses }
    }

    fn act(&mut self, act: &Act) {
        let now = self.now();
        let nests = !(self.is_strict && self.states[now.number].is_lazy());
        let state = &mut self.states[now.number];
        let mut dynamic = self.kernel.mmu().dynamic(state, Context::Task(self.kernel.task()));
        match act {
            Act::Enter => now.task.enter(|| now.passed(|| dynamic.enter())),
            Act::Leave => now.leave(&mut dynamic),
            Act::Pause => now.pause(&mut dynamic),
            Act::Resume => now.task.resume(|| now.passed(|| dynamic.resume())),
            Act::Flush => now.task.flush(|| now.passed(|| dynamic.flush())),
            Act::Ask(ask) => now.ask(&mut dynamic, *ask),
            // What such a guard tells by its leave, the referee wants told at once (docs/decisions/fuzzing.md).
            Act::Region(..) if now.refuses && state.is_paused() => {}
            Act::Region(asks, leaves) => now.region(state, asks, *leaves, nests),
            Act::Interrupt(handled) => now.interrupt(*handled),
            Act::Switch(next) => self.switch(now, usize::from(*next) % TASKS),
            Act::OtherVcpu => self.kernel.current.set(1 - self.kernel.current.get()),
            // What is not counted cannot be held against anything.
            Act::Count(_) if self.refuses => {}
            Act::Count(on) => self.kernel.mmu().count(*on),
        }
    }

    fn switch(&mut self, now: Now<'g>, next: usize) {
        if self.running.contains(&next) {
            return;
        }
        let next_task = self.guest.task(next as u64, now.task.vcpu());
        now.task.switch_to(next_task, |outgoing| {
            let mut switch = self.kernel.mmu().switch(self.kernel.switch());
            let sp = VirtAddr::unchecked((next as u64 + 1) << 12);
            let stack = Operation::StackSwitch { ss: 0xe02b, sp };
            outgoing.ask_all(&[stack], |_| switch.operation(&stack));
            now.passed(|| switch.finish());
        });
        self.running[self.kernel.current.get()] = next;
    }

    /// Every task closes what it has open.
    fn finish(&mut self) {
        for task in 0..TASKS {
            let vcpu = usize::from(self.running[0] != task);
            self.kernel.current.set(vcpu);
            self.switch(self.now(), task);
            while self.states[task].depth() > 0 || self.states[task].is_paused() {
                self.act(&Act::Resume);
                self.act(&Act::Leave);
            }
        }
    }
}

pub(crate) fn any_program(bytes: &[u8]) -> Result<(), Finding> {
    let Ok(program) = Program::arbitrary_take_rest(Unstructured::new(bytes)) else { return Ok(()) };
    trying(&program, || run_program(&program, None))
}

/// Runs a program through the library, which breaks a rule where one is `planted`.
///
/// # Errors
/// What the referee or the machine finds.
pub fn run_program(program: &Program, planted: Planted) -> Result<(), Finding> {
    let (judged, profile) =
        if program.nested { (Judged::Nested, Profile::Nested) } else { (Judged::Strict, Profile::Strict) };
    // What stood behind a refusal is handed over once more in the same step.
    let bound = if program.refuses { 2 * MASKED_BOUND } else { MASKED_BOUND };
    let guest = TestGuest::with_settings(Settings::new(judged).masked_bound(bound));
    let kernel = Kernel::new(&guest, planted);
    let states = (0..TASKS).map(|_| TaskState::with_profile(profile)).collect();
    let (refuses, is_strict) = (program.refuses, !program.nested);
    let mut play = Play { guest: &guest, kernel: &kernel, states, running: [0, 1], refuses, is_strict };
    program.acts.iter().take(ACTS).for_each(|act| play.act(act));
    play.finish();
    if refuses {
        kernel.counts_add_up()?
    }
    is_clean(&guest)?;
    is_sound(&guest)
}

pub(crate) fn is_clean(guest: &TestGuest) -> Result<(), Finding> {
    let verdict = guest.verdict();
    let is_over = verdict.pending == 0 && verdict.untold == 0 && verdict.open == 0;
    if verdict.is_clean() && is_over { Ok(()) } else { Err(Finding::new(verdict)) }
}

/// Nothing is miscounted in the machine, nor asked of it that it does not model.
pub(crate) fn is_sound(guest: &TestGuest) -> Result<(), Finding> {
    guest.xen().audit().map_err(Finding::new)?;
    let missing = guest.xen().not_modelled();
    if missing.is_empty() { Ok(()) } else { Err(Finding::new(format_args!("not modelled: {missing:?}"))) }
}
