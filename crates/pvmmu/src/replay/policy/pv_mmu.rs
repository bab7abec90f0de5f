//! This library, through its dynamic interface, in a kernel that is only as much kernel as it needs.
//!
//! A step's tasks and vCPUs are the trace's. Operations asked for as one piece outside a region are put in a region of
//! their own, and a base pointer written outside a context switch is written by the switch code: both reach the
//! hypervisor as the one call that the caller's bracket was.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use hypercall::{
    Hypervisor, InterruptContext, Mfn, MmuUpdate, MmuextOp, Operation, Pte, PteSlot, SwitchContext, TaskContext,
    UpdateCommand, VcpuId, VcpuMask,
};
use pv_mmu::{
    Context, ContextSwitch, Dynamic, Failure, LeaveError, Mmu, Operations, Platform, Profile, Report, TaskState,
    VcpuQueue,
};

use super::{Answer, Policy};
use crate::replay::program::{Act, Step};
use crate::replay::request::{Source, TaskKey};

/// One vCPU of the replayed kernel.
struct Vcpu<H> {
    queue: VcpuQueue,
    hypervisor: H,
}

/// A vCPU's base pointers as its kernel sees them.
#[derive(Default)]
struct Bases {
    kernel: Option<Mfn>,
    user: Option<Mfn>,
    /// Those a load that is still queued leads away from.
    leaving: Vec<Mfn>,
}

impl Bases {
    fn load(&mut self, operation: &Operation) {
        let (base, table) = match *operation {
            Operation::Mmuext { op: MmuextOp::NewBaseptr { table }, .. } => (&mut self.kernel, table),
            Operation::Mmuext { op: MmuextOp::NewUserBaseptr { table }, .. } => (&mut self.user, table),
            _ => return,
        };
        self.leaving.extend(base.replace(table));
    }
}

/// What the trace's kernel is to the library.
pub(crate) struct Kernel<H, M> {
    vcpus: Vec<RefCell<Vcpu<H>>>,
    current: Cell<VcpuId>,
    bases: RefCell<HashMap<VcpuId, Bases>>,
    memory: M,
    /// What the guest has been told since the last step.
    told: RefCell<Answer>,
    task: TaskContext,
    interrupt: InterruptContext,
    switch: SwitchContext,
}

/// The guest's memory, as its kernel reaches it without a hypercall.
pub(crate) trait Memory {
    /// Reads an entry.
    fn read(&self, slot: PteSlot) -> Pte;
}

impl<H: Hypervisor, M: Memory> Kernel<H, M> {
    /// A kernel on these vCPUs, in the order of their numbers.
    pub(crate) fn new(vcpus: Vec<H>, memory: M) -> Self {
        let vcpu = |hypervisor| RefCell::new(Vcpu { queue: VcpuQueue::new(), hypervisor });
        Self {
            vcpus: vcpus.into_iter().map(vcpu).collect(),
            current: Cell::default(),
            bases: RefCell::default(),
            memory,
            told: RefCell::default(),
            task: TaskContext::in_user_space(),
            interrupt: InterruptContext::in_user_space(),
            switch: SwitchContext::in_user_space(),
        }
    }

    fn load(&self, vcpu: VcpuId, operations: &[Operation]) {
        let mut bases = self.bases.borrow_mut();
        let bases = bases.entry(vcpu).or_default();
        operations.iter().for_each(|operation| bases.load(operation));
    }

    /// Nothing is queued on the vCPU any more.
    fn settled(&self, vcpu: VcpuId) {
        if let Some(bases) = self.bases.borrow_mut().get_mut(&vcpu) {
            bases.leaving.clear();
        }
    }

    fn complain(&self, what: impl ToString) {
        self.told.borrow_mut().complaints.push(what.to_string());
    }

    fn fail(&self, failure: &Failure) {
        self.told.borrow_mut().failures.push((*failure.operation(), failure.errno()));
    }
}

impl<H: Hypervisor, M: Memory> Platform for Kernel<H, M> {
    type Hypervisor = H;
    type Queue = VcpuQueue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut Self::Queue, &mut Self::Hypervisor) -> R) -> R {
        let mut vcpu = self.vcpus[self.current.get().number() as usize].borrow_mut();
        let Vcpu { queue, hypervisor } = &mut *vcpu;
        step(queue, hypervisor)
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.memory.read(slot)
    }

    fn online(&self) -> VcpuMask {
        (0..).map(VcpuId::new).take(self.vcpus.len()).collect()
    }

    /// The steps of a trace come one at a time, so the other vCPU's handler can run at once.
    fn flush_others(&self, table: Mfn) {
        let here = self.current.get();
        let leaves = |(vcpu, bases): (&VcpuId, &Bases)| bases.leaving.contains(&table).then_some(*vcpu);
        let others: Vec<VcpuId> = self.bases.borrow().iter().filter_map(leaves).filter(|vcpu| *vcpu != here).collect();
        for vcpu in others {
            self.current.set(vcpu);
            Mmu::new(self).interrupt(&self.interrupt).flush();
            self.settled(vcpu);
        }
        self.current.set(here);
    }

    fn report(&self, report: &Report) {
        match report {
            Report::Failed(failure) => self.fail(failure),
            other => self.complain(other),
        }
    }
}

/// The library, led through a trace.
pub(crate) struct PvMmu<'k, H: Hypervisor, M: Memory> {
    kernel: &'k Kernel<H, M>,
    tasks: HashMap<TaskKey, TaskState>,
    switches: HashMap<VcpuId, ContextSwitch<'k, Kernel<H, M>>>,
}

impl<'k, H: Hypervisor, M: Memory> PvMmu<'k, H, M> {
    /// The library on `kernel`.
    pub(crate) fn new(kernel: &'k Kernel<H, M>) -> Self {
        Self { kernel, tasks: HashMap::new(), switches: HashMap::new() }
    }

    fn dynamic(&mut self, step: &Step) -> Dynamic<'_, Kernel<H, M>> {
        let task = self.tasks.entry(step.task).or_insert_with(|| TaskState::with_profile(Profile::Nested));
        let context =
            if step.interrupt { Context::Interrupt(&self.kernel.interrupt) } else { Context::Task(&self.kernel.task) };
        Mmu::new(self.kernel).dynamic(task, context)
    }

    fn enter(&mut self, step: &Step) -> bool {
        self.dynamic(step).enter().is_ok()
    }

    fn leave(&mut self, step: &Step) -> bool {
        match self.dynamic(step).leave() {
            Ok(()) => true,
            Err(LeaveError::Failed(failures)) => {
                failures.iter().for_each(|failure| self.kernel.fail(failure));
                true
            }
            Err(_) => false,
        }
    }

    fn work(&mut self, step: &Step, source: Source, operations: &[Operation]) {
        self.kernel.load(step.vcpu, operations);
        let may_wait = self.dynamic(step).is_lazy();
        if let Some(switch) = self.switches.get_mut(&step.vcpu).filter(|_| !step.interrupt) {
            operations.iter().for_each(|operation| switch.operation(operation));
        } else if source == Source::BasePointer && !may_wait {
            let mut switch = Mmu::new(self.kernel).switch(&self.kernel.switch);
            operations.iter().for_each(|operation| switch.operation(operation));
            switch.finish();
            self.kernel.settled(step.vcpu);
        } else if source == Source::Range {
            self.range(step, operations);
        } else if operations.len() > 1 && !step.interrupt && !may_wait {
            self.enter(step);
            self.each(step, source, operations);
            self.leave(step);
        } else {
            self.each(step, source, operations);
        }
    }

    fn range(&mut self, step: &Step, operations: &[Operation]) {
        let updates: Vec<MmuUpdate> = operations.iter().filter_map(update_of).collect();
        let Some(first) = updates.first() else { return };
        if let Err(error) = self.dynamic(step).set_ptes(first.slot, updates.len(), |index| updates[index].pte()) {
            self.kernel.complain(error);
        }
    }

    fn each(&mut self, step: &Step, source: Source, operations: &[Operation]) {
        let mut dynamic = self.dynamic(step);
        let failed: Vec<_> = operations.iter().filter_map(|op| ask(&mut dynamic, source, op).err()).collect();
        failed.iter().for_each(|failure| self.kernel.fail(failure));
    }

    fn switch_in(&mut self, step: &Step) {
        if let Some(switch) = self.switches.remove(&step.vcpu) {
            switch.finish();
        }
        self.kernel.settled(step.vcpu);
    }
}

impl<H: Hypervisor, M: Memory> Policy for PvMmu<'_, H, M> {
    fn act(&mut self, step: &Step) -> Answer {
        self.kernel.current.set(step.vcpu);
        let mut accepted = true;
        match &step.act {
            Act::Enter => accepted = self.enter(step),
            Act::Leave => accepted = self.leave(step),
            Act::Flush => self.dynamic(step).flush(),
            Act::SwitchOut => {
                self.switches.insert(step.vcpu, Mmu::new(self.kernel).switch(&self.kernel.switch));
            }
            Act::SwitchIn { .. } => self.switch_in(step),
            Act::Work { source, operations } => self.work(step, *source, operations),
            Act::Guest(_) | Act::Compare { .. } => {}
        }
        Answer { accepted, ..self.kernel.told.take() }
    }
}

const fn update_of(operation: &Operation) -> Option<MmuUpdate> {
    if let Operation::Update { update, .. } = operation { Some(*update) } else { None }
}

/// Asks for one operation by the call a kernel would make.
fn ask<P: Platform>(dynamic: &mut Dynamic<'_, P>, source: Source, operation: &Operation) -> Result<(), Failure> {
    match *operation {
        Operation::Update { update, .. } if matches!(source, Source::UpperWrite(_)) => {
            dynamic.set_upper(update.slot, update.pte())
        }
        Operation::Update { update, .. } if update.slot.command() == Some(UpdateCommand::PreserveAd) => {
            dynamic.commit_pte(update.slot, update.pte())
        }
        Operation::Update { update, .. } => dynamic.set_pte(update.slot, update.pte()),
        Operation::Mmuext { op, .. } => dynamic.mmuext(op),
        _ => dynamic.operation(operation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::testing::{Bench, mmuext, step, update, work};

    /// No entry is ever read by a replay.
    struct NoMemory;

    impl Memory for NoMemory {
        fn read(&self, _slot: PteSlot) -> Pte {
            unreachable!("a replay reads past the library")
        }
    }

    /// The hypercalls after each of `steps`.
    fn calls(steps: &[Step]) -> Vec<u64> {
        let (bench, vcpus) = Bench::new(2);
        let kernel = Kernel::new(vcpus, NoMemory);
        let mut policy = PvMmu::new(&kernel);
        let taken = |step| {
            assert!(policy.act(step).accepted);
            bench.calls().0
        };
        steps.iter().map(taken).collect()
    }

    fn base(table: u64) -> Step {
        work(Source::BasePointer, [mmuext(MmuextOp::NewBaseptr { table: Mfn::new(table) })])
    }

    #[test]
    fn a_whole_table_is_one_hypercall_and_one_entry_more_is_two() {
        let region = |count| {
            let writes = work(Source::PteWrite, (0..count).map(update));
            calls(&[step(Act::Enter), writes, step(Act::Leave)])
        };
        assert_eq!(region(512), [0, 0, 1]);
        assert_eq!(region(513), [0, 1, 2]);
    }

    #[test]
    fn a_piece_outside_a_region_is_one_hypercall() {
        let flush = mmuext(MmuextOp::TlbFlushLocal);
        assert_eq!(calls(&[work(Source::CopyOnWrite, [flush, update(1)])]), [1]);
        assert_eq!(calls(&[work(Source::Range, (1..9).map(update))]), [1]);
        assert_eq!(calls(&[work(Source::BasePointer, [flush, flush])]), [1]);
    }

    #[test]
    fn a_switch_is_one_hypercall_for_all_it_queues() {
        let stack = Operation::StackSwitch { ss: 0x18, sp: hypercall::VirtAddr::unchecked(0x1000) };
        let next = TaskKey::new(8, 0);
        let steps =
            [step(Act::SwitchOut), base(0x40), work(Source::StackSwitch, [stack]), step(Act::SwitchIn { next })];
        assert_eq!(calls(&steps), [0, 0, 0, 1]);
    }

    #[test]
    fn what_an_interrupt_asks_takes_the_queue_along() {
        let steps = [
            step(Act::Enter),
            work(Source::PteWrite, [update(1)]),
            Step { interrupt: true, ..work(Source::PteWrite, [update(2)]) },
            step(Act::Leave),
        ];
        assert_eq!(calls(&steps), [0, 0, 1, 1]);
    }

    #[test]
    fn a_vcpu_that_is_leaving_a_table_is_flushed_before_the_table_is_unpinned() {
        let unpin = |table| {
            let unpin = mmuext(MmuextOp::Unpin { table: Mfn::new(table) });
            Step { vcpu: VcpuId::new(1), task: TaskKey::new(9, 1), ..work(Source::Table, [unpin]) }
        };
        let next = TaskKey::new(8, 0);
        let steps = |table| [base(0x40), step(Act::SwitchOut), base(0x41), unpin(table), step(Act::SwitchIn { next })];
        assert_eq!(calls(&steps(0x40)), [1, 1, 1, 3, 3]);
        assert_eq!(calls(&steps(0x50)), [1, 1, 1, 2, 3]);
    }

    #[test]
    fn a_leave_too_many_is_not_taken() {
        let (_, vcpus) = Bench::new(1);
        let kernel = Kernel::new(vcpus, NoMemory);
        let mut policy = PvMmu::new(&kernel);
        assert!(!policy.act(&step(Act::Leave)).accepted);
    }

    #[test]
    fn writes_of_one_entry_merge() {
        let (bench, vcpus) = Bench::new(1);
        let kernel = Kernel::new(vcpus, NoMemory);
        let mut policy = PvMmu::new(&kernel);
        let steps = [step(Act::Enter), work(Source::PteWrite, [update(1), update(1), update(2)]), step(Act::Leave)];
        steps.iter().for_each(|step| assert!(policy.act(step).accepted));
        assert_eq!(bench.calls(), (1, 2), "the older of the two writes of entry 1 never leaves");
    }
}
