//! A task's own code: its operations, each told to the referee and done by the design.
//!
//! A task keeps nothing between two operations but what its design does ([`Design::Local`]) and how many
//! operations it has behind it. So two tasks that are alike in that will go on alike, whatever was
//! answered to them before: the digest of a task's way begins anew at each operation, and all programs
//! that lead to one state are one from there on.

use std::cell::Cell;

use hypercall::{MmuextOp, Operation, Pte, PteSlot};
use mock_xen::referee::{TaskId, Wish};

use crate::{
    cpu::Cpu,
    design::Design,
    fixture::{Fixture, mmuext, update},
    found::Found,
    machine::mix,
    point::{Command, What, Yield},
    scenario::{Program, Step},
};

/// Runs a task from its first operation to its end, way after way, until the model is taken down.
pub(crate) fn task<D: Design>(cpu: Cpu<'_, D>) {
    loop {
        match cpu.rest(Yield::Parked) {
            Command::Quit => return,
            // Taken off its vCPU before its first step.
            Command::Switch(next) => cpu.switch(next),
            _ => {}
        }
        Guest { cpu, local: D::local(&cpu.machine.scenario) }.run();
        if let Command::Switch(next) = cpu.suspend(Yield::Finished) {
            cpu.switch(next);
        }
    }
}

/// Runs the idle loop of a vCPU.
pub(crate) fn idle<D: Design>(cpu: Cpu<'_, D>) {
    loop {
        match cpu.rest(Yield::Parked) {
            Command::Switch(next) => cpu.switch(next),
            Command::Interrupt(number) => cpu.interrupt(number),
            Command::Quit => return,
            Command::Go | Command::Do(_) => {}
        }
    }
}

struct Guest<'a, D: Design> {
    cpu: Cpu<'a, D>,
    local: D::Local,
}

impl<D: Design> Guest<'_, D> {
    fn run(&mut self) {
        let mut number = 0;
        while let Some(step) = self.next(number) {
            number += 1;
            self.step(step, number);
        }
        self.begin(usize::MAX);
        D::exit(&self.cpu, &mut self.local);
        self.cpu.point(What::Tell("exit"));
        if !self.cpu.machine.draining.get() {
            self.cpu.machine.referee.task_exit(TaskId::new(self.cpu.id() as u64));
            self.cpu.fiber().ended.set(true);
        }
    }

    /// A task is what it keeps and how far it is.
    fn begin(&self, number: usize) {
        self.cpu.fiber().digest.set(mix(0, (number, &self.local)));
    }

    /// The operation of this number, if there is one more.
    fn next(&self, number: usize) -> Option<Step> {
        let machine = self.cpu.machine;
        self.begin(number);
        if machine.draining.get() {
            return None;
        }
        match &machine.scenario.programs[self.cpu.id()] {
            Program::Fixed(steps) => steps.get(number).copied(),
            Program::Any { alphabet, length, .. } if number < *length => {
                match self.cpu.suspend(Yield::Choose(number)) {
                    Command::Do(choice) => self.chosen(alphabet.get(choice).copied()),
                    _ => None,
                }
            }
            Program::Any { .. } => None,
        }
    }

    /// The first entry written is entry 0, whatever its name.
    fn chosen(&self, step: Option<Step>) -> Option<Step> {
        let machine = self.cpu.machine;
        if let Some(Step::Set(_) | Step::Clear(_)) = step {
            machine.named.set(true);
        }
        self.cpu.mix(step);
        step
    }

    fn step(&mut self, step: Step, number: usize) {
        let (cpu, local) = (self.cpu, &mut self.local);
        let fixture = &cpu.machine.fixture;
        let slot = |entry: u8| fixture.slot(entry.into());
        cpu.machine.log(cpu.vcpu_number(), || format!("{}: {}", step.name(), step.words()));
        match step {
            Step::Enter | Step::Leave | Step::Pause | Step::Resume | Step::Flush => self.region(step),
            Step::Set(entry) => self.ask(update(slot(entry), fixture.pte(cpu.id(), number))),
            Step::Unset(entry) => self.ask(update(slot(entry), Pte::EMPTY)),
            Step::Refused(entry) => self.ask(update(slot(entry), fixture.refused_pte())),
            Step::Pair(one, other) => {
                D::begin_pair(&cpu);
                self.ask(update(slot(one), fixture.pte(cpu.id(), number)));
                D::begin_pair(&cpu);
                self.ask(update(slot(other), fixture.pte(cpu.id(), number)));
                (0..2).for_each(|_| D::end_pair(&cpu));
                cpu.must_be_open();
            }
            Step::FlushTlb => self.ask(mmuext(MmuextOp::TlbFlushAll)),
            Step::Sync => self.ask_at_once(mmuext(MmuextOp::SetLdt { base: Fixture::address(number), entries: 0 })),
            Step::Read(entry) => self.read(slot(entry)),
            Step::Clear(entry) => _ = D::clear(&cpu, local, slot(entry)),
            Step::Protect(entry) => D::protect(&cpu, local, slot(entry)),
            Step::Range(count) => self.range(count.into(), number),
            Step::Walk(count) => D::walk(&cpu, local, count.into()),
            Step::Lock(lock) => cpu.lock(lock.into()),
            Step::Unlock(lock) => cpu.unlock(lock.into()),
            Step::Unpin(task) => {
                let has_ended = cpu.answer(cpu.machine.fibers[usize::from(task)].ended.get());
                if let Some(table) = fixture.root(task.into()).filter(|_| has_ended) {
                    self.ask(mmuext(MmuextOp::Unpin { table }));
                }
            }
            Step::Count(on) => D::count(&cpu, on),
            Step::Map(entry) => self.ask_at_once(update(slot(entry), fixture.pte(cpu.id(), number))),
            Step::Sleep => cpu.sleep(),
            Step::SoftOff => cpu.soft(true),
            Step::SoftOn => cpu.soft(false),
            Step::Offline(vcpu) => cpu.offline(vcpu.into()),
            Step::Online(vcpu) => cpu.online_again(vcpu.into()),
            Step::Suspend => self.suspend(),
        }
    }

    fn region(&mut self, step: Step) {
        let (cpu, local) = (&self.cpu, &mut self.local);
        let (referee, asker) = (&cpu.machine.referee, || cpu.asker());
        let is_watched = || !cpu.machine.draining.get();
        let tell = |what| {
            cpu.point(What::Tell(what));
            is_watched()
        };
        match step {
            Step::Enter => {
                let answer = D::enter(cpu, local);
                if tell("entered") {
                    referee.enter(asker(), answer.accepted);
                }
            }
            Step::Leave => {
                if tell("leave") {
                    referee.leave(asker());
                }
                let answer = D::leave(cpu, local);
                cpu.tell_failures(&answer);
                if tell("left") {
                    referee.left(asker(), answer.accepted);
                }
            }
            Step::Pause => {
                let answer = D::pause(cpu, local);
                cpu.tell_failures(&answer);
                if tell("paused") {
                    referee.paused(asker(), answer.accepted);
                }
            }
            Step::Resume => {
                let answer = D::resume(cpu, local);
                if tell("resumed") {
                    referee.resume(asker(), answer.accepted);
                }
            }
            _ => {
                if tell("flush") {
                    referee.flush(asker());
                }
                D::flush(cpu, local);
                if tell("flushed") {
                    referee.flushed(asker());
                }
            }
        }
    }

    fn ask(&mut self, wish: impl Into<Wish>) {
        let (cpu, local) = (self.cpu, &mut self.local);
        let before = cpu.fiber().steps.get();
        let is_lazy = D::is_lazy(local);
        cpu.wish(wish, |operation| D::ask(&cpu, local, operation));
        let steps = cpu.fiber().steps.get() - before;
        if !is_lazy && steps > 1 {
            cpu.machine.note(Found::Costly { steps });
        }
    }

    /// An operation that may not wait: in a pause of its own, if the design has such a thing.
    fn ask_at_once(&mut self, operation: Operation) {
        let wish = Wish::new(operation).immediate();
        if D::PAUSES {
            self.region(Step::Pause);
            self.ask(wish);
            self.region(Step::Resume);
        } else {
            let (cpu, local) = (self.cpu, &mut self.local);
            cpu.wish(wish, |operation| D::ask_at_once(&cpu, local, operation));
        }
    }

    /// Every other vCPU goes offline; then nothing is queued anywhere.
    fn suspend(&mut self) {
        // Nobody takes this task off its vCPU until it is over.
        let preempt_off = &self.cpu.fiber().preempt_off;
        preempt_off.set(preempt_off.get() + 1);
        let here = self.cpu.vcpu_number();
        let others = (0..self.cpu.machine.vcpus.len()).filter(|vcpu| *vcpu != here);
        others.clone().for_each(|vcpu| self.cpu.offline(vcpu));
        self.region(Step::Flush);
        (0..self.cpu.machine.vcpus.len()).for_each(|vcpu| self.cpu.must_be_empty(vcpu));
        preempt_off.set(preempt_off.get().saturating_sub(1));
        others.for_each(|vcpu| self.cpu.online_again(vcpu));
    }

    /// Tells the referee of the value only if nothing was asked and nothing arrived meanwhile: otherwise
    /// both what was before and what came after are right.
    fn read(&mut self, slot: PteSlot) {
        let happened = || {
            let counters = self.cpu.machine.referee.counters();
            (counters.asked, counters.arrivals)
        };
        let before = happened();
        let value = D::read(&self.cpu, &mut self.local, slot);
        if happened() == before {
            self.cpu.tell_read(slot, value);
        }
    }

    fn range(&mut self, count: usize, number: usize) {
        let (cpu, local) = (self.cpu, &mut self.local);
        let fixture = &cpu.machine.fixture;
        let asked = Cell::new(Vec::new());
        let mut pte_of = |n: usize| {
            let pte = fixture.pte(cpu.id(), number + n);
            if !cpu.machine.draining.get() {
                let mut requests = asked.take();
                requests.push(cpu.machine.referee.ask(cpu.asker(), update(fixture.slot(n), pte)));
                asked.set(requests);
            }
            pte
        };
        D::ask_range(&cpu, local, fixture.slot(0), count, &mut pte_of);
        cpu.point(What::Tell("answered"));
        if !cpu.machine.draining.get() {
            asked.take().into_iter().for_each(|request| cpu.machine.referee.answered(request));
        }
    }
}
