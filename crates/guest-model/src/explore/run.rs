//! One way through a scenario: whose turn it is, what can happen to him, and making it happen.
//!
//! A way is repeated by taking the same choices again: nothing else decides anything. Between two ways
//! everybody is brought to an end unwatched and everything shared is put back, so that coroutines and
//! machine live as long as the exploration.

use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

use corosensei::Coroutine;
use foldhash::quality::FixedState;

use super::{Bounds, Choice};
use crate::{
    cpu::Cpu,
    design::Design,
    found::Found,
    guest,
    machine::Machine,
    point::{Command, Yield},
    scenario::{Handler, Program, Scenario, Step},
};

/// Every choice of an operation.
const ANYTHING: Range<u8> = 0..u8::MAX;

/// Where one way stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stand {
    /// There is something to choose: see [`Run::choices`].
    Open,
    /// Everybody has come to the end.
    End,
    /// Something must not be.
    Wrong(Found),
}

/// A coroutine's part in the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    /// Waits for a vCPU.
    Ready,
    /// Runs on one.
    Running,
    /// Sleeps until this lock is free.
    Asleep(usize),
    /// Has come to its end.
    Done,
}

struct Strand {
    coroutine: Coroutine<Command, Yield, ()>,
    at: Yield,
    state: State,
    /// What its state will be once it has been switched away from.
    then: State,
}

/// See the module.
pub(super) struct Run<D: Design> {
    pub(super) machine: Rc<Machine<D>>,
    strands: Vec<Strand>,
    /// The vCPU whose turn it is.
    active: usize,
    left: Bounds,
    bounds: Bounds,
    has_begun: bool,
    length: usize,
    choices: Vec<Choice>,
    /// Whether the choices are made where the vCPU could go on, so that they are charged to the bounds.
    is_charged: bool,
    /// The task that is about to leave its vCPU for another, and that.
    moving: Option<(usize, usize)>,
}

/// Everybody comes to his end before his stack goes.
impl<D: Design> Drop for Run<D> {
    fn drop(&mut self) {
        self.drain();
        self.strands.iter_mut().for_each(|strand| resume(strand, Command::Quit));
    }
}

impl<D: Design> Run<D> {
    pub(super) fn new(scenario: &Arc<Scenario>, bounds: Bounds, is_shown: bool) -> Self {
        let machine = Rc::new(Machine::<D>::new(scenario, is_shown));
        let strands = (0..machine.fibers.len()).map(|id| strand(&machine, id)).collect();
        let mut run = Self {
            machine,
            strands,
            active: 0,
            left: bounds,
            bounds,
            has_begun: false,
            length: 0,
            choices: Vec::new(),
            is_charged: false,
            moving: None,
        };
        run.strands.iter_mut().for_each(|strand| resume(strand, Command::Go));
        run.place();
        run
    }

    /// The choices there are, the first being what happens if nothing does.
    pub(super) fn choices(&self) -> &[Choice] {
        &self.choices
    }

    /// What a program begins with here, if one begins: other choices belong to other parts of the scenario.
    pub(super) fn first_steps(&self) -> Range<u8> {
        let current = self.current(self.active);
        match (self.strands[current].at, self.machine.scenario.programs.get(current)) {
            (Yield::Choose(0), Some(Program::Any { begin, .. })) => begin.clone(),
            _ => ANYTHING,
        }
    }

    /// Goes back to the beginning.
    pub(super) fn reset(&mut self) {
        self.drain();
        self.machine.reset();
        self.place();
    }

    /// Brings everybody to rest. Those in a hypercall first: they hold their vCPU's queue.
    fn drain(&mut self) {
        self.machine.draining.set(true);
        let is_masked = |machine: &Machine<D>, id: usize| {
            let vcpu = &machine.vcpus[machine.fibers[id].vcpu.get()];
            vcpu.current.get() == id && vcpu.masked.get() > 0
        };
        let masked: Vec<usize> = (0..self.strands.len()).filter(|id| is_masked(&self.machine, *id)).collect();
        for id in masked.into_iter().chain(0..self.strands.len()) {
            while self.strands[id].at != Yield::Parked {
                resume(&mut self.strands[id], Command::Quit);
            }
        }
        self.machine.draining.set(false);
    }

    fn place(&mut self) {
        for (id, strand) in self.strands.iter_mut().enumerate() {
            strand.state = if self.machine.is_task(id) { State::Ready } else { State::Running };
            strand.then = State::Ready;
        }
        (self.active, self.left, self.has_begun, self.length) = (0, self.bounds, false, 0);
        self.moving = None;
    }

    /// Goes on until there is something to choose.
    pub(super) fn advance(&mut self) -> Stand {
        loop {
            if let Some(found) = self.machine.trouble() {
                return Stand::Wrong(found);
            }
            if !self.find_choices() {
                return self.end();
            }
            match *self.choices {
                [] => return Stand::Wrong(Found::Deadlock),
                [only] => self.take(only),
                _ if self.length == self.bounds.choices => {
                    return Stand::Wrong(Found::TooLong { bound: self.bounds.choices });
                }
                _ => return Stand::Open,
            }
        }
    }

    fn end(&self) -> Stand {
        let verdict = self.machine.referee.verdict();
        let is_settled = verdict.pending + verdict.untold + verdict.open == 0;
        let (pending, untold, open) = (verdict.pending, verdict.untold, verdict.open);
        if is_settled { Stand::End } else { Stand::Wrong(Found::Unsettled { pending, untold, open }) }
    }

    /// A number for the state: everything shared, how far everybody is, what may still happen.
    pub(super) fn digest(&self) -> u64 {
        let mut hasher = FixedState::default().build_hasher();
        self.machine.digest(&mut hasher);
        for strand in &self.strands {
            (strand.at, strand.state, strand.then).hash(&mut hasher);
        }
        (self.active, self.left, self.has_begun, self.moving).hash(&mut hasher);
        hasher.finish()
    }

    fn current(&self, vcpu: usize) -> usize {
        self.machine.vcpus[vcpu].current.get()
    }

    fn is_idle(&self, vcpu: usize) -> bool {
        self.current(vcpu) == self.machine.idle(vcpu) && self.strands[self.current(vcpu)].at == Yield::Parked
    }

    fn ready(&self) -> impl Iterator<Item = usize> {
        self.strands
            .iter()
            .enumerate()
            .filter(|(id, strand)| {
                let is_awake = match strand.state {
                    State::Ready => true,
                    State::Asleep(lock) => self.machine.locks[lock].get().is_none(),
                    State::Running | State::Done => false,
                };
                is_awake && self.machine.is_task(*id)
            })
            .map(|(id, _)| id)
    }

    /// Whether `vcpu` could do something if it were its turn.
    fn can_run(&self, vcpu: usize) -> bool {
        if self.is_idle(vcpu) {
            return self.is_online(vcpu)
                && (self.machine.vcpus[vcpu].called.get().is_some() || self.ready().next().is_some());
        }
        match self.strands[self.current(vcpu)].at {
            Yield::Lock(lock) => self.machine.locks[lock].get().is_none(),
            Yield::Quiet(other) => self.is_idle(other) && self.machine.vcpus[other].called.get().is_none(),
            Yield::Answers => !self.others_called(vcpu) || self.machine.vcpus[vcpu].called.get().is_some(),
            _ => true,
        }
    }

    fn others_called(&self, vcpu: usize) -> bool {
        self.machine.vcpus.iter().enumerate().any(|(other, state)| other != vcpu && state.called.get().is_some())
    }

    /// Whether tasks may come to `vcpu`.
    fn is_online(&self, vcpu: usize) -> bool {
        self.machine.is_online(vcpu) && !self.machine.vcpus[vcpu].dying.get()
    }

    /// Finds what can happen; `false` when everybody is at the end.
    fn find_choices(&mut self) -> bool {
        let mut choices = std::mem::take(&mut self.choices);
        choices.clear();
        self.is_charged = false;
        let is_on = self.add_choices(&mut choices);
        self.choices = choices;
        is_on
    }

    fn add_choices(&mut self, choices: &mut Vec<Choice>) -> bool {
        if !self.has_begun {
            choices.push(Choice::Spread(0));
            if self.machine.vcpus.len().min(self.machine.scenario.tasks()) > 1 {
                choices.push(Choice::Spread(1));
            }
            return true;
        }
        let is_over =
            (0..self.strands.len()).all(|id| self.strands[id].state == State::Done || !self.machine.is_task(id));
        if is_over
            && self
                .machine
                .vcpus
                .iter()
                .enumerate()
                .all(|(vcpu, state)| self.is_idle(vcpu) && state.called.get().is_none())
        {
            return false;
        }
        let vcpu = self.active;
        if self.is_idle(vcpu) {
            self.add_wakes(choices);
            self.add_other_vcpus(choices);
            return true;
        }
        match self.strands[self.current(vcpu)].at {
            Yield::Choose(_) => self.add_program(choices),
            Yield::Finished | Yield::Sleep => self.add_next(choices),
            _ if self.leaves_dying(vcpu) => choices.push(Choice::Idle),
            Yield::Lock(_) if self.machine.scenario.sleeping_locks && !self.can_run(vcpu) => self.add_next(choices),
            _ if !self.can_run(vcpu) => self.add_other_vcpus(choices),
            at => self.add_events(choices, at),
        }
        true
    }

    fn add_wakes(&self, choices: &mut Vec<Choice>) {
        if self.machine.vcpus[self.active].called.get().is_some() {
            choices.push(Choice::Go);
        } else if self.is_online(self.active) {
            choices.extend(self.ready().map(|task| Choice::Wake(task as u8)));
        }
    }

    fn add_other_vcpus(&self, choices: &mut Vec<Choice>) {
        let others = (0..self.machine.vcpus.len()).filter(|vcpu| *vcpu != self.active && self.can_run(*vcpu));
        choices.extend(others.map(|vcpu| Choice::Hypervisor(vcpu as u8)));
    }

    /// Whoever ends or sleeps is switched away from.
    fn add_next(&self, choices: &mut Vec<Choice>) {
        choices.extend(self.ready().map(|task| Choice::Wake(task as u8)));
        choices.push(Choice::Idle);
    }

    /// The end first, then every step; of two entries that nobody has written the first will do.
    fn add_program(&self, choices: &mut Vec<Choice>) {
        let Program::Any { alphabet, .. } = &self.machine.scenario.programs[self.current(self.active)] else { return };
        choices.push(Choice::Do(alphabet.len() as u8));
        let is_twin = |step: &Step| {
            matches!(step, Step::Set(entry) | Step::Clear(entry) | Step::Read(entry) if *entry > 0)
                && !self.machine.named.get()
        };
        let steps = alphabet.iter().enumerate().filter(|(_, step)| !is_twin(step));
        choices.extend(steps.map(|(number, _)| Choice::Do(number as u8)));
    }

    fn add_events(&mut self, choices: &mut Vec<Choice>, at: Yield) {
        self.is_charged = true;
        let vcpu = &self.machine.vcpus[self.active];
        let is_point = matches!(at, Yield::Point(_) | Yield::Lock(_) | Yield::Answers | Yield::Quiet(_));
        let is_open = is_point && vcpu.masked.get() == 0;
        let waits = at == Yield::Answers && self.others_called(self.active);
        if is_open && vcpu.called.get().is_some() {
            // Whoever is called answers before anything else happens to him.
            choices.push(Choice::Interrupt(self.machine.scenario.handlers.len() as u8));
            self.is_charged = false;
            return;
        }
        if !waits {
            choices.push(Choice::Go);
        }
        let mut add = |choice| {
            if self.left.allow(choice) {
                choices.push(choice);
            }
        };
        if is_open || is_point && self.comes_within_steps() {
            (0..self.machine.scenario.handlers.len() as u8).for_each(|number| add(Choice::Interrupt(number)));
        }
        let fiber = &self.machine.fibers[self.current(self.active)];
        if is_open && fiber.preempt_off.get() == 0 && self.machine.is_task(self.current(self.active)) {
            self.ready().for_each(|task| add(Choice::Preempt(task as u8)));
            let others = (0..self.machine.vcpus.len()).filter(|other| *other != self.active && self.is_online(*other));
            others.filter(|other| self.gives_way(*other)).for_each(|other| add(Choice::Migrate(other as u8)));
        }
        let others = (0..self.machine.vcpus.len()).filter(|other| *other != self.active);
        others.filter(|other| self.can_run(*other)).for_each(|other| add(Choice::Hypervisor(other as u8)));
    }

    /// Whether the events are ones that masking does not hold off.
    fn comes_within_steps(&self) -> bool {
        let is_in_handler = self.machine.vcpus[self.active].in_interrupt.get();
        !is_in_handler && self.machine.scenario.handlers.contains(&Handler::NotHeldOff)
    }

    /// Whether what runs on `vcpu` has to leave it, and can.
    fn leaves_dying(&self, vcpu: usize) -> bool {
        self.machine.vcpus[vcpu].dying.get() && self.machine.is_task(self.current(vcpu)) && self.gives_way(vcpu)
    }

    /// Whether what runs on `vcpu` can be switched away from where it is.
    fn gives_way(&self, vcpu: usize) -> bool {
        let current = self.current(vcpu);
        let state = &self.machine.vcpus[vcpu];
        let is_point = matches!(self.strands[current].at, Yield::Point(_) | Yield::Parked);
        is_point && state.masked.get() == 0 && self.machine.fibers[current].preempt_off.get() == 0
    }

    /// Makes `choice`, one of those there are.
    pub(super) fn take(&mut self, choice: Choice) {
        if self.choices.len() > 1 {
            self.length += 1;
        }
        if self.is_charged {
            self.left = self.left.after(choice);
        }
        let current = self.current(self.active);
        match choice {
            Choice::Spread(spread) => self.begin(spread > 0),
            Choice::Go if self.is_idle(self.active) => self.step(current, Command::Interrupt(usize::MAX)),
            Choice::Go => self.step(current, Command::Go),
            Choice::Interrupt(number) => self.step(current, Command::Interrupt(number.into())),
            Choice::Preempt(task) | Choice::Wake(task) => self.step(current, Command::Switch(task.into())),
            Choice::Idle => self.step(current, Command::Switch(self.machine.idle(self.active))),
            Choice::Migrate(vcpu) => self.migrate(vcpu.into()),
            Choice::Hypervisor(vcpu) => self.active = vcpu.into(),
            Choice::Do(step) => self.step(current, Command::Do(step.into())),
        }
    }

    /// Every vCPU that has one begins with its task, as after a switch that the referee saw.
    fn begin(&mut self, is_spread: bool) {
        self.has_begun = true;
        let tasks = self.machine.scenario.tasks();
        let vcpus = if is_spread { self.machine.vcpus.len() } else { 1 };
        (0..vcpus.min(tasks)).for_each(|id| self.enter(id, id));
    }

    fn enter(&mut self, id: usize, vcpu: usize) {
        self.machine.vcpus[vcpu].current.set(id);
        self.machine.fibers[id].vcpu.set(vcpu);
        self.strands[id].state = State::Running;
    }

    /// The task leaves its vCPU to the idle loop, and takes over another as soon as it has left.
    fn migrate(&mut self, to: usize) {
        let task = self.current(self.active);
        self.moving = Some((task, to));
        self.step(task, Command::Switch(self.machine.idle(self.active)));
    }

    /// Resumes the coroutine on the active vCPU.
    fn step(&mut self, id: usize, command: Command) {
        if let Command::Switch(next) = command {
            self.strands[id].then = self.state_behind(id);
            self.strands[next].state = State::Running;
        }
        resume(&mut self.strands[id], command);
        if let Yield::Switched(next) = self.strands[id].at {
            self.switched(id, next);
        }
    }

    /// What becomes of a coroutine that is switched away from where it is.
    fn state_behind(&self, id: usize) -> State {
        match self.strands[id].at {
            _ if !self.machine.is_task(id) => State::Running,
            Yield::Finished => State::Done,
            Yield::Lock(lock) if self.machine.scenario.sleeping_locks => State::Asleep(lock),
            _ => State::Ready,
        }
    }

    fn switched(&mut self, from: usize, to: usize) {
        self.strands[from].state = self.strands[from].then;
        self.enter(to, self.active);
        if let Yield::Switched(_) = self.strands[to].at {
            resume(&mut self.strands[to], Command::Go);
        }
        if let Some((_, vcpu)) = self.moving.take_if(|(task, _)| *task == from)
            && self.gives_way(vcpu)
        {
            self.active = vcpu;
            self.step(self.current(vcpu), Command::Switch(from));
        }
    }
}

fn strand<D: Design>(machine: &Rc<Machine<D>>, id: usize) -> Strand {
    let machine = machine.clone();
    let coroutine = Coroutine::new(move |yielder, _| {
        let cpu = Cpu::new(&machine, yielder, id);
        if machine.is_task(id) { guest::task(cpu) } else { guest::idle(cpu) }
    });
    Strand { coroutine, at: Yield::Parked, state: State::Ready, then: State::Ready }
}

fn resume(strand: &mut Strand, command: Command) {
    if let corosensei::CoroutineResult::Yield(at) = strand.coroutine.resume(command) {
        strand.at = at;
    }
}
