//! Everything the coroutines of a model share: the machine, the referee, what each vCPU runs, locks.
//!
//! All of it is behind cells, because the coroutines of one model run on one thread and hold it together.
//! What they share with one another lies here and in the design's own [`Design::Shared`], nowhere else:
//! so a state of the model is this, and how far each coroutine has come ([`Fiber::digest`]).

use std::cell::{Cell, RefCell};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hypercall::{Mfn, PteSlot, VcpuId, VcpuMask};
use mock_xen::referee::{self, CallbackId, Referee, RequestId, Settings, Wish};

use crate::design::Design;
use crate::fixture::Fixture;
use crate::found::Found;
use crate::picture::{Log, Moment};
use crate::point::What;
use crate::scenario::Scenario;

/// What a task wants of the library.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// An operation.
    Operation(Wish),
    /// That an entry is emptied. Which operation that is, if any, depends on what it holds when it comes to
    /// it.
    Emptied(PteSlot),
    /// That an entry lets nobody store. Likewise.
    Protected(PteSlot),
}

/// One coroutine as the others see it.
#[derive(Debug, Default)]
pub(crate) struct Fiber {
    /// The vCPU it runs on, or ran on last.
    pub(crate) vcpu: Cell<usize>,
    /// Reasons that keep it from being preempted.
    pub(crate) preempt_off: Cell<u32>,
    /// How far it is since its last operation began: its points, and every answer it has had there.
    pub(crate) digest: Cell<u64>,
    /// What it has asked the library for and the referee has not been told of.
    pub(crate) wish: Cell<Option<Wanted>>,
    /// What it has been told of last.
    pub(crate) request: Cell<Option<(RequestId, Wanted)>>,
    /// Whether it has come to its end, but for the switch away from it.
    pub(crate) ended: Cell<bool>,
    /// Whether bottom halves are off.
    pub(crate) soft_off: Cell<bool>,
    /// Whether what it asks the library for is no more than to count or not to.
    pub(crate) observes: Cell<bool>,
    /// Steps against a vCPU it has taken.
    pub(crate) steps: Cell<u32>,
}

/// One vCPU.
#[derive(Debug, Default)]
pub(crate) struct Vcpu {
    /// The coroutine it runs: a task's, or its own idle one.
    pub(crate) current: Cell<usize>,
    /// Reasons for which upcalls are masked.
    pub(crate) masked: Cell<u32>,
    /// Whether a step against its queue is under way.
    pub(crate) in_step: Cell<bool>,
    /// Whether a handler runs.
    pub(crate) in_interrupt: Cell<bool>,
    /// The table that another vCPU wants it off, until it has answered.
    pub(crate) called: Cell<Option<Mfn>>,
    /// Whether it is going offline: whatever runs there is to leave it.
    pub(crate) dying: Cell<bool>,
}

/// The shared part of a model.
#[derive(Debug)]
pub(crate) struct Machine<D: Design> {
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) fixture: Fixture,
    pub(crate) referee: Arc<Referee>,
    pub(crate) shared: RefCell<D::Shared>,
    pub(crate) fibers: Vec<Fiber>,
    pub(crate) vcpus: Vec<Vcpu>,
    /// The completion callbacks there were, by their numbers.
    pub(crate) callbacks: RefCell<Vec<CallbackId>>,
    /// Locks that wait for a completion callback.
    pub(crate) held: Cell<usize>,
    /// Who holds each lock.
    pub(crate) locks: Vec<Cell<Option<usize>>>,
    pub(crate) online: Cell<VcpuMask>,
    /// Whether the entry that stands for any has been written yet: the first is entry 0, whatever its name.
    pub(crate) named: Cell<bool>,
    /// Whether everybody comes to an end of what he does, unwatched: nothing yields, nothing is issued.
    pub(crate) draining: Cell<bool>,
    pub(crate) found: RefCell<Option<Found>>,
    pub(crate) log: RefCell<Option<Log>>,
}

/// How many arrivals the referee remembers while a violation is looked at: enough to name every one.
const REMEMBERED: usize = 64;
const LOCKS: usize = 2;

impl<D: Design> Machine<D> {
    /// A machine for `scenario`. `is_shown` is whether it is to be looked at, not explored: the referee
    /// then remembers what arrived, and every point is logged.
    pub(crate) fn new(scenario: &Arc<Scenario>, is_shown: bool) -> Self {
        let (vcpus, tasks) = (scenario.vcpus, scenario.tasks());
        let settings = Settings::new(scenario.profile.into())
            .remembering(if is_shown { REMEMBERED } else { 0 })
            .masked_bound(D::MASKED_BOUND)
            .online((0..vcpus as u32).map(VcpuId::new).collect());
        let referee = Arc::new(Referee::with_settings(settings));
        let fixture = Fixture::new(vcpus, tasks, referee.clone());
        let machine = Self {
            scenario: scenario.clone(),
            shared: RefCell::new(D::shared(scenario)),
            fixture,
            referee,
            fibers: (0..tasks + vcpus).map(|_| Fiber::default()).collect(),
            vcpus: (0..vcpus).map(|_| Vcpu::default()).collect(),
            callbacks: RefCell::default(),
            held: Cell::default(),
            locks: (0..LOCKS).map(|_| Cell::default()).collect(),
            online: Cell::default(),
            named: Cell::default(),
            draining: Cell::default(),
            found: RefCell::default(),
            log: RefCell::new(is_shown.then(Log::default)),
        };
        machine.reset();
        machine
    }

    /// The coroutine of `vcpu`'s idle loop.
    pub(crate) fn idle(&self, vcpu: usize) -> usize {
        self.scenario.tasks() + vcpu
    }

    /// Whether a coroutine is a task's.
    pub(crate) fn is_task(&self, fiber: usize) -> bool {
        fiber < self.scenario.tasks()
    }

    pub(crate) fn is_online(&self, vcpu: usize) -> bool {
        self.online.get().contains(VcpuId::new(vcpu as u32))
    }

    /// Makes everything as it was in the beginning. No coroutine is in the middle of anything.
    pub(crate) fn reset(&self) {
        self.fixture.xen.restore(&self.fixture.kept);
        self.referee.reset();
        *self.shared.borrow_mut() = D::shared(&self.scenario);
        for (number, fiber) in self.fibers.iter().enumerate() {
            fiber.vcpu.set(number.saturating_sub(self.scenario.tasks()));
            fiber.preempt_off.set(0);
            fiber.digest.set(0);
            fiber.wish.set(None);
            fiber.request.set(None);
            fiber.soft_off.set(false);
            fiber.ended.set(false);
        }
        for (number, vcpu) in self.vcpus.iter().enumerate() {
            vcpu.current.set(self.idle(number));
            vcpu.masked.set(0);
            vcpu.in_step.set(false);
            vcpu.in_interrupt.set(false);
            vcpu.called.set(None);
            vcpu.dying.set(false);
            let id = VcpuId::new(number as u32);
            let processor = self.fixture.xen.processor(id);
            self.referee.loaded(id, processor.base, processor.user_base);
        }
        self.locks.iter().for_each(|lock| lock.set(None));
        self.callbacks.borrow_mut().clear();
        self.held.set(0);
        crate::completion::forget();
        self.online.set((0..self.vcpus.len() as u32).map(VcpuId::new).collect());
        self.named.set(false);
        self.found.replace(None);
    }

    /// Notes what is wrong, unless something was wrong before.
    pub(crate) fn note(&self, found: Found) {
        let mut noted = self.found.borrow_mut();
        if !self.draining.get() && noted.is_none() {
            *noted = Some(found);
        }
    }

    /// What is wrong by now, the referee's findings included.
    pub(crate) fn trouble(&self) -> Option<Found> {
        if self.referee.found() > 0 {
            return self.referee.violations().first().map(|violation| Found::Violation(*violation));
        }
        *self.found.borrow()
    }

    /// Feeds everything that is shared.
    pub(crate) fn digest(&self, hasher: &mut impl Hasher) {
        self.fixture.xen.digest(&self.fixture.kept, hasher);
        self.referee.digest(hasher);
        D::digest(&self.shared.borrow(), hasher);
        for fiber in &self.fibers {
            (fiber.vcpu.get(), fiber.preempt_off.get(), fiber.digest.get()).hash(hasher);
            (fiber.soft_off.get(), fiber.ended.get()).hash(hasher);
        }
        for vcpu in &self.vcpus {
            (vcpu.current.get(), vcpu.masked.get(), vcpu.in_interrupt.get()).hash(hasher);
            (vcpu.called.get(), vcpu.dying.get()).hash(hasher);
        }
        self.locks.iter().for_each(|lock| lock.get().hash(hasher));
        (self.online.get(), self.named.get(), self.held.get(), self.callbacks.borrow().len()).hash(hasher);
    }

    /// Notes a moment for the picture.
    pub(crate) fn log(&self, vcpu: usize, text: impl FnOnce() -> String) {
        self.note_moment(vcpu, None, text);
    }

    /// The same of a point that was passed.
    pub(crate) fn log_point(&self, vcpu: usize, what: What) {
        self.note_moment(vcpu, Some(what), || what.to_string());
    }

    fn note_moment(&self, vcpu: usize, what: Option<What>, text: impl FnOnce() -> String) {
        if let Some(log) = self.log.borrow_mut().as_mut()
            && !self.draining.get()
        {
            let queues = (0..self.vcpus.len()).map(|vcpu| self.queued(vcpu)).collect();
            log.push(Moment { vcpu, fiber: self.vcpus[vcpu].current.get(), what, text: text(), queues });
        }
    }

    fn queued(&self, vcpu: usize) -> Vec<String> {
        let queued = D::queued(&self.shared.borrow(), vcpu);
        queued.iter().map(|operation| crate::picture::name(&self.fixture, operation)).collect()
    }
}

/// One more answer, or point, on a coroutine's way.
pub(crate) fn mix(digest: u64, what: impl Hash) -> u64 {
    FixedState::default().hash_one((digest, what))
}

impl From<crate::scenario::Profile> for referee::Profile {
    fn from(profile: crate::scenario::Profile) -> Self {
        match profile {
            crate::scenario::Profile::Strict => Self::Strict,
            crate::scenario::Profile::Nested => Self::Nested,
        }
    }
}
