//! One interleaving: coroutines, and who goes on at each point.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult};
use guest_model::Scenario;

use crate::{
    cpu::{Command, Cpu, Yield},
    design::Design,
    program::Work,
    world::{Arch, World},
};

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The task goes on.
    Go,
    /// The task is preempted in favour of another.
    Preempt(usize),
    /// Another vCPU's task goes on.
    Turn(usize),
    /// Another vCPU, which is idle, takes a task.
    Start(usize, usize),
    /// A handler runs.
    Interrupt(usize),
    /// The step of this number is the task's next.
    Step(usize),
    /// The vCPU is free and takes this task.
    Take(usize),
}

impl Choice {
    /// Whether it counts against the bound.
    pub(crate) const fn is_deviation(self) -> bool {
        matches!(self, Self::Preempt(_) | Self::Turn(_) | Self::Start(..) | Self::Interrupt(_))
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Go => f.write_str("g"),
            Self::Preempt(task) => write!(f, "p{task}"),
            Self::Turn(vcpu) => write!(f, "t{vcpu}"),
            Self::Start(vcpu, task) => write!(f, "s{vcpu}{task}"),
            Self::Interrupt(number) => write!(f, "i{number}"),
            Self::Step(number) => write!(f, "c{number}"),
            Self::Take(task) => write!(f, "w{task}"),
        }
    }
}

type Fiber = Coroutine<Command, Yield, ()>;

/// Where it is.
pub(crate) struct Run<A: Arch> {
    pub(crate) world: Rc<World<A>>,
    fibers: Vec<Fiber>,
    vcpu: usize,
    /// What the present vCPU's task has yielded; `None` where the vCPU is free.
    at: Option<Yield>,
}

impl<A: Arch> Run<A> {
    pub(crate) fn new(design: Design, scenario: &Arc<Scenario>, is_logged: bool) -> Self {
        let world = Rc::new(World::<A>::new(design, scenario, is_logged));
        let fiber = |id| {
            let world = Rc::clone(&world);
            Fiber::with_stack(DefaultStack::new(128 << 10).expect("memory for a stack"), move |yielder, _| {
                Work::new(Cpu::new(&*world, yielder, id)).run();
            })
        };
        let fibers = (0..scenario.tasks()).map(fiber).collect();
        let mut run = Self { world, fibers, vcpu: 0, at: None };
        run.take(0, 0);
        run
    }

    fn ready(&self) -> impl Iterator<Item = usize> + '_ {
        let world = &self.world;
        let is_current = |task| world.vcpus.iter().any(|vcpu| vcpu.current.get() == Some(task));
        (0..world.tasks.len()).filter(move |task| {
            let state = &world.tasks[*task];
            let blocked = state.waits_for.get().is_some_and(|lock| world.locks[lock].get().is_some());
            !state.is_done.get() && !blocked && !is_current(*task)
        })
    }

    /// What may happen now; nothing where everybody has come to the end, or nobody can go on.
    pub(crate) fn choices(&self) -> Vec<Choice> {
        let world = &self.world;
        let current = world.vcpus[self.vcpu].current.get();
        let mut choices = Vec::new();
        match (current, self.at) {
            (Some(_), Some(Yield::Choose(count))) => return (0..=count).rev().map(Choice::Step).collect(),
            (Some(task), Some(Yield::Point)) => {
                choices.push(Choice::Go);
                let is_handler = world.tasks[task].in_handler.get();
                if !is_handler && world.tasks[task].preempt_off.get() == 0 {
                    choices.extend(self.ready().map(Choice::Preempt));
                }
                if !is_handler {
                    choices.extend((0..world.scenario.handlers.len()).map(Choice::Interrupt));
                }
            }
            (Some(task), Some(Yield::Lock(lock))) => {
                if world.locks[lock].get().is_none() {
                    choices.push(Choice::Go);
                } else if world.tasks[task].preempt_off.get() == 0 {
                    choices.extend(self.ready().map(Choice::Take));
                }
            }
            _ => choices.extend(self.ready().map(Choice::Take)),
        }
        choices.extend(self.elsewhere());
        choices
    }

    fn elsewhere(&self) -> impl Iterator<Item = Choice> + '_ {
        (0..self.world.vcpus.len()).filter(|vcpu| *vcpu != self.vcpu).flat_map(|vcpu| {
            let idle = self.world.vcpus[vcpu].current.get().is_none();
            let starts = self.ready().filter(move |_| idle).map(move |task| Choice::Start(vcpu, task));
            (!idle).then_some(Choice::Turn(vcpu)).into_iter().chain(starts)
        })
    }

    /// Whether going elsewhere is the only way: then it is no deviation.
    pub(crate) fn is_stuck(&self) -> bool {
        !matches!(self.at, Some(Yield::Point | Yield::Choose(_)))
    }

    /// Whether somebody else could run here, and a region keeps him off.
    pub(crate) fn is_pinned(&self) -> bool {
        let current = self.world.vcpus[self.vcpu].current.get();
        let off = current.is_some_and(|task| self.world.tasks[task].preempt_off.get() > 0);
        off && self.at == Some(Yield::Point) && self.ready().next().is_some()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.world.tasks.iter().all(|task| task.is_done.get())
    }

    /// Lets it happen.
    pub(crate) fn take_choice(&mut self, choice: Choice) {
        if choice != Choice::Go {
            self.world.log(self.vcpu, || format!("-- {choice}"));
        }
        match choice {
            Choice::Go => self.resume(Command::Go),
            Choice::Interrupt(number) => self.resume(Command::Interrupt(number)),
            Choice::Step(number) => self.resume(Command::Do(number)),
            Choice::Preempt(task) | Choice::Take(task) => self.take(self.vcpu, task),
            Choice::Start(vcpu, task) => self.take(vcpu, task),
            Choice::Turn(vcpu) => {
                self.vcpu = vcpu;
                self.resume(Command::Go);
            }
        }
    }

    /// The vCPU switches to a task.
    fn take(&mut self, vcpu: usize, task: usize) {
        self.world.leave_vcpu(vcpu);
        self.world.vcpus[vcpu].current.set(Some(task));
        self.world.tasks[task].vcpu.set(vcpu);
        self.vcpu = vcpu;
        self.resume(Command::Go);
    }

    fn resume(&mut self, command: Command) {
        let Some(task) = self.world.vcpus[self.vcpu].current.get() else { return };
        self.at = match self.fibers[task].resume(command) {
            CoroutineResult::Yield(Yield::Sleep) | CoroutineResult::Return(()) => {
                self.world.leave_vcpu(self.vcpu);
                None
            }
            CoroutineResult::Yield(what) => Some(what),
        };
    }
}

impl<A: Arch> Drop for Run<A> {
    /// Coroutines come to their end before they are dropped: nothing is unwound.
    fn drop(&mut self) {
        self.world.is_ending.set(true);
        for fiber in self.fibers.iter_mut().filter(|fiber| !fiber.done()) {
            while !fiber.done() {
                let _ = fiber.resume(Command::Go);
            }
        }
    }
}
