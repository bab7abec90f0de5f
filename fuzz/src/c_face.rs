//! The face for kernels in C, called in any order: three tasks on two vCPUs, preempted and moved, with interrupts, refusals, and
//! everything that the header says is answered with an error.
//!
//! The same program runs through the Rust API. Both come to the same hypercalls word for word, and to the same answers, reports
//! and counts; the referee judges what kept its rules; and what has to be refused is, with the code that the header names, and
//! changes nothing, for otherwise what follows would differ.

mod face;
mod ground;
mod misuse;
mod native;
mod platform;
mod room;
mod wishes;
mod words;

use arbitrary::{Arbitrary, Unstructured};
use hypercall::{MmuUpdate, Operation, Pte, PteFlags, PteSlot, Subject, UpdateCommand, VcpuId};
use mock_xen::referee::{Asker, Context, Profile as Judged, Settings};
use mock_xen::testing::{Answer, TestGuest, TestTask};
use pv_mmu::{Profile, VcpuQueue};
use pvmmu::{error::Code, operation::Operation as Wish};

use crate::{Finding, trying};
use face::{Face, Hosted, Wrong};
use ground::{Ground, Moment};
use misuse::Misuse;
use native::Native;
use wishes::{Entry, Harmless, Place, Shape};
use words::{Answered, Call, operation_of, pte_of, slot, toggled};

const TASKS: usize = 3;
/// Entries that each task has for itself.
const PLACES: usize = 160;
/// Entries of a table.
const ENTRIES: usize = 512;
/// Acts that are looked at.
const ACTS: usize = 96;

/// What the tasks of a guest do, in order.
#[derive(Arbitrary, Clone, Debug)]
pub struct CProgram {
    /// Whether regions nest.
    nested: bool,
    /// Whether anything is refused, and asked for that the referee is not told.
    refuses: bool,
    /// Whether the kernel has the function `table`.
    maps: bool,
    /// Whether its callbacks try to use the library.
    comes_back: bool,
    /// What its memory held before.
    fill: u8,
    acts: Vec<Act>,
}

/// One thing that happens on the present vCPU.
#[derive(Arbitrary, Clone, Debug)]
enum Act {
    Call(Ask),
    /// A handler that interrupts the task makes calls by it.
    Interrupt(Vec<Ask>),
    /// The vCPU runs another task, which may have run on the other vCPU before.
    Switch(u8, Vec<Harmless>),
    /// Goes on on the other vCPU.
    OtherVcpu,
    /// A processor uses an entry.
    Use(Place, bool),
    Wrong(Ask, Wrong),
    Misuse(Misuse),
    Stats,
}

/// A call.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ask {
    Enter,
    Leave,
    Pause,
    Resume,
    Flush,
    IsLazy,
    Exit,
    Set(Place, Entry),
    Commit(Place, Entry),
    Upper(Place, Entry),
    Harmless(Harmless),
    Shape(Shape),
    Read(Place),
    Range(Place, u16, Entry),
    Toggle(Place, u16),
    WriteProtect(Place, u16),
    GetAndClear(Place),
    Harvest(Place, u16, u8),
    Young(Place, u16),
    /// What only a handler asks for.
    HandlerFlush,
}

/// A guest, its kernel, and what runs where.
struct Play<'g, F> {
    guest: &'g TestGuest,
    ground: &'g Ground<'g>,
    face: &'g F,
    running: [usize; 2],
    refuses: bool,
}

/// A task in the middle of something.
struct Now<'p, 'g, F> {
    play: &'p Play<'g, F>,
    number: usize,
    task: TestTask<'g>,
}

impl<F: Face> Now<'_, '_, F> {
    /// Makes a call; what the platform has been told by it goes to the referee before the call is over.
    fn make(&self, call: &Call) -> Answered {
        let answered = self.play.face.call(self.number, call);
        self.play.ground.hear(Moment::Answered(answered.clone()));
        self.play.ground.pass_reports();
        answered
    }

    fn told(&self, call: &Call) -> Answer {
        self.play.ground.answer(&self.make(call))
    }

    fn call(&self, ask: Ask) {
        if matches!(ask, Ask::HandlerFlush) {
            return self.handler_flush();
        }
        let Some(call) = self.play.call_of(ask, self.number) else { return };
        match call {
            Call::Enter => self.task.enter(|| self.told(&call)),
            Call::Leave => self.task.leave(|| self.told(&call)),
            Call::Pause => self.task.pause(|| self.told(&call)),
            Call::Resume => self.task.resume(|| self.told(&call)),
            Call::Flush => self.task.flush(|| self.told(&call)),
            Call::Read(bits) => self.read(&call, bits),
            Call::Exit => self.exit(),
            _ => self.ask(&call),
        }
    }

    fn handler_flush(&self) {
        if !self.play.ground.is_handler.get() {
            return;
        }
        self.task.flush(|| {
            let answered = self.play.face.interrupt_flush();
            self.play.ground.hear(Moment::Answered(answered));
            self.play.ground.pass_reports();
        });
    }

    fn read(&self, call: &Call, bits: u64) {
        let Ok(slot) = slot(bits) else { return drop(self.make(call)) };
        self.task.read(slot, || Pte::from_bits(self.make(call).out.first().copied().unwrap_or(u64::MAX)));
    }

    /// The task ends; another of its number begins.
    fn exit(&self) {
        let answered = self.make(&Call::Exit);
        if !answered.is(Code::None) {
            return;
        }
        if self.play.ground.take_leaked() {
            let (task, vcpu) = (self.task.id(), self.task.vcpu());
            self.play.guest.referee().leak_reported(Asker { context: Context::Task, ..Asker::task(task, vcpu) });
        }
        self.task.exit();
    }

    /// Tells the referee of each operation that a call asks for, and makes it.
    fn ask(&self, call: &Call) {
        let wishes = self.wishes(call);
        self.task.ask_all(&wishes, |_| self.told(call));
    }

    fn wishes(&self, call: &Call) -> Vec<Operation> {
        let one = |bits: u64, command, pte| match slot(bits) {
            Ok(slot) => vec![update(slot, command, pte)],
            Err(_) => Vec::new(),
        };
        match *call {
            Call::Set(bits, pte) | Call::Upper(bits, pte) => one(bits, UpdateCommand::Normal, pte),
            Call::Commit(bits, pte) => one(bits, UpdateCommand::PreserveAd, pte),
            Call::Operation(ref wish) => operation_of(wish).into_iter().collect(),
            Call::Range(bits, count, pte) => {
                let slots = slots(bits, count).into_iter().enumerate();
                slots.map(|(n, slot)| update(slot, UpdateCommand::Normal, pte_of(n, pte))).collect()
            }
            Call::Toggle(bits, count) => self.changes(bits, count, toggled),
            Call::WriteProtect(bits, count) => {
                let protected = |old: u64| (old & 3 == 3).then_some(old & !2);
                self.changes(bits, count, protected)
            }
            Call::GetAndClear(bits) => self.changes(bits, 1, |old| (old & 1 == 1).then_some(0)),
            _ => Vec::new(),
        }
    }

    /// What entries hold, from which follows what is asked for. What is pending goes first: Xen stores more than was asked, and
    /// whether it has is not for the caller to know.
    fn changes(&self, bits: u64, count: usize, change: impl Fn(u64) -> Option<u64>) -> Vec<Operation> {
        let slots = slots(bits, count);
        if slots.is_empty() {
            return Vec::new();
        }
        self.task.flush(|| self.told(&Call::Flush));
        let held = slots.into_iter().map(|slot| (slot, self.play.ground.load(slot).bits()));
        let changed = |(slot, old)| Some(update(slot, UpdateCommand::PreserveAd, change(old)?));
        held.filter_map(changed).collect()
    }
}

/// The slots of a range that is one.
fn slots(bits: u64, count: usize) -> Vec<PteSlot> {
    let Ok(first) = slot(bits) else { return Vec::new() };
    let all: Vec<_> = (0..count).map_while(|n| first.offset(n)).collect();
    if all.len() == count { all } else { Vec::new() }
}

fn update(slot: PteSlot, command: UpdateCommand, pte: u64) -> Operation {
    let update = MmuUpdate::new(slot.with_command(command), Pte::from_bits(pte));
    Operation::Update { update, subject: Subject::SELF }
}

impl<'g, F: Face> Play<'g, F> {
    fn now(&self) -> Now<'_, 'g, F> {
        let vcpu = self.ground.vcpu.get();
        let number = self.running[vcpu];
        Now { play: self, number, task: self.guest.task(number as u64, VcpuId::new(vcpu as u32)) }
    }

    /// The call that is asked for, unless the referee could not judge it and has to.
    fn call_of(&self, ask: Ask, task: usize) -> Option<Call> {
        let at = |place: Place| place.bits(self.guest, task);
        let pte = |entry: Entry| entry.bits(self.guest, self.refuses);
        let count = |place: Place, count: u16| count_of(place, count);
        Some(match ask {
            Ask::Enter => Call::Enter,
            Ask::Leave => Call::Leave,
            Ask::Pause => Call::Pause,
            Ask::Resume => Call::Resume,
            Ask::Flush => Call::Flush,
            Ask::IsLazy => Call::IsLazy,
            Ask::Exit => Call::Exit,
            Ask::Set(place, entry) => Call::Set(at(place), pte(entry)),
            Ask::Commit(place, entry) => Call::Commit(at(place), pte(entry)),
            Ask::Upper(place, entry) => Call::Upper(at(place), pte(entry)),
            Ask::Harmless(harmless) => Call::Operation(harmless.wish(self.guest, task)),
            Ask::Read(place) => Call::Read(at(place)),
            Ask::Range(place, n, entry) => Call::Range(at(place), count(place, n), pte(entry)),
            Ask::Toggle(place, n) => Call::Toggle(at(place), count(place, n)),
            Ask::WriteProtect(place, n) => Call::WriteProtect(at(place), count(place, n)),
            Ask::GetAndClear(place) => Call::GetAndClear(at(place)),
            Ask::Shape(_) | Ask::Harvest(..) | Ask::Young(..) if !self.refuses => return None,
            Ask::Shape(shape) => Call::Operation(shape.wish(self.guest, task)),
            Ask::Harvest(place, n, options) => Call::Harvest(at(place), count(place, n), u32::from(options) % 5),
            Ask::Young(place, n) => Call::Young(at(place), count(place, n)),
            Ask::HandlerFlush => return None,
        })
    }

    fn act(&mut self, act: &Act) -> Result<(), Finding> {
        let now = self.now();
        match act {
            Act::Call(ask) => now.call(*ask),
            Act::Interrupt(asks) => self.interrupt(&now, asks),
            Act::Switch(next, wishes) => {
                let (task, next) = (now.task, usize::from(*next) % TASKS);
                self.switch(task, next, wishes);
            }
            Act::OtherVcpu => self.ground.vcpu.set(1 - self.ground.vcpu.get()),
            Act::Use(place, stores) => self.touch(now.number, *place, *stores),
            Act::Wrong(ask, wrong) => {
                let call = self.call_of(*ask, now.number);
                return call.map_or(Ok(()), |call| self.face.call_wrongly(now.number, &call, *wrong));
            }
            Act::Misuse(misuse) => return self.face.misuse(now.number, misuse),
            Act::Stats => self.ground.hear(Moment::Answered(Answered::with(self.face.stats()))),
        }
        Ok(())
    }

    /// Refused where the entry maps nothing.
    fn touch(&self, task: usize, place: Place, stores: bool) {
        let noted = if stores { PteFlags::ACCESSED_DIRTY } else { PteFlags::ACCESSED };
        let _ = self.guest.xen().set_accessed_dirty(self.guest.slot(task * PLACES + place.number()), noted);
    }

    fn interrupt(&self, now: &Now<'_, 'g, F>, asks: &[Ask]) {
        self.ground.is_handler.set(true);
        now.task.interrupt(|task| {
            let handler = Now { play: self, number: now.number, task };
            asks.iter().take(8).for_each(|ask| handler.call(*ask));
        });
        self.ground.is_handler.set(false);
    }

    fn switch(&mut self, task: TestTask<'g>, next: usize, wishes: &[Harmless]) {
        if self.running.contains(&next) {
            return;
        }
        let wish = |harmless: &Harmless| harmless.wish(self.guest, next);
        // One that is none is a misuse: nothing would be handed over, and the switch would not be one.
        let sound = |wish: Wish| Some((operation_of(&wish).ok()?, wish));
        let (operations, wishes): (Vec<_>, Vec<_>) = wishes.iter().take(16).map(wish).filter_map(sound).unzip();
        task.switch_to(self.guest.task(next as u64, task.vcpu()), |outgoing| {
            outgoing.ask_all(&operations, |_| {
                self.ground.hear(Moment::Answered(self.face.switch(&wishes)));
                self.ground.pass_reports();
            });
        });
        self.running[self.ground.vcpu.get()] = next;
    }

    /// Every task closes what it has open, and each vCPU tells its counts.
    fn finish(&mut self) -> Result<(), Finding> {
        for number in 0..TASKS {
            self.ground.vcpu.set(usize::from(self.running[0] != number));
            let task = self.now().task;
            self.switch(task, number, &[]);
            self.act(&Act::Call(Ask::Exit))?;
        }
        Ok(())
    }
}

/// The entries of a range: as far as the task's share goes, or, rarely, beyond the table.
const fn count_of(place: Place, count: u16) -> usize {
    if count > 0xff00 { count as usize } else { count as usize % (PLACES - place.number()) }
}

/// Whether each operation has one fate, and each that is not effective has been told (R14, R17).
fn counts_add_up(ground: &Ground<'_>, face: &impl Face) -> Result<(), Finding> {
    let mut failed = 0;
    for vcpu in 0..2 {
        ground.vcpu.set(vcpu);
        let stats = face.stats();
        ground.hear(Moment::Answered(Answered::with(stats.clone())));
        let [queued, applied, refused, not_attempted, merged, superseded, pending, flushes, by_reason @ ..] =
            &stats[..]
        else {
            return Err(Finding::new("no counts"));
        };
        let settled = applied + refused + not_attempted + merged + superseded;
        let reasons: u64 = by_reason[..by_reason.len() - 2].iter().sum();
        if *pending > 0 || *queued != settled || *flushes != reasons {
            return Err(Finding::new(format_args!("the counts do not add up: {stats:?}")));
        }
        failed += refused + not_attempted;
    }
    let told = ground.told.get();
    if failed == told { Ok(()) } else { Err(Finding::new(format_args!("{failed} have failed, {told} were told"))) }
}

pub(crate) fn any_program(bytes: &[u8]) -> Result<(), Finding> {
    let Ok(program) = CProgram::arbitrary_take_rest(Unstructured::new(bytes)) else { return Ok(()) };
    trying(&program, || run_c_program(&program))
}

/// Runs a program through the face for C, and through the Rust API.
///
/// # Errors
/// What the referee, the machine or the other finds.
pub fn run_c_program(program: &CProgram) -> Result<(), Finding> {
    let (judged, profile) =
        if program.nested { (Judged::Nested, Profile::Nested) } else { (Judged::Strict, Profile::Strict) };
    let settings = || Settings::new(judged).masked_bound(VcpuQueue::<512, 32, 128>::MASKED_BOUND as u32);
    let (here, there) = (TestGuest::with_settings(settings()), TestGuest::with_settings(settings()));
    let (c, rust) = (Ground::new(&here), Ground::new(&there));
    let hosted = Hosted::new(&c, program.nested.into(), (program.fill, program.maps, program.comes_back));
    let by_c = run(program, &c, &hosted)?;
    let by_rust = run(program, &rust, &Native::new(&rust, profile))?;
    same(&by_c, &by_rust)
}

/// Plays a program, and answers with what was heard.
fn run<'g, F: Face>(program: &CProgram, ground: &'g Ground<'g>, face: &'g F) -> Result<Vec<Moment>, Finding> {
    let mut play = Play { guest: ground.guest, ground, face, running: [0, 1], refuses: program.refuses };
    program.acts.iter().take(ACTS).try_for_each(|act| play.act(act))?;
    play.finish()?;
    counts_add_up(ground, face)?;
    ground.guest.xen().audit().map_err(Finding::new)?;
    if !program.refuses {
        crate::regions::is_clean(ground.guest)?;
        crate::regions::is_sound(ground.guest)?;
    }
    ground.story()
}

/// Whether both came to the same, word for word.
fn same(by_c: &[Moment], by_rust: &[Moment]) -> Result<(), Finding> {
    let Some(at) = by_c.iter().zip(by_rust).position(|(c, rust)| c != rust) else {
        let (c, rust) = (by_c.len(), by_rust.len());
        return if c == rust { Ok(()) } else { Err(Finding::new(format_args!("{c} moments by C, {rust} by Rust"))) };
    };
    Err(Finding::new(format_args!("moment {at} differs: by C {:?}, by Rust {:?}", by_c[at], by_rust[at])))
}
