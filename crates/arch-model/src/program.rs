//! A task's steps, asked of the design and judged.

use guest_model::{Program, Step};
use mock_xen::referee::Rule;
use pv_mmu::TaskState;

use crate::{
    cpu::{Command, Cpu, Yield},
    design::Design,
    world::{Arch, REFUSED},
};

/// A task at work.
pub(crate) struct Work<'a, A: Arch> {
    cpu: Cpu<'a, A>,
    design: Design,
    state: TaskState,
    /// As the contract counts them, whatever the design does.
    depth: u32,
    pauses: u32,
    /// What the hardware has refused and has to have been told.
    refused: u32,
}

/// Whether a step means something on these architectures.
pub(crate) const fn applies(step: Step) -> bool {
    !matches!(step, Step::Unpin(_) | Step::Count(_) | Step::Offline(_) | Step::Online(_) | Step::Suspend)
}

impl<'a, A: Arch> Work<'a, A> {
    pub(crate) fn new(cpu: Cpu<'a, A>) -> Self {
        let (design, state) = (cpu.world.design, Design::state(&cpu.world.scenario));
        Self { cpu, design, state, depth: 0, pauses: 0, refused: 0 }
    }

    /// The whole program.
    pub(crate) fn run(mut self) {
        self.cpu.point("begins");
        let world = self.cpu.world;
        match &world.scenario.programs[self.cpu.id] {
            Program::Fixed(steps) => steps.iter().for_each(|step| self.step(*step)),
            Program::Any { alphabet, length, .. } => {
                for _ in 0..*length {
                    let Command::Do(choice) = self.cpu.suspend(Yield::Choose(alphabet.len())) else { break };
                    let Some(step) = alphabet.get(choice) else { break };
                    self.step(*step);
                }
            }
        }
        self.end();
        self.cpu.task().is_done.set(true);
    }

    /// Whatever a program has left open is closed, as at the end of a task.
    fn end(&mut self) {
        while self.pauses > 0 {
            self.step(Step::Resume);
        }
        while self.depth > 0 {
            self.step(Step::Leave);
        }
        if self.cpu.task().preempt_off.get() > 0 {
            self.cpu.world.note(Rule::R9, "a task ends with preemption off".to_owned());
        }
    }

    const fn is_lazy(&self) -> bool {
        self.depth > 0 && self.pauses == 0
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Enter => self.enter(),
            Step::Leave => self.leave(),
            Step::Pause => self.pause(),
            Step::Resume => self.resume(),
            Step::Set(entry) | Step::Protect(entry) => self.write(entry.into(), true),
            Step::Unset(entry) | Step::Clear(entry) => self.write(entry.into(), false),
            Step::Refused(_) => self.write(REFUSED, true),
            Step::Pair(one, other) => [one, other].into_iter().for_each(|entry| self.write(entry.into(), true)),
            Step::Range(count) => self.range(count.into()),
            Step::Walk(_) => {
                self.enter();
                self.range(3);
                self.leave();
            }
            Step::FlushTlb | Step::Flush | Step::Sync => self.flush(),
            Step::Map(entry) => {
                self.pause();
                self.write(entry.into(), true);
                self.resume();
            }
            other => self.other(other),
        }
    }

    fn other(&mut self, step: Step) {
        match step {
            Step::Lock(lock) => self.lock(lock.into()),
            Step::Unlock(lock) => self.unlock(lock.into()),
            Step::Sleep => self.sleep(),
            Step::SoftOff => self.preempt_off(1),
            Step::SoftOn => self.preempt_off(-1),
            _ => self.cpu.point("reads"),
        }
    }

    fn enter(&mut self) {
        if self.pauses == 0 && self.depth > 0 && self.cpu.world.scenario.profile == guest_model::Profile::Strict {
            return;
        }
        self.design.enter(self.cpu, &mut self.state);
        if self.pauses == 0 {
            self.depth += 1;
        }
    }

    fn leave(&mut self) {
        if self.depth == 0 || self.pauses > 0 {
            return;
        }
        self.design.leave(self.cpu, &mut self.state);
        self.depth -= 1;
        self.settle(Rule::R2);
    }

    fn pause(&mut self) {
        if self.depth > 0 || self.design.is_library() {
            self.design.pause(self.cpu, &mut self.state);
        }
        self.pauses += 1;
        self.settle(Rule::R5);
    }

    fn resume(&mut self) {
        self.pauses = self.pauses.saturating_sub(1);
        if self.depth > 0 || self.design.is_library() {
            self.design.resume(self.cpu, &mut self.state);
        }
    }

    fn flush(&mut self) {
        self.design.flush(self.cpu, &mut self.state);
        self.settle(Rule::R12);
    }

    /// Attached tables and set ranges are calls within a region: designs before 2026 entered one in them.
    fn range(&mut self, count: usize) {
        let nests = !self.design.is_library();
        if nests {
            self.design.enter(self.cpu, &mut self.state);
        }
        self.depth += u32::from(nests);
        (0..count.min(REFUSED)).for_each(|entry| self.write(entry, true));
        self.depth -= u32::from(nests);
        if nests {
            self.design.leave(self.cpu, &mut self.state);
        }
    }

    fn write(&mut self, entry: usize, is_present: bool) {
        let owed = self.cpu.store(entry, is_present);
        self.refused += u32::from(A::REFUSES && entry == REFUSED && owed.is_some());
        let (calls, was_full) = (self.cpu.task().calls.get(), self.is_full());
        self.design.after_write(self.cpu, &mut self.state, owed);
        // What may be used of an entry that was empty is the debt of whoever emptied it.
        if owed.is_none() {
            return;
        }
        if !self.is_lazy() {
            return self.cpu.judge(if self.pauses > 0 { Rule::R5 } else { Rule::R1 }, entry);
        }
        self.cpu.task().owed.borrow_mut().insert(entry);
        if self.cpu.task().calls.get() != calls && !was_full {
            let what = "a write in a region did not wait: an inner leave has ended laziness".to_owned();
            self.cpu.world.note(Rule::R4, what);
        }
    }

    fn is_full(&self) -> bool {
        let is_full = |waiting: &std::cell::RefCell<A::Deferral>| waiting.try_borrow().is_ok_and(|it| A::is_full(&it));
        is_full(&self.cpu.vcpu().waiting) || is_full(&self.cpu.task().waiting)
    }

    /// What was owed is due.
    fn settle(&self, rule: Rule) {
        let owed = self.cpu.task().owed.take();
        owed.into_iter().for_each(|entry| self.cpu.judge(rule, entry));
        if self.cpu.task().told.get() != self.refused {
            let what = format!("{} refusals, {} of them told", self.refused, self.cpu.task().told.get());
            self.cpu.world.note(Rule::R14, what);
        }
    }

    fn lock(&self, lock: usize) {
        let world = self.cpu.world;
        let sleeps = world.scenario.sleeping_locks;
        if !sleeps {
            self.preempt_off(1);
        }
        self.cpu.point("lock");
        while world.locks[lock].get().is_some() && !world.is_ending.get() {
            self.cpu.task().waits_for.set(Some(lock));
            self.cpu.suspend(Yield::Lock(lock));
            self.cpu.task().waits_for.set(None);
        }
        world.locks[lock].set(Some(self.cpu.id));
    }

    fn unlock(&self, lock: usize) {
        self.cpu.world.locks[lock].set(None);
        if !self.cpu.world.scenario.sleeping_locks {
            self.preempt_off(-1);
        }
    }

    /// A kernel that asks first does not sleep where it may not.
    fn sleep(&mut self) {
        if self.design.may_sleep(self.cpu, &mut self.state) && self.cpu.task().preempt_off.get() == 0 {
            self.cpu.task().slept.set(self.cpu.task().slept.get() + 1);
            self.cpu.suspend(Yield::Sleep);
        }
    }

    fn preempt_off(&self, change: i32) {
        let off = &self.cpu.task().preempt_off;
        off.set(off.get().saturating_add_signed(change));
    }
}
