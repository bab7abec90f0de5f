//! Linux's designs, 2006 to 2026: one multicall buffer for each vCPU, and four ways to know when it may
//! fill.
//!
//! Each era is given as it was known to behave, its internal steps written out: between any two of them
//! something else can happen, as it could there. What is the same in all of them and not the point is
//! left out: entries are never split by kind or size. What they had in common and is a fault by today's
//! contract is kept: nothing looks at the queue before it reads an entry, exchanges one or writes one
//! directly, and nobody is told which operation of a batch was refused.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use hypercall::{Batch, Hypervisor, Operation, Pte, PteFlags, PteSlot, issue_operation};
use mock_xen::{MockVcpu, referee::Rule, testing::Answer};

use super::Design;
use crate::{cpu::Cpu, found::Found, point::What, scenario::Scenario};

/// How an era tells whether operations may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Laziness {
    /// By a mode of the vCPU; a second enter stops the kernel.
    Mode,
    /// The same with a count of the vCPU's for enters within enters.
    CountedMode,
    /// By a mode of the vCPU that a count of the task's switches on and off.
    TaskAndMode,
    /// By the task's count alone.
    Task,
}

/// What one era did.
pub(crate) trait Era: 'static {
    /// How it tells whether operations may wait.
    const LAZINESS: Laziness;
    /// Whether the switch hands over what is queued, and takes laziness off the vCPU and back.
    const SWITCHES: bool = true;
    /// Whether a call that must be effective at once hands over what it has just queued.
    const FLUSHES_MAPPINGS: bool = true;
    /// Whether TLB flushes are queued behind the writes they are for.
    const QUEUES_FLUSHES: bool = true;
    /// Whether other vCPUs are made to flush before a table is unpinned.
    const CALLS_OTHERS: bool = true;
    /// Whether locks that wait for a batch are given back when it is full, and not at the walk's end.
    const GIVES_LOCKS_BACK: bool = true;
    /// Whether switching debugging on begins a new buffer.
    const DEBUGGING_BEGINS_ANEW: bool = false;
    /// Whether a task with bottom halves off counts as being in an interrupt.
    const SOFT_OFF_IS_INTERRUPT: bool = false;
}

/// Declares the eras.
macro_rules! eras {
    ($($(#[$doc:meta])* $name:ident { $($body:tt)* })*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) struct $name;

            impl Era for $name {
                $($body)*
            }
        )*
    };
}

eras! {
    /// 2006: regions hold a lock and are never preempted, so no switch looks at them.
    Y2006 {
        const LAZINESS: Laziness = Laziness::Mode;
        const SWITCHES: bool = false;
        const FLUSHES_MAPPINGS: bool = false;
        const CALLS_OTHERS: bool = false;
        const GIVES_LOCKS_BACK: bool = false;
    }
    /// 2009: a switch leaves the mode for the outgoing task and enters it again for the incoming one.
    Y2009 {
        const LAZINESS: Laziness = Laziness::Mode;
        const FLUSHES_MAPPINGS: bool = false;
        const CALLS_OTHERS: bool = false;
    }
    /// The same where TLB flushes go out at once, as on machines without a queue for them.
    Y2009Native {
        const LAZINESS: Laziness = Laziness::Mode;
        const QUEUES_FLUSHES: bool = false;
    }
    /// 6.6: enters within enters are counted, on the vCPU.
    V6_6 {
        const LAZINESS: Laziness = Laziness::CountedMode;
    }
    /// 7.0: the task counts; its first enter and its last leave change the vCPU's mode.
    V7_0 {
        const LAZINESS: Laziness = Laziness::TaskAndMode;
    }
    /// 2026: the task counts, and no vCPU has a mode.
    Y2026 {
        const LAZINESS: Laziness = Laziness::Task;
        const SOFT_OFF_IS_INTERRUPT: bool = true;
    }
    /// The same with the debugging code of 2024 in its first state.
    Y2026Debug {
        const LAZINESS: Laziness = Laziness::Task;
        const DEBUGGING_BEGINS_ANEW: bool = true;
    }
}

/// Operations of a batch, at most.
const BATCH: usize = 16;

/// A vCPU's mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Mode {
    #[default]
    None,
    Mmu,
    Cpu,
}

#[derive(Debug, Default)]
struct Vcpu {
    mode: Cell<Mode>,
    nesting: Cell<u8>,
    was_masked: Cell<bool>,
    queue: RefCell<Vec<Operation>>,
}

#[derive(Debug, Default)]
struct Task {
    depth: Cell<u8>,
    pauses: Cell<u8>,
    /// To be made lazy again when it is switched in.
    was_lazy: Cell<bool>,
}

/// What vCPUs and tasks share.
#[derive(Debug)]
pub(crate) struct Shared {
    vcpus: Vec<Vcpu>,
    tasks: Vec<Task>,
}

/// Linux as it was in era `E`.
#[derive(Debug)]
pub(crate) struct Linux<E>(PhantomData<E>);

/// One step at a time against what is shared.
impl<E: Era> Cpu<'_, Linux<E>> {
    /// An internal step, whose answer is all that it leaves in the code.
    fn inner<T: Hash>(&self, name: &'static str, step: impl FnOnce(&Vcpu, &Task) -> T) -> T {
        self.point(What::Internal(name));
        let shared = self.machine.shared.borrow();
        let idle = Task::default();
        let task = shared.tasks.get(self.id()).unwrap_or(&idle);
        self.answer(step(&shared.vcpus[self.vcpu_number()], task))
    }

    fn bug_unless(&self, holds: bool, rule: Rule, what: &'static str) {
        if !holds {
            self.machine.note(Found::Assertion { rule, what });
        }
    }

    /// The vCPU's mode becomes `mode`.
    fn enter_mode(&self, rule: Rule) {
        let is_counted = E::LAZINESS == Laziness::CountedMode;
        let before = self.inner("enter the mode", |vcpu, _| {
            let before = vcpu.mode.get();
            match before {
                Mode::Mmu if is_counted => vcpu.nesting.set(vcpu.nesting.get() + 1),
                _ => vcpu.mode.set(Mode::Mmu),
            }
            before
        });
        self.bug_unless(
            before == Mode::None || is_counted && before == Mode::Mmu,
            rule,
            "the vCPU is in a lazy mode already",
        );
    }

    /// Flushes and leaves the mode, without being preempted in between.
    fn leave_mode(&self, rule: Rule) {
        self.flush_queue("leave the mode");
        let before = self.inner("left the mode", |vcpu, _| {
            let before = vcpu.mode.get();
            match vcpu.nesting.get() {
                0 => vcpu.mode.set(Mode::None),
                nesting => vcpu.nesting.set(nesting - 1),
            }
            before
        });
        self.bug_unless(before == Mode::Mmu, rule, "the vCPU is not in the lazy mode it is to leave");
    }

    /// Runs `body` with preemption off.
    fn undivided(&self, body: impl FnOnce()) {
        self.point(What::Internal("preemption off"));
        let off = &self.fiber().preempt_off;
        off.set(off.get() + 1);
        body();
        off.set(off.get() - 1);
    }

    /// Whether the caller is, for Linux, in an interrupt.
    fn is_interrupt(&self) -> bool {
        self.machine.vcpus[self.vcpu_number()].in_interrupt.get()
            || E::SOFT_OFF_IS_INTERRUPT && self.fiber().soft_off.get()
    }

    fn is_lazy(&self) -> bool {
        if self.is_interrupt() {
            return false;
        }
        self.inner("lazy?", |vcpu, task| match E::LAZINESS {
            Laziness::Task => task.depth.get() > 0 && task.pauses.get() == 0,
            _ => vcpu.mode.get() == Mode::Mmu,
        })
    }

    fn push(&self, operation: &Operation) {
        self.point(What::Internal("queue"));
        self.masked(|vcpu| {
            self.asked(|_| None);
            self.machine.shared.borrow().vcpus[vcpu].queue.borrow_mut().push(*operation);
        });
    }

    /// Hands over what is queued, in one hypercall; refusals are written to the log and forgotten.
    fn flush_queue(&self, name: &'static str) {
        self.point(What::Internal(name));
        self.masked(|vcpu| {
            let queued = self.machine.shared.borrow().vcpus[vcpu].queue.take();
            self.mix(&queued);
            queued.chunks(BATCH).for_each(|batch| self.issue(batch));
        });
    }

    fn issue(&self, operations: &[Operation]) {
        if self.machine.draining.get() {
            return;
        }
        self.point(What::Hypercall);
        let gap = |point| self.point(What::Between(point));
        let mut vcpu = self.machine.fixture.xen.vcpu(self.vcpu_id()).pausing(&gap);
        match operations {
            [only] => _ = issue_operation(&mut vcpu, only),
            several => multicall(&mut vcpu, several),
        }
    }

    /// One operation past the queue.
    fn direct(&self, operation: &Operation) {
        self.point(What::Internal("direct"));
        self.masked(|_| {
            self.asked(|_| None);
            self.issue(std::slice::from_ref(operation));
        });
    }

    /// A write outside regions goes past the queue, anything else through it.
    fn take(&self, operation: &Operation, is_lazy: bool) {
        let is_flush = matches!(operation, Operation::Mmuext { op, .. } if op.is_tlb_flush());
        match operation {
            _ if is_flush && !E::QUEUES_FLUSHES => self.direct(operation),
            Operation::Update { .. } if !is_lazy => self.direct(operation),
            _ => {
                self.push(operation);
                if !is_lazy {
                    self.flush_queue("issue");
                }
            }
        }
    }
}

fn multicall(vcpu: &mut MockVcpu<'_>, operations: &[Operation]) {
    let mut batch = Batch::<BATCH, BATCH, 128>::new();
    for operation in operations {
        batch.push(operation).expect("no more than a batch is issued at once");
    }
    if batch.len() == 1 {
        batch.prepare_call(0, 0).into_iter().for_each(|mut call| _ = vcpu.call(&mut call));
    } else {
        let _logged = vcpu.multicall(&mut batch.prepare());
    }
}

impl<E: Era> Design for Linux<E> {
    type Local = ();
    type Shared = Shared;
    const MASKED_BOUND: u32 = 32;
    const PAUSES: bool = false;

    fn shared(scenario: &Scenario) -> Shared {
        Shared {
            vcpus: (0..scenario.vcpus).map(|_| Vcpu::default()).collect(),
            tasks: (0..scenario.tasks()).map(|_| Task::default()).collect(),
        }
    }

    fn local(_scenario: &Scenario) {}

    fn digest(shared: &Shared, hasher: &mut impl Hasher) {
        for vcpu in &shared.vcpus {
            (vcpu.mode.get(), vcpu.nesting.get(), vcpu.was_masked.get(), &*vcpu.queue.borrow()).hash(hasher);
        }
        for task in &shared.tasks {
            (task.depth.get(), task.pauses.get(), task.was_lazy.get()).hash(hasher);
        }
    }

    fn queued(shared: &Shared, vcpu: usize) -> Vec<Operation> {
        shared.vcpus[vcpu].queue.borrow().clone()
    }

    fn is_in_use(_shared: &Shared, _vcpu: usize) -> bool {
        true
    }

    /// Not known without a step of its own.
    fn is_lazy(_local: &()) -> bool {
        true
    }

    fn enter(cpu: &Cpu<'_, Self>, _local: &mut ()) -> Answer {
        if cpu.is_interrupt() {
            return true.into();
        }
        match E::LAZINESS {
            Laziness::Mode | Laziness::CountedMode => cpu.enter_mode(Rule::R4),
            Laziness::TaskAndMode | Laziness::Task => {
                let is_first = cpu.inner("count up", |_, task| {
                    if task.pauses.get() > 0 {
                        return false;
                    }
                    task.depth.set(task.depth.get() + 1);
                    task.depth.get() == 1
                });
                if is_first && E::LAZINESS == Laziness::TaskAndMode {
                    cpu.enter_mode(Rule::R9);
                }
            }
        }
        true.into()
    }

    fn leave(cpu: &Cpu<'_, Self>, _local: &mut ()) -> Answer {
        if cpu.is_interrupt() {
            return true.into();
        }
        match E::LAZINESS {
            Laziness::Mode | Laziness::CountedMode => cpu.undivided(|| cpu.leave_mode(Rule::R4)),
            Laziness::TaskAndMode | Laziness::Task => {
                let depth = cpu.inner("count down", |_, task| {
                    task.depth.set(task.depth.get().saturating_sub(1));
                    (task.pauses.get() == 0).then_some(task.depth.get())
                });
                match depth {
                    None => {}
                    Some(0) if E::LAZINESS == Laziness::TaskAndMode => cpu.undivided(|| cpu.leave_mode(Rule::R9)),
                    Some(_) => cpu.flush_queue("leave"),
                }
            }
        }
        true.into()
    }

    /// Before tasks counted there was no pause: what must be effective at once flushed by itself, if at all.
    fn pause(cpu: &Cpu<'_, Self>, _local: &mut ()) -> Answer {
        let was_lazy = cpu.inner("pause", |_, task| {
            task.pauses.set(task.pauses.get() + 1);
            task.pauses.get() == 1 && task.depth.get() > 0
        });
        match E::LAZINESS {
            Laziness::TaskAndMode if was_lazy => cpu.undivided(|| cpu.leave_mode(Rule::R9)),
            Laziness::Task if was_lazy => cpu.flush_queue("pause"),
            _ => {}
        }
        true.into()
    }

    fn resume(cpu: &Cpu<'_, Self>, _local: &mut ()) -> Answer {
        let is_lazy = cpu.inner("resume", |_, task| {
            task.pauses.set(task.pauses.get().saturating_sub(1));
            task.pauses.get() == 0 && task.depth.get() > 0
        });
        if is_lazy && E::LAZINESS == Laziness::TaskAndMode {
            cpu.enter_mode(Rule::R9);
        }
        true.into()
    }

    fn ask(cpu: &Cpu<'_, Self>, _local: &mut (), operation: &Operation) -> Answer {
        if E::CALLS_OTHERS
            && let Operation::Mmuext { op: hypercall::MmuextOp::Unpin { table }, .. } = operation
        {
            cpu.call_others(*table);
        }
        let is_lazy = cpu.is_lazy();
        cpu.take(operation, is_lazy);
        true.into()
    }

    /// Mapped through the same functions as everything, so it waits where they do.
    fn ask_at_once(cpu: &Cpu<'_, Self>, local: &mut (), operation: &Operation) -> Answer {
        let answer = Self::ask(cpu, local, operation);
        if E::FLUSHES_MAPPINGS {
            cpu.flush_queue("flush the mapping");
        }
        answer
    }

    fn ask_range(
        cpu: &Cpu<'_, Self>,
        _local: &mut (),
        slot: PteSlot,
        count: usize,
        pte_of: &mut dyn FnMut(usize) -> Pte,
    ) {
        let is_lazy = cpu.is_lazy();
        for n in 0..count {
            let Some(slot) = slot.offset(n) else { break };
            cpu.point(What::Internal(if is_lazy { "queue" } else { "direct" }));
            cpu.masked(|vcpu| {
                let operation = crate::fixture::update(slot, pte_of(n));
                match is_lazy {
                    true => cpu.machine.shared.borrow().vcpus[vcpu].queue.borrow_mut().push(operation),
                    false => cpu.issue(&[operation]),
                }
            });
        }
    }

    /// Holding the locks keeps the task from being preempted.
    fn walk(cpu: &Cpu<'_, Self>, _local: &mut (), count: usize) {
        cpu.undivided(|| {
            cpu.tell(|referee| referee.enter(cpu.asker(), true));
            for entry in 0..count {
                if E::GIVES_LOCKS_BACK && entry > 0 && entry.is_multiple_of(BATCH) {
                    cpu.flush_queue("the batch is full");
                    cpu.machine.held.set(0);
                }
                cpu.hold();
                let fixture = &cpu.machine.fixture;
                let wish = crate::fixture::update(fixture.slot(entry), fixture.pte(cpu.id(), entry));
                cpu.wish(wish, |operation| {
                    cpu.push(operation);
                    true.into()
                });
            }
            cpu.tell(|referee| referee.leave(cpu.asker()));
            cpu.flush_queue("end of the walk");
            cpu.machine.held.set(0);
            cpu.tell(|referee| referee.left(cpu.asker(), true));
        });
    }

    /// A batch is opened: whether upcalls were masked is kept in the vCPU's only word for it.
    fn begin_pair(cpu: &Cpu<'_, Self>) {
        cpu.point(What::Internal("open a batch"));
        let vcpu = &cpu.machine.vcpus[cpu.vcpu_number()];
        cpu.machine.shared.borrow().vcpus[cpu.vcpu_number()].was_masked.set(vcpu.masked.get() > 0);
        vcpu.masked.set(1);
    }

    /// It is closed, and upcalls are as that word says.
    fn end_pair(cpu: &Cpu<'_, Self>) {
        let was_masked = cpu.machine.shared.borrow().vcpus[cpu.vcpu_number()].was_masked.get();
        cpu.machine.vcpus[cpu.vcpu_number()].masked.set(u32::from(was_masked));
    }

    fn flush(cpu: &Cpu<'_, Self>, _local: &mut ()) {
        cpu.flush_queue("flush");
    }

    fn read(cpu: &Cpu<'_, Self>, _local: &mut (), slot: PteSlot) -> Pte {
        cpu.point(What::Read);
        cpu.answer(cpu.memory(slot))
    }

    fn clear(cpu: &Cpu<'_, Self>, _local: &mut (), slot: PteSlot) -> Pte {
        cpu.point(What::Exchange);
        cpu.answer(cpu.exchange(slot, Pte::EMPTY))
    }

    fn protect(cpu: &Cpu<'_, Self>, _local: &mut (), slot: PteSlot) {
        cpu.point(What::Exchange);
        let held = cpu.answer(cpu.memory(slot));
        cpu.exchange(slot, held.with_flags(held.flags().without(PteFlags::RW)));
    }

    fn count(cpu: &Cpu<'_, Self>, _on: bool) {
        if E::DEBUGGING_BEGINS_ANEW {
            cpu.inner("debug", |vcpu, _| vcpu.queue.borrow_mut().clear());
        }
    }

    fn exit(_cpu: &Cpu<'_, Self>, _local: &mut ()) {}

    fn ask_in_interrupt(cpu: &Cpu<'_, Self>, operation: &Operation) -> Answer {
        cpu.take(operation, false);
        true.into()
    }

    fn read_in_interrupt(cpu: &Cpu<'_, Self>, slot: PteSlot) -> Pte {
        Self::read(cpu, &mut (), slot)
    }

    fn clear_in_interrupt(cpu: &Cpu<'_, Self>, slot: PteSlot) -> Pte {
        Self::clear(cpu, &mut (), slot)
    }

    fn flush_in_interrupt(cpu: &Cpu<'_, Self>) {
        cpu.flush_queue("called");
    }

    /// The start hook, what the switch loads, the end hook.
    fn switch(cpu: &Cpu<'_, Self>, next: usize, loads: &[Operation]) {
        if E::SWITCHES {
            cpu.start_switch();
        }
        loads.iter().for_each(|load| cpu.push(load));
        if E::SWITCHES || !loads.is_empty() {
            cpu.flush_queue("end of the switch");
            cpu.end_switch(next);
        }
    }
}

impl<E: Era> Cpu<'_, Linux<E>> {
    fn start_switch(&self) {
        if E::LAZINESS == Laziness::Task {
            return;
        }
        let was_lazy = self.inner("start of the switch", |vcpu, task| {
            let was_lazy = vcpu.mode.get() == Mode::Mmu;
            task.was_lazy.set(was_lazy);
            was_lazy
        });
        if was_lazy {
            self.leave_mode(Rule::R7);
        }
        let before = self.inner("the mode of the switch", |vcpu, _| vcpu.mode.replace(Mode::Cpu));
        self.bug_unless(before == Mode::None, Rule::R7, "the vCPU is still in a lazy mode when it switches");
    }

    fn end_switch(&self, next: usize) {
        if E::LAZINESS == Laziness::Task || !E::SWITCHES {
            return;
        }
        let shared = self.machine.shared.borrow();
        let is_lazy = shared.tasks.get(next).is_some_and(|next| match E::LAZINESS {
            Laziness::TaskAndMode => next.depth.get() > 0 && next.pauses.get() == 0,
            _ => next.was_lazy.take(),
        });
        drop(shared);
        self.inner("end of the switch", |vcpu, _| vcpu.mode.set(if is_lazy { Mode::Mmu } else { Mode::None }));
    }
}
