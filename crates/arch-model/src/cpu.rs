//! What a task's code runs on: a coroutine on a vCPU, with points where anything may happen.

use std::cell::RefCell;

use corosensei::Yielder;
use guest_model::Handler;
use mock_xen::referee::Rule;
use pv_mmu::arch::{Deferral, Machine, Preemption};

use crate::{
    design::{Design, Plant},
    world::{Arch, Task, Vcpu, World},
};

/// What a coroutine yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Yield {
    /// About to do something.
    Point,
    /// The task chooses its next step, of so many and the end.
    Choose(usize),
    /// Waits for this lock.
    Lock(usize),
    /// Gives its vCPU away.
    Sleep,
}

/// What it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Go on.
    Go,
    /// Run this handler, then ask again.
    Interrupt(usize),
    /// The step that is chosen.
    Do(usize),
}

/// See the module.
pub(crate) struct Cpu<'a, A: Arch> {
    pub(crate) world: &'a World<A>,
    yielder: &'a Yielder<Command, Yield>,
    pub(crate) id: usize,
}

impl<A: Arch> Clone for Cpu<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: Arch> Copy for Cpu<'_, A> {}

impl<'a, A: Arch> Cpu<'a, A> {
    pub(crate) const fn new(world: &'a World<A>, yielder: &'a Yielder<Command, Yield>, id: usize) -> Self {
        Self { world, yielder, id }
    }

    pub(crate) fn task(&self) -> &'a Task<A> {
        &self.world.tasks[self.id]
    }

    pub(crate) fn vcpu_number(&self) -> usize {
        self.task().vcpu.get()
    }

    pub(crate) fn vcpu(&self) -> &'a Vcpu<A> {
        &self.world.vcpus[self.vcpu_number()]
    }

    /// Yields; at the end of everything nothing is yielded any more.
    pub(crate) fn suspend(&self, what: Yield) -> Command {
        if self.world.is_ending.get() { Command::Go } else { self.yielder.suspend(what) }
    }

    /// A point: whatever may happen here happens.
    pub(crate) fn point(&self, what: &'static str) {
        while !self.world.is_undisturbed.get()
            && let Command::Interrupt(number) = self.suspend(Yield::Point)
        {
            self.interrupt(number);
        }
        let context = if self.task().in_handler.get() { "handler" } else { "task" };
        self.world.log(self.vcpu_number(), || format!("{context} {}: {what}", self.id));
    }

    /// What waits is nobody's business here (R6).
    fn interrupt(&self, number: usize) {
        let on = self.vcpu_number();
        let waiting = self.world.waiting(on, self.id);
        self.task().in_handler.set(true);
        match self.world.scenario.handlers.get(number) {
            Some(Handler::Set(entry)) => self.handler_writes(usize::from(*entry), true),
            Some(Handler::Clear(entry)) => self.handler_writes(usize::from(*entry), false),
            _ => self.point("nothing of the library's"),
        }
        self.task().in_handler.set(false);
        if self.world.waiting(on, self.id) != waiting {
            self.world.note(Rule::R6, "a handler has changed what waits for a task".to_owned());
        }
    }

    fn handler_writes(&self, entry: usize, is_present: bool) {
        let owed = self.store(entry, is_present);
        self.world.design.after_write_in_interrupt(*self, owed);
        if owed.is_some() {
            self.judge(Rule::R6, entry);
        }
    }

    /// Writes an entry; answers with what has to follow.
    pub(crate) fn store(&self, entry: usize, is_present: bool) -> Option<A::Work> {
        self.point("store");
        let world = self.world;
        let old = world.memory[entry].get();
        world.writes.set(world.writes.get() + 1);
        let new = if is_present { A::value(world.writes.get()) } else { 0 };
        world.memory[entry].set(new);
        let is_handler = self.task().in_handler.get();
        world.writer[entry].set(if is_handler { world.tasks.len() } else { self.id });
        A::store(&mut world.mock.borrow_mut(), self.vcpu_number(), entry, new);
        A::work(entry, old, new)
    }

    /// Nothing old of the entry may be used any more, unless somebody else has written it since.
    pub(crate) fn judge(&self, rule: Rule, entry: usize) {
        let world = self.world;
        let me = if self.task().in_handler.get() { world.tasks.len() } else { self.id };
        if world.writer[entry].get() != me || (A::REFUSES && entry == crate::world::REFUSED) {
            return;
        }
        let value = world.memory[entry].get();
        if A::is_stale(&world.mock.borrow(), self.vcpu_number(), entry, value) {
            world.note(rule, format!("entry {entry} has been written, and may still be used as it was"));
        }
    }

    /// Runs `act` without a point in it: what runs on other vCPUs for this one lets nothing in between.
    pub(crate) fn undisturbed<T>(&self, act: impl FnOnce() -> T) -> T {
        let was = self.world.is_undisturbed.replace(true);
        let answer = act();
        self.world.is_undisturbed.set(was);
        answer
    }

    /// What waits, where this architecture has it.
    fn waiting(&self) -> &'a RefCell<A::Deferral> {
        match A::PREEMPTION {
            Preemption::Disabled => &self.vcpu().waiting,
            Preemption::Allowed => &self.task().waiting,
        }
    }

    /// Lets `step` find nothing that waits, and what waits wait on.
    pub(crate) fn keeping(&self, step: impl FnOnce()) {
        let kept = self.waiting().take();
        step();
        self.waiting().replace(kept);
    }

    /// A call of the hardware: `act` on the mock.
    pub(crate) fn hardware<T>(&self, what: &'static str, act: impl FnOnce(&mut A::Mock, usize) -> T) -> T {
        self.point(what);
        if !self.task().in_handler.get() {
            self.task().calls.set(self.task().calls.get() + 1);
        }
        act(&mut self.world.mock.borrow_mut(), self.vcpu_number())
    }
}

impl<A: Arch> Machine for Cpu<'_, A> {
    type Deferral = A::Deferral;
    type Hardware = Self;

    fn hardware(&self) -> &Self {
        self
    }

    fn with_deferral<T>(&self, step: impl FnOnce(&mut A::Deferral) -> T) -> T {
        self.point("step");
        match self.waiting().try_borrow_mut() {
            Ok(mut waiting) => step(&mut waiting),
            Err(_) => {
                self.world.note(Rule::R9, "a step on what waits, within another".to_owned());
                step(&mut A::Deferral::default())
            }
        }
    }

    fn preempt_disable(&self) {
        self.point("preempt_disable");
        self.task().preempt_off.set(self.task().preempt_off.get() + 1);
    }

    fn preempt_enable(&self) {
        if self.world.design == Design::Planted(Plant::NeverEnables) {
            return;
        }
        match self.task().preempt_off.get().checked_sub(1) {
            Some(less) => self.task().preempt_off.set(less),
            None => self.world.note(Rule::R9, "preemption is enabled more often than disabled".to_owned()),
        }
        self.point("preempt_enable");
    }

    fn refused(&self, _: <A::Deferral as Deferral<Self>>::Refusal) {
        if self.world.design != Design::Planted(Plant::TellsNobody) {
            self.task().told.set(self.task().told.get() + 1);
        }
    }
}
