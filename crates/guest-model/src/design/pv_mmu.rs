//! This library: laziness is task state, the queue is the vCPU's, each step is undivided.

use std::cell::{Cell, RefCell};
use std::hash::{Hash, Hasher};

use hypercall::{
    Errno, Hypervisor, InterruptContext, Mfn, MmuUpdate, Operation, Outcome, PreparedCall, PreparedCalls, Pte, PteSlot,
    Subject, SwitchContext, TaskContext, UpdateCommand, VcpuId, VcpuMask,
};
use mock_xen::{
    MockVcpu,
    referee::Rule,
    testing::{Answer, Failed},
};
use pv_mmu::{
    Context, Dynamic, Failure, Failures, Held, LeaveError, Mmu, NotCleared, Operations, PauseError, Platform, Profile,
    ReadModifyWrite, Report, Stats, TaskState, VcpuQueue,
};

use super::Design;
use crate::{
    cpu::Cpu,
    fixture::update,
    found::Found,
    machine::Wanted,
    point::What,
    scenario::{self, Scenario},
};

/// Small, so that short programs fill it.
type Queue = VcpuQueue<2, 3, 32>;

/// The design; see the module.
#[derive(Debug)]
pub(crate) struct PvMmu;

impl From<scenario::Profile> for Profile {
    fn from(profile: scenario::Profile) -> Self {
        match profile {
            scenario::Profile::Strict => Self::Strict,
            scenario::Profile::Nested => Self::Nested,
        }
    }
}

/// A vCPU's way to the mock, with points wherever something else can run.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    cpu: Cpu<'a, PvMmu>,
    vcpu: VcpuId,
    /// Whether it has been used.
    has_issued: Cell<bool>,
}

impl Gate<'_> {
    fn issue<T: Hash>(&self, call: impl FnOnce(&mut MockVcpu<'_>) -> T) -> T {
        self.has_issued.set(true);
        self.cpu.point(What::Hypercall);
        let gap = |point| self.cpu.point(What::Between(point));
        let answer = call(&mut self.cpu.machine.fixture.xen.vcpu(self.vcpu).pausing(&gap));
        self.cpu.mix(&answer);
        answer
    }

    /// One call. Nobody watches while the model is drained, so nothing is refused then.
    fn outcome(&self, count: usize, call: impl FnOnce(&mut MockVcpu<'_>) -> Outcome) -> Outcome {
        if self.cpu.machine.draining.get() {
            return Outcome::all(count as u32);
        }
        let (done, result) = self.issue(|vcpu| {
            let Outcome { done, result } = call(vcpu);
            (done, result)
        });
        Outcome { done, result }
    }
}

impl Hypervisor for Gate<'_> {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        self.outcome(updates.len(), |vcpu| vcpu.mmu_update(updates, subject))
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        self.outcome(0, |vcpu| vcpu.call(call))
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        if self.cpu.machine.draining.get() {
            (0..calls.len()).for_each(|index| calls.set_result(index, 0));
            return Ok(());
        }
        self.issue(|vcpu| vcpu.multicall(calls))
    }
}

impl<'a> Platform for Cpu<'a, PvMmu> {
    type Hypervisor = Gate<'a>;
    type Queue = Queue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut Queue, &mut Gate<'a>) -> R) -> R {
        self.point(What::Vcpu);
        self.tell_callbacks();
        self.fiber().steps.set(self.fiber().steps.get() + 1);
        self.masked(|vcpu| {
            let shared = self.machine.shared.borrow();
            let mut queue = shared[vcpu].borrow_mut();
            self.mix(&*queue);
            self.asked(|slot| queue.waiting().filter_map(|operation| written(&operation, slot)).last());
            let held: Vec<Operation> = queue.waiting().collect();
            let in_step = &self.machine.vcpus[vcpu].in_step;
            in_step.set(true);
            let mut gate = Gate { cpu: *self, vcpu: VcpuId::new(vcpu as u32), has_issued: Cell::new(false) };
            let answer = step(&mut queue, &mut gate);
            in_step.set(false);
            if queue.pending() == 0 {
                self.not_taken();
            }
            self.check_step(&held, &queue, gate.has_issued.get());
            self.check(&queue.counts());
            answer
        })
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.point(What::Read);
        self.answer(self.memory(slot))
    }

    fn online(&self) -> VcpuMask {
        self.point(What::Online);
        self.answer(self.machine.online.get())
    }

    fn flush_others(&self, table: Mfn) {
        self.point(What::FlushOthers);
        self.call_others(table);
    }

    #[cfg(feature = "planted")]
    fn planted(&self) -> Option<pv_mmu::Fault> {
        self.machine.scenario.planted
    }

    fn report(&self, report: &Report) {
        self.point(What::Report);
        match report {
            Report::Failed(failure) => self.tell_failed(&failed(failure)),
            Report::LeakedRegion { .. } => self.machine.referee.leak_reported(self.asker()),
            Report::MulticallRefused(errno) => self.machine.referee.hypercall_refused(self.vcpu_id(), *errno),
            _ => {}
        }
    }
}

impl Cpu<'_, PvMmu> {
    /// What a step may not leave behind: `held` is what was queued when it began.
    fn check_step(&self, held: &[Operation], queue: &Queue, has_issued: bool) {
        if self.fiber().observes.get() && !queue.waiting().eq(held.iter().copied()) {
            self.machine.note(Found::Assertion { rule: Rule::R18, what: "an observer has changed what is queued" });
        }
        // Handing over and forgetting are one step: between two, an interrupt would hand it over again.
        let keeps = || queue.waiting().take(held.len()).eq(held.iter().copied());
        if has_issued && !held.is_empty() && keeps() {
            self.machine.note(Found::Assertion { rule: Rule::R9, what: "a step ends with what it handed over queued" });
        }
    }

    /// The counts add up at every moment (R17).
    fn check(&self, stats: &Stats) {
        let settled = stats.applied + stats.refused + stats.not_attempted + stats.merged + stats.superseded;
        if stats.queued != settled + stats.pending {
            self.machine.note(Found::Counts { what: "what was asked is not what became of it and what is pending" });
        }
        if stats.flushes_by_reason.iter().sum::<u64>() != stats.flushes {
            self.machine.note(Found::Counts { what: "the flushes by reason do not add up to the flushes" });
        }
    }
}

#[cfg(not(feature = "planted"))]
const fn queue(_scenario: &Scenario) -> Queue {
    Queue::new()
}

#[cfg(feature = "planted")]
fn queue(scenario: &Scenario) -> Queue {
    let mut queue = Queue::new();
    scenario.planted.into_iter().for_each(|fault| queue.plant(fault));
    queue
}

fn failed(failure: &Failure) -> Failed {
    Failed { operation: *failure.operation(), errno: failure.errno() }
}

fn answer(accepted: bool, failures: Option<&Failures>) -> Answer {
    Answer { accepted, failures: failures.into_iter().flat_map(Failures::iter).map(failed).collect() }
}

fn dynamic<'r, 'a>(cpu: &'r Cpu<'a, PvMmu>, local: &'r mut TaskState) -> Dynamic<'r, Cpu<'a, PvMmu>> {
    const TASK: &TaskContext = &TaskContext::in_user_space();
    Mmu::new(cpu).dynamic(local, Context::Task(TASK))
}

const INTERRUPT: &InterruptContext = &InterruptContext::in_user_space();

impl Design for PvMmu {
    type Local = TaskState;
    type Shared = Vec<RefCell<Queue>>;
    const MASKED_BOUND: u32 = Queue::MASKED_BOUND as u32;
    const PAUSES: bool = true;

    fn shared(scenario: &Scenario) -> Self::Shared {
        (0..scenario.vcpus).map(|_| RefCell::new(queue(scenario))).collect()
    }

    fn local(scenario: &Scenario) -> TaskState {
        TaskState::with_profile(scenario.profile.into())
    }

    /// A queue that is in use is in a hypercall: what it held when that began is among its coroutine's
    /// answers.
    fn digest(shared: &Self::Shared, hasher: &mut impl Hasher) {
        shared.iter().for_each(|queue| queue.try_borrow().ok().as_deref().hash(hasher));
    }

    fn queued(shared: &Self::Shared, vcpu: usize) -> Vec<Operation> {
        shared[vcpu].try_borrow().map(|queue| queue.waiting().collect()).unwrap_or_default()
    }

    fn is_in_use(shared: &Self::Shared, vcpu: usize) -> bool {
        shared[vcpu].try_borrow_mut().is_err()
    }

    fn is_lazy(local: &TaskState) -> bool {
        local.is_lazy()
    }

    fn enter(cpu: &Cpu<'_, Self>, local: &mut TaskState) -> Answer {
        dynamic(cpu, local).enter().into()
    }

    fn leave(cpu: &Cpu<'_, Self>, local: &mut TaskState) -> Answer {
        match dynamic(cpu, local).leave() {
            Ok(()) => true.into(),
            Err(LeaveError::Failed(failures)) => answer(true, Some(&failures)),
            Err(_) => false.into(),
        }
    }

    fn pause(cpu: &Cpu<'_, Self>, local: &mut TaskState) -> Answer {
        match dynamic(cpu, local).pause() {
            Ok(()) => true.into(),
            Err(PauseError::Failed(failures)) => answer(true, Some(&failures)),
            Err(_) => false.into(),
        }
    }

    fn resume(cpu: &Cpu<'_, Self>, local: &mut TaskState) -> Answer {
        dynamic(cpu, local).resume().into()
    }

    fn ask(cpu: &Cpu<'_, Self>, local: &mut TaskState, operation: &Operation) -> Answer {
        submit(dynamic(cpu, local), operation)
    }

    fn ask_at_once(cpu: &Cpu<'_, Self>, local: &mut TaskState, operation: &Operation) -> Answer {
        Self::ask(cpu, local, operation)
    }

    fn ask_range(
        cpu: &Cpu<'_, Self>,
        local: &mut TaskState,
        slot: PteSlot,
        count: usize,
        pte_of: &mut dyn FnMut(usize) -> Pte,
    ) {
        let range = dynamic(cpu, local).set_ptes(slot, count, pte_of);
        debug_assert!(range.is_ok(), "the range lies within the table");
    }

    fn walk(cpu: &Cpu<'_, Self>, local: &mut TaskState, count: usize) {
        let context = TaskContext::in_user_space();
        let mut region = Mmu::new(cpu).enter(local, &context);
        cpu.tell(|referee| referee.enter(cpu.asker(), true));
        for entry in 0..count {
            let fixture = &cpu.machine.fixture;
            cpu.wish_then(update(fixture.slot(entry), fixture.pte(cpu.id(), entry)), |operation, callback| {
                region.operation_then(operation, callback);
            });
        }
        cpu.tell(|referee| referee.leave(cpu.asker()));
        let left = region.leave();
        cpu.tell_failures(&answer(true, left.as_ref().err()));
        cpu.tell(|referee| referee.left(cpu.asker(), true));
    }

    fn flush(cpu: &Cpu<'_, Self>, local: &mut TaskState) {
        dynamic(cpu, local).flush();
    }

    fn read(cpu: &Cpu<'_, Self>, local: &mut TaskState, slot: PteSlot) -> Pte {
        dynamic(cpu, local).read_pte(slot)
    }

    fn clear(cpu: &Cpu<'_, Self>, local: &mut TaskState, slot: PteSlot) -> Pte {
        cpu.wish_emptied(slot, || held(dynamic(cpu, local).get_and_clear(slot)))
    }

    fn protect(cpu: &Cpu<'_, Self>, local: &mut TaskState, slot: PteSlot) {
        cpu.wish_for(Wanted::Protected(slot), || dynamic(cpu, local).wrprotect(slot));
    }

    fn count(cpu: &Cpu<'_, Self>, on: bool) {
        cpu.fiber().observes.set(true);
        Mmu::new(cpu).count(on);
        cpu.fiber().observes.set(false);
    }

    fn exit(cpu: &Cpu<'_, Self>, local: &mut TaskState) {
        Mmu::new(cpu).exit_task(local, &TaskContext::in_user_space());
    }

    fn ask_in_interrupt(cpu: &Cpu<'_, Self>, operation: &Operation) -> Answer {
        submit(Mmu::new(cpu).interrupt(INTERRUPT), operation)
    }

    fn read_in_interrupt(cpu: &Cpu<'_, Self>, slot: PteSlot) -> Pte {
        Mmu::new(cpu).interrupt(INTERRUPT).read_pte(slot)
    }

    fn clear_in_interrupt(cpu: &Cpu<'_, Self>, slot: PteSlot) -> Pte {
        cpu.wish_emptied(slot, || held(Mmu::new(cpu).interrupt(INTERRUPT).get_and_clear(slot)))
    }

    fn flush_in_interrupt(cpu: &Cpu<'_, Self>) {
        Mmu::new(cpu).interrupt(INTERRUPT).flush();
    }

    fn switch(cpu: &Cpu<'_, Self>, _next: usize, loads: &[Operation]) {
        let context = SwitchContext::in_user_space();
        let mut switch = Mmu::new(cpu).switch(&context);
        loads.iter().for_each(|load| switch.operation(load));
        switch.finish();
    }
}

/// What an entry held, if it could be emptied; failures are told elsewhere.
fn held(cleared: Result<Held, NotCleared>) -> Pte {
    cleared.map_or(Pte::EMPTY, Held::pte)
}

/// What an operation writes to an entry.
fn written(operation: &Operation, slot: PteSlot) -> Option<Pte> {
    match operation {
        Operation::Update { update, .. } if update.slot.same_entry(slot) => Some(update.pte()),
        _ => None,
    }
}

/// Asks for an operation by the call that is made for its kind.
fn submit<O: Operations<Answer = Result<(), Failure>>>(mut to: O, operation: &Operation) -> Answer {
    let result = match operation {
        Operation::Update { update, .. } if update.slot.command() == Some(UpdateCommand::PreserveAd) => {
            to.commit_pte(update.slot, update.pte())
        }
        Operation::Update { update, .. } => to.set_pte(update.slot, update.pte()),
        Operation::Mmuext { op, .. } => to.mmuext(*op),
        operation => to.operation(operation),
    };
    match result {
        Ok(()) => true.into(),
        Err(failure) => vec![failed(&failure)].into(),
    }
}
