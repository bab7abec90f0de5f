//! This library, in a kernel that is only as much kernel as it needs: [`mmu_replay::lead`] on the trace's vCPUs.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt::Display;

use hypercall::{Hypervisor, InterruptContext, Mfn, Pte, PteSlot, SwitchContext, TaskContext, VcpuId, VcpuMask};
use mmu_replay::Bases;
use mmu_replay::lead::{self, Contexts, Leader, Piece};
use pv_mmu::{Failure, Platform, Profile, Report, TaskState, VcpuQueue};

use super::{Answer, Policy};
use crate::replay::program::{Act, Step};
use crate::replay::request::{Source, TaskKey};

/// One vCPU of the replayed kernel.
struct Vcpu<H> {
    queue: VcpuQueue,
    hypervisor: H,
}

/// What the trace's kernel is to the library.
pub(crate) struct Kernel<H, M> {
    vcpus: Vec<RefCell<Vcpu<H>>>,
    current: Cell<VcpuId>,
    bases: Vec<RefCell<Bases>>,
    memory: M,
    /// What the guest has been told since the last step.
    told: RefCell<Answer>,
    contexts: Contexts,
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
            bases: vcpus.iter().map(|_| RefCell::default()).collect(),
            vcpus: vcpus.into_iter().map(vcpu).collect(),
            current: Cell::default(),
            memory,
            told: RefCell::default(),
            contexts: Contexts {
                task: TaskContext::in_user_space(),
                interrupt: InterruptContext::in_user_space(),
                switch: SwitchContext::in_user_space(),
            },
        }
    }

    fn all(&self) -> impl Iterator<Item = VcpuId> {
        (0..).map(VcpuId::new).take(self.vcpus.len())
    }

    fn leader(&self, vcpu: VcpuId) -> Leader<'_, Self> {
        Leader::new(self, &self.contexts, vcpu)
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
        self.all().collect()
    }

    /// The steps of a trace come one at a time, so the other vCPU's handler can run at once.
    fn flush_others(&self, table: Mfn) {
        let here = self.current.get();
        let leaves =
            |vcpu: &VcpuId| *vcpu != here && lead::Kernel::with_bases(self, *vcpu, |bases| bases.leaves(table));
        for vcpu in self.all().filter(leaves) {
            self.current.set(vcpu);
            self.leader(vcpu).flush();
        }
        self.current.set(here);
    }

    fn report(&self, report: &Report) {
        match report {
            Report::Failed(failure) => lead::Kernel::failed(self, failure),
            other => lead::Kernel::complain(self, other),
        }
    }
}

impl<H: Hypervisor, M: Memory> lead::Kernel for Kernel<H, M> {
    fn with_bases<R>(&self, vcpu: VcpuId, look: impl FnOnce(&mut Bases) -> R) -> R {
        look(&mut self.bases[vcpu.number() as usize].borrow_mut())
    }

    fn failed(&self, failure: &Failure) {
        self.told.borrow_mut().failures.push((*failure.operation(), failure.errno()));
    }

    fn complain(&self, what: &dyn Display) {
        self.told.borrow_mut().complaints.push(what.to_string());
    }
}

/// The library, led through a trace.
pub(crate) struct PvMmu<'k, H: Hypervisor, M: Memory> {
    kernel: &'k Kernel<H, M>,
    leaders: Vec<Leader<'k, Kernel<H, M>>>,
    tasks: HashMap<TaskKey, TaskState>,
}

impl<'k, H: Hypervisor, M: Memory> PvMmu<'k, H, M> {
    /// The library on `kernel`.
    pub(crate) fn new(kernel: &'k Kernel<H, M>) -> Self {
        Self { kernel, leaders: kernel.all().map(|vcpu| kernel.leader(vcpu)).collect(), tasks: HashMap::new() }
    }
}

impl<H: Hypervisor, M: Memory> Policy for PvMmu<'_, H, M> {
    fn act(&mut self, step: &Step) -> Answer {
        let Some(act) = library_act(&step.act) else { return Answer::accepted() };
        self.kernel.current.set(step.vcpu);
        let task = self.tasks.entry(step.task).or_insert_with(|| TaskState::with_profile(Profile::Nested));
        let accepted = self.leaders[step.vcpu.number() as usize].act(task, step.interrupt, &act);
        Answer { accepted, ..self.kernel.told.take() }
    }

    fn queued(&self, vcpu: VcpuId) -> u64 {
        self.kernel.vcpus[vcpu.number() as usize].borrow().queue.pending()
    }
}

/// What a step asks of the library; `None` for one that is taken beside it.
pub(crate) fn library_act(act: &Act) -> Option<lead::Act<'_>> {
    Some(match act {
        Act::Enter => lead::Act::Enter,
        Act::Leave => lead::Act::Leave,
        Act::Flush => lead::Act::Flush,
        Act::SwitchOut => lead::Act::SwitchOut,
        Act::SwitchIn { .. } => lead::Act::SwitchIn,
        Act::Work { source, operations } => lead::Act::Work { piece: piece(*source), operations },
        Act::Guest(_) | Act::Compare { .. } => return None,
    })
}

/// By which calls a kernel asks for what comes from `source`.
const fn piece(source: Source) -> Piece {
    match source {
        Source::UpperWrite(_) => Piece::Upper,
        Source::BasePointer => Piece::Base,
        Source::Range => Piece::Range,
        _ => Piece::Each,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::testing::{Bench, mmuext, step, update, work};
    use hypercall::MmuextOp;
    use hypercall::Operation;

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
