//! What code runs on: a coroutine on a vCPU, with points, contexts, masks and locks.
//!
//! A [`Cpu`] is the coroutine's own; which vCPU it is on is looked up each time, because between two
//! points it may have been moved. The order that tells the referee from the design: a wish is told at
//! the step that takes it ([`Cpu::asked`]), everything else by the operation's own code in
//! [`crate::guest`].

use core::fmt;
use std::hash::Hash;

use corosensei::Yielder;
use hypercall::{Mfn, MmuextOp, Operation, Pte, PteFlags, PteSlot, UpdateCommand, VcpuId, VcpuMask, VirtAddr};
use mock_xen::{
    referee::{Asker, Context, Referee, Rule, TaskId, Wish},
    testing::{Answer, Failed},
};
use pv_mmu::Callback;

use crate::{
    design::Design,
    fixture::{mmuext, update},
    found::Found,
    machine::{Fiber, Machine, Vcpu, Wanted, mix},
    point::{Command, What, Yield},
    scenario::Handler,
};

/// See the module.
pub(crate) struct Cpu<'a, D: Design> {
    pub(crate) machine: &'a Machine<D>,
    yielder: &'a Yielder<Command, Yield>,
    id: usize,
}

impl<D: Design> Clone for Cpu<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Design> Copy for Cpu<'_, D> {}

impl<D: Design> fmt::Debug for Cpu<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu").field("fiber", &self.id).finish_non_exhaustive()
    }
}

impl<'a, D: Design> Cpu<'a, D> {
    /// The coroutine of number `id`.
    pub(crate) const fn new(machine: &'a Machine<D>, yielder: &'a Yielder<Command, Yield>, id: usize) -> Self {
        Self { machine, yielder, id }
    }

    pub(crate) const fn id(&self) -> usize {
        self.id
    }

    pub(crate) fn fiber(&self) -> &'a Fiber {
        &self.machine.fibers[self.id]
    }

    /// The number of the vCPU it is on now.
    pub(crate) fn vcpu_number(&self) -> usize {
        self.fiber().vcpu.get()
    }

    pub(crate) fn vcpu_id(&self) -> VcpuId {
        VcpuId::new(self.vcpu_number() as u32)
    }

    fn vcpu(&self) -> &'a Vcpu {
        &self.machine.vcpus[self.vcpu_number()]
    }

    /// Who acts, as the referee knows him.
    pub(crate) fn asker(&self) -> Asker {
        let context = if self.vcpu().in_interrupt.get() { Context::Interrupt } else { Context::Task };
        Asker { task: TaskId::new(self.id as u64), vcpu: self.vcpu_id(), context }
    }

    /// Yields once and answers with the command. While the model is drained nothing is yielded.
    pub(crate) fn suspend(&self, what: Yield) -> Command {
        if self.machine.draining.get() { Command::Quit } else { self.yielder.suspend(what) }
    }

    /// Yields for good, drained or not: the coroutine rests here between two ways.
    pub(crate) fn rest(&self, what: Yield) -> Command {
        self.yielder.suspend(what)
    }

    /// A point: whatever may happen here happens, then it goes on.
    pub(crate) fn point(&self, what: What) {
        if self.machine.draining.get() {
            return;
        }
        self.mix(what);
        while let Command::Interrupt(_) | Command::Switch(_) = self.obey(Yield::Point(what)) {}
        self.machine.log_point(self.vcpu_number(), what);
    }

    /// Yields, and does what is commanded between two steps.
    fn obey(&self, what: Yield) -> Command {
        let command = self.suspend(what);
        match command {
            Command::Interrupt(number) => self.interrupt(number),
            Command::Switch(next) => self.switch(next),
            Command::Go | Command::Do(_) | Command::Quit => {}
        }
        command
    }

    /// One more answer on this coroutine's way.
    pub(crate) fn mix(&self, answer: impl Hash) {
        let digest = &self.fiber().digest;
        digest.set(mix(digest.get(), answer));
    }

    /// The same, with the answer.
    pub(crate) fn answer<T: Hash>(&self, answer: T) -> T {
        self.mix(&answer);
        answer
    }

    /// Runs `step` with upcalls masked on the vCPU it is on, whose number it is told.
    pub(crate) fn masked<R>(&self, step: impl FnOnce(usize) -> R) -> R {
        let (number, id) = (self.vcpu_number(), self.vcpu_id());
        let masked = &self.vcpu().masked;
        masked.set(masked.get() + 1);
        self.machine.referee.masked(id);
        let answer = step(number);
        self.machine.referee.unmasked(id);
        masked.set(masked.get() - 1);
        answer
    }

    /// Tells the referee what is wanted, if something is: the step that takes it has begun. `pending` says what
    /// the last update that waits for an entry writes.
    pub(crate) fn asked(&self, pending: impl Fn(PteSlot) -> Option<Pte>) {
        if self.machine.draining.get() {
            return;
        }
        let Some(wanted) = self.fiber().wish.get() else { return };
        let wish = match wanted {
            Wanted::Operation(wish) => wish,
            Wanted::Emptied(slot) if pending(slot).is_some() || self.memory(slot).is_none() => return,
            Wanted::Emptied(slot) => replacing(slot, self.memory(slot), Pte::EMPTY),
            Wanted::Protected(slot) => {
                let held = pending(slot).unwrap_or_else(|| self.memory(slot));
                if !held.is_present() || !held.flags().contains(PteFlags::RW) {
                    return;
                }
                replacing(slot, held, held.with_flags(held.flags().without(PteFlags::RW)))
            }
        };
        self.fiber().wish.set(None);
        let request = self.machine.referee.ask(self.asker(), wish);
        self.fiber().request.set(Some((request, wanted)));
        self.machine.log(self.vcpu_number(), || {
            format!("asks {}", crate::picture::name(&self.machine.fixture, wish.operation()))
        });
    }

    /// A step has ended with nothing queued. If nothing has arrived for what is wished, that was not taken,
    /// because failures have to be collected first: the next step takes it, maybe on another vCPU.
    pub(crate) fn not_taken(&self) {
        if let Some((request, wanted)) = self.fiber().request.get()
            && !self.machine.draining.get()
            && self.machine.referee.withdraw(request)
        {
            self.fiber().request.set(None);
            self.fiber().wish.set(Some(wanted));
        }
    }

    /// Wishes for an operation, has `call` ask for it, and tells the referee what came of that.
    pub(crate) fn wish(&self, wish: impl Into<Wish>, call: impl FnOnce(&Operation) -> Answer) {
        let wish = wish.into();
        self.fiber().wish.set(Some(Wanted::Operation(wish)));
        let answer = call(wish.operation());
        self.tell_failures(&answer);
        if !is_for_nobody(wish.operation()) {
            self.asked(|_| None);
        }
        self.answered();
    }

    /// Has `call` empty an entry, and sees to it that it is empty then.
    pub(crate) fn wish_emptied(&self, slot: PteSlot, call: impl FnOnce() -> Pte) -> Pte {
        let asked = || self.machine.referee.counters().asked;
        let before = asked();
        self.fiber().wish.set(Some(Wanted::Emptied(slot)));
        let held = call();
        // Nobody else has asked for anything, so nobody else has filled it.
        if asked() <= before + 1 && !self.machine.draining.get() && !self.memory(slot).is_none() {
            self.machine
                .note(Found::Assertion { rule: Rule::R10, what: "an entry is emptied and what was pending is in it" });
        }
        self.answered();
        held
    }

    /// Has `call` do what is wanted, by an operation that it works out itself.
    pub(crate) fn wish_for(&self, wanted: Wanted, call: impl FnOnce()) {
        self.fiber().wish.set(Some(wanted));
        call();
        self.answered();
    }

    /// Has `call` ask for an operation with a callback that gives a lock back.
    pub(crate) fn wish_then(&self, operation: Operation, call: impl FnOnce(&Operation, Callback)) {
        self.fiber().wish.set(Some(Wanted::Operation(operation.into())));
        self.hold();
        call(&operation, crate::completion::callback(self.machine.callbacks.borrow().len()));
        if let Some((request, _)) = self.fiber().request.get() {
            let due = self.machine.referee.callback_due(self.asker(), request);
            self.machine.callbacks.borrow_mut().push(due);
        }
        self.tell_callbacks();
        self.answered();
    }

    /// A point, and then the referee is told.
    pub(crate) fn tell(&self, what: impl FnOnce(&Referee)) {
        self.point(What::Tell("region"));
        self.tell_callbacks();
        if !self.machine.draining.get() {
            what(&self.machine.referee);
        }
    }

    fn answered(&self) {
        self.fiber().wish.set(None);
        if let Some((request, _)) = self.fiber().request.take() {
            self.point(What::Tell("answered"));
            self.machine.referee.answered(request);
        }
    }

    /// Tells the referee of the failures in an answer.
    pub(crate) fn tell_failures(&self, answer: &Answer) {
        answer.failures.iter().for_each(|failed| self.tell_failed(failed));
    }

    /// Tells the referee of one failure.
    pub(crate) fn tell_failed(&self, Failed { operation, errno }: &Failed) {
        let (referee, vcpu) = (&self.machine.referee, self.vcpu_id());
        match errno {
            Some(errno) => referee.failed(vcpu, operation, *errno),
            None => referee.not_attempted(vcpu, operation),
        }
    }

    /// What memory holds.
    pub(crate) fn memory(&self, slot: PteSlot) -> Pte {
        self.machine.fixture.xen.read_entry(slot).expect("the entry lies in the guest's memory")
    }

    /// Exchanges an entry in memory, past whatever is queued.
    pub(crate) fn exchange(&self, slot: PteSlot, pte: Pte) -> Pte {
        if self.machine.draining.get() {
            return Pte::EMPTY;
        }
        self.machine.referee.trapped_write(self.asker(), slot);
        self.machine.fixture.xen.trapped_exchange(slot, pte).expect("Xen emulates the exchange")
    }

    /// Runs the handler of event `number`, with upcalls masked. What it does leaves no trace in the code it
    /// interrupts but by what is shared.
    pub(crate) fn interrupt(&self, number: usize) {
        self.machine.log(self.vcpu_number(), || format!("interrupt {number}"));
        self.apart(|| {
            self.mix(("interrupt", number));
            self.vcpu().in_interrupt.set(true);
            self.masked(|_| match self.machine.scenario.handlers.get(number) {
                Some(handler) => self.handle(*handler),
                None => self.answer_call(),
            });
            self.machine.referee.interrupt_end(self.vcpu_id());
            self.vcpu().in_interrupt.set(false);
        });
    }

    fn handle(&self, handler: Handler) {
        let fixture = &self.machine.fixture;
        match handler {
            Handler::Set(entry) => {
                let wish = update(fixture.slot(entry.into()), fixture.handlers_pte());
                self.wish(wish, |operation| D::ask_in_interrupt(self, operation));
            }
            Handler::FlushTlb => {
                self.wish(mmuext(MmuextOp::TlbFlushAll), |operation| D::ask_in_interrupt(self, operation));
            }
            Handler::Read(entry) => {
                let slot = fixture.slot(entry.into());
                let value = D::read_in_interrupt(self, slot);
                self.tell_read(slot, value);
            }
            Handler::NotHeldOff => self.must_refuse(),
            Handler::Clear(entry) => _ = D::clear_in_interrupt(self, fixture.slot(entry.into())),
        }
    }

    /// The platform of whoever comes in the middle of a step finds the queue in use.
    fn must_refuse(&self) {
        if self.vcpu().in_step.get() && !D::is_in_use(&self.machine.shared.borrow(), self.vcpu_number()) {
            self.machine.note(Found::Assertion { rule: Rule::R9, what: "a queue can be had in the middle of a step" });
        }
    }

    /// Tells the referee what an accessor answered.
    pub(crate) fn tell_read(&self, slot: PteSlot, value: Pte) {
        if !self.machine.draining.get() {
            self.machine.referee.read(self.asker(), slot, value, self.memory(slot));
        }
    }

    /// Another vCPU wants this one off a table: here it leaves it for the kernel's own, if it is there, and
    /// flushes.
    fn answer_call(&self) {
        let fixture = &self.machine.fixture;
        let is_on = |table| fixture.xen.processor(self.vcpu_id()).base == table;
        if self.vcpu().called.get().is_some_and(is_on) {
            let wish = mmuext(MmuextOp::NewBaseptr { table: fixture.kernel_root() });
            self.wish(wish, |operation| D::ask_in_interrupt(self, operation));
        }
        D::flush_in_interrupt(self);
        self.vcpu().called.set(None);
    }

    /// Calls every other vCPU that runs, or may still have queued, something of `table`, and waits until
    /// each has answered.
    pub(crate) fn call_others(&self, table: Mfn) {
        let here = self.vcpu_number();
        let others = || self.machine.vcpus.iter().enumerate().filter(|(number, _)| *number != here);
        others()
            .filter(|(number, _)| self.machine.is_online(*number))
            .for_each(|(_, vcpu)| vcpu.called.set(Some(table)));
        while others().any(|(_, vcpu)| vcpu.called.get().is_some()) && !self.machine.draining.get() {
            self.mix("waits");
            self.obey(Yield::Answers);
        }
    }

    /// Gives the vCPU away, ready to go on.
    pub(crate) fn sleep(&self) {
        while !matches!(self.obey(Yield::Sleep), Command::Switch(_) | Command::Quit) {}
    }

    /// Switches bottom halves off or on.
    pub(crate) fn soft(&self, off: bool) {
        let (fiber, step) = (self.fiber(), if off { 1 } else { -1 });
        fiber.soft_off.set(off);
        fiber.preempt_off.set(fiber.preempt_off.get().saturating_add_signed(step));
    }

    /// Takes another vCPU offline: whatever runs there leaves it, and nothing is left in its queue.
    pub(crate) fn offline(&self, vcpu: usize) {
        let state = &self.machine.vcpus[vcpu];
        self.point(What::Tell("offline"));
        if vcpu == self.vcpu_number() || !self.machine.is_online(vcpu) || state.dying.replace(true) {
            return;
        }
        while !matches!(self.obey(Yield::Quiet(vcpu)), Command::Go | Command::Quit) {}
        self.must_be_empty(vcpu);
        let others = (0..self.machine.vcpus.len()).filter(|other| *other != vcpu && self.machine.is_online(*other));
        self.machine.online.set(others.map(|other| VcpuId::new(other as u32)).collect());
        state.dying.set(false);
    }

    /// Brings it online again.
    pub(crate) fn online_again(&self, vcpu: usize) {
        self.point(What::Tell("online"));
        self.machine.online.set(self.machine.online.get().with(VcpuId::new(vcpu as u32)));
    }

    /// A vCPU that does not run keeps nothing.
    pub(crate) fn must_be_empty(&self, vcpu: usize) {
        if !D::queued(&self.machine.shared.borrow(), vcpu).is_empty() {
            self.machine
                .note(Found::Assertion { rule: Rule::R8, what: "operations are left on a vCPU that does not run" });
        }
    }

    /// Between two operations upcalls are open.
    pub(crate) fn must_be_open(&self) {
        if self.vcpu().masked.get() > 0 {
            self.machine
                .note(Found::Assertion { rule: Rule::R15, what: "upcalls stay masked when the operation is over" });
        }
    }

    /// Takes a lock: spins with preemption off, or sleeps until it is free.
    pub(crate) fn lock(&self, number: usize) {
        let lock = &self.machine.locks[number];
        self.point(What::Tell("lock"));
        while lock.get().is_some() && !self.machine.draining.get() {
            self.obey(Yield::Lock(number));
        }
        lock.set(Some(self.id));
        if !self.machine.scenario.sleeping_locks {
            let preempt_off = &self.fiber().preempt_off;
            preempt_off.set(preempt_off.get() + 1);
        }
    }

    /// Gives it back.
    pub(crate) fn unlock(&self, number: usize) {
        let is_held = self.machine.locks[number].get() == Some(self.id);
        if is_held {
            self.machine.locks[number].set(None);
            let preempt_off = &self.fiber().preempt_off;
            preempt_off.set(preempt_off.get().saturating_sub(1));
        }
    }

    /// Switches to the coroutine `next`, and returns when somebody has switched back.
    pub(crate) fn switch(&self, next: usize) {
        self.machine.log(self.vcpu_number(), || {
            format!("switches to {}", crate::picture::who(next, self.machine.scenario.tasks()))
        });
        let vcpu = self.vcpu_id();
        self.apart(|| {
            self.mix(("switch", next));
            let loads = self.loads(next);
            self.masked(|_| {
                for load in &loads {
                    let asker = Asker { context: Context::Switch, ..self.asker() };
                    self.machine.referee.ask(asker, *load);
                }
                D::switch(self, next, &loads);
            });
            let [prev, next] = [self.id, next].map(|fiber| TaskId::new(fiber as u64));
            self.machine.referee.switch(vcpu, prev, next);
        });
        self.suspend(Yield::Switched(next));
    }

    fn loads(&self, next: usize) -> Vec<Operation> {
        let root = self.machine.fixture.root(next).filter(|_| self.machine.scenario.switch_loads);
        let stack = Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0x8000_0000 + next as u64 * 0x1000) };
        root.into_iter().flat_map(|table| [mmuext(MmuextOp::NewBaseptr { table }), stack]).collect()
    }

    /// Runs `other` in the middle of what this coroutine does, and leaves that as it was.
    fn apart(&self, other: impl FnOnce()) {
        let fiber = self.fiber();
        let kept = (fiber.digest.get(), fiber.wish.take(), fiber.request.take(), fiber.steps.get());
        let observes = fiber.observes.take();
        other();
        fiber.digest.set(kept.0);
        fiber.wish.set(kept.1);
        fiber.request.set(kept.2);
        fiber.steps.set(kept.3);
        fiber.observes.set(observes);
    }
}

/// Whether an operation need not be taken: a flush of no vCPU.
fn is_for_nobody(operation: &Operation) -> bool {
    matches!(operation, Operation::Mmuext { op, .. } if op.vcpus().is_some_and(VcpuMask::is_empty))
}

/// The operation that makes an entry `pte` that holds `held`: what the hardware notes in it meanwhile stays.
fn replacing(slot: PteSlot, held: Pte, pte: Pte) -> Wish {
    let command = if held.is_present() { UpdateCommand::PreserveAd } else { UpdateCommand::Normal };
    update(slot.with_command(command), pte).into()
}
