//! The same calls by the Rust API: what the face is held against.

use std::cell::RefCell;

use hypercall::{
    Errno, Hypervisor, InterruptContext, Mfn, MmuUpdate, Operation, Outcome, PreparedCall, PreparedCalls, Pte, PteSlot,
    Subject, SwitchContext, TaskContext, VcpuMask, abi,
};
use mock_xen::testing::Failed;
use pv_mmu::{
    Context, Dynamic, EnterError, Failure, Failures, HarvestError, HeldBuffer, LeaveError, Mmu, Operations, PauseError,
    Platform, Profile, RangeError, ReadModifyWrite, Report, ResumeError, TaskState, VcpuQueue,
};
use pvmmu::{error::Code, operation::Operation as Wish};

use super::face::{Face, Wrong};
use super::ground::Ground;
use super::misuse::Misuse;
use super::words::{Answered, Call, Told, operation_of, pte_of, slot, toggled};
use super::{ENTRIES, TASKS};
use crate::Finding;

/// A kernel in Rust.
pub(super) struct Native<'g> {
    ground: &'g Ground<'g>,
    queues: [RefCell<VcpuQueue>; 2],
    states: [RefCell<TaskState>; TASKS],
    held: RefCell<Box<HeldBuffer<ENTRIES>>>,
    profile: Profile,
    task: TaskContext,
    interrupt: InterruptContext,
}

impl<'g> Native<'g> {
    pub(super) fn new(ground: &'g Ground<'g>, profile: Profile) -> Self {
        Self {
            ground,
            queues: [const { RefCell::new(VcpuQueue::new()) }; 2],
            states: std::array::from_fn(|_| TaskState::with_profile(profile).into()),
            held: RefCell::new(Box::new(HeldBuffer::new())),
            profile,
            task: TaskContext::in_user_space(),
            interrupt: InterruptContext::in_user_space(),
        }
    }

    fn make(&self, dynamic: &mut Dynamic<'_, Self>, call: &Call) -> Result<Answered, Answered> {
        let done = Answered::with([]);
        match *call {
            Call::Enter => dynamic.enter().map(|()| done).map_err(enter_error),
            Call::Leave => dynamic.leave().map(|()| done).map_err(leave_error),
            Call::Pause => dynamic.pause().map(|()| done).map_err(pause_error),
            Call::Resume => dynamic.resume().map(|()| done).map_err(resume_error),
            Call::Flush => {
                dynamic.flush();
                Ok(done)
            }
            Call::IsLazy => Ok(Answered::with([dynamic.is_lazy().into()])),
            Call::Exit if dynamic.is_interrupt() => Err(Answered::of(Code::Interrupt, 0)),
            Call::Exit => {
                dynamic.exit();
                Ok(done)
            }
            Call::Set(at, pte) => dynamic.set_pte(slot(at)?, Pte::from_bits(pte)).map(|()| done).map_err(failure),
            Call::Commit(at, pte) => dynamic.commit_pte(slot(at)?, Pte::from_bits(pte)).map(|()| done).map_err(failure),
            Call::Upper(at, pte) => dynamic.set_upper(slot(at)?, Pte::from_bits(pte)).map(|()| done).map_err(failure),
            Call::Operation(ref wish) => self.operation(dynamic, wish).map(|()| done),
            Call::Read(at) => Ok(Answered::with([dynamic.read_pte(slot(at)?).bits()])),
            Call::Range(at, count, pte) => {
                let entry = |n| Pte::from_bits(pte_of(n, pte));
                dynamic.set_ptes(slot(at)?, count, entry).map(|()| done).map_err(range_error)
            }
            Call::Toggle(at, count) => {
                let entry = |_, known: pv_mmu::Known| toggled(known.pte().bits()).map(Pte::from_bits);
                dynamic.modify_range(slot(at)?, count, entry).map(|()| done).map_err(range_error)
            }
            Call::WriteProtect(at, count) => {
                dynamic.wrprotect_range(slot(at)?, count).map(|()| done).map_err(range_error)
            }
            Call::GetAndClear(at) => {
                let cleared = dynamic.get_and_clear(slot(at)?);
                let not_cleared = |error: pv_mmu::NotCleared| Answered::of(Code::NotCleared, error.slot.address());
                cleared.map(|held| Answered::with([held.pte().bits()])).map_err(not_cleared)
            }
            Call::Harvest(at, count, options) => self.harvest(dynamic, slot(at)?, count, options),
            Call::Young(at, count) => {
                let young = dynamic.test_and_clear_young_range(slot(at)?, count).map_err(range_error)?;
                let bit = |n: usize| u64::from(young.contains(n)) << (n % 64);
                Ok(Answered::with((0..8).map(|word| (word * 64..word * 64 + 64).map(bit).sum()).collect::<Vec<_>>()))
            }
        }
    }

    fn operation(&self, dynamic: &mut Dynamic<'_, Self>, wish: &Wish) -> Result<(), Answered> {
        let result = match operation_of(wish)? {
            Operation::Mmuext { op, .. } => dynamic.mmuext(op),
            operation => dynamic.operation(&operation),
        };
        result.map_err(failure)
    }

    fn harvest(
        &self,
        dynamic: &mut Dynamic<'_, Self>,
        at: PteSlot,
        count: usize,
        options: u32,
    ) -> Result<Answered, Answered> {
        if options > 3 {
            return Err(Answered::of(Code::Argument, options.into()));
        }
        let mut held = self.held.borrow_mut();
        let mut harvest = dynamic.harvest(&mut held);
        if options & 1 != 0 {
            harvest = harvest.cleaning();
        }
        harvest.get_and_clear_range(at, count).map_err(|error| match error {
            HarvestError::Range(error) => range_error(error),
            _ => Answered::of(Code::Full, count as u64),
        })?;
        if options & 2 != 0 {
            harvest.flush_tlbs();
        }
        let told = harvest.finish().iter().flat_map(|held| [held.slot().address(), held.pte().bits()]);
        Ok(Answered::with(told.collect::<Vec<_>>()))
    }
}

impl Face for Native<'_> {
    fn call(&self, task: usize, call: &Call) -> Answered {
        let context =
            if self.ground.is_handler.get() { Context::Interrupt(&self.interrupt) } else { Context::Task(&self.task) };
        let mut state = self.states[task].borrow_mut();
        let answered = self.make(&mut Mmu::new(self).dynamic(&mut state, context), call);
        if matches!((call, &answered), (Call::Exit, Ok(_))) {
            *state = TaskState::with_profile(self.profile);
        }
        answered.unwrap_or_else(|refused| refused)
    }

    fn switch(&self, wishes: &[Wish]) -> Answered {
        let context = SwitchContext::in_user_space();
        let mut switch = Mmu::new(self).switch(&context);
        wishes.iter().filter_map(|wish| operation_of(wish).ok()).for_each(|operation| switch.operation(&operation));
        switch.finish();
        Answered::with([])
    }

    fn interrupt_flush(&self) -> Answered {
        Mmu::new(self).interrupt(&self.interrupt).flush();
        Answered::with([])
    }

    fn stats(&self) -> Vec<u64> {
        let stats = Mmu::new(self).stats();
        let first = [stats.queued, stats.applied, stats.refused, stats.not_attempted, stats.merged, stats.superseded];
        let rest = [stats.direct, stats.largest_batch];
        [&first[..], &[stats.pending, stats.flushes], &stats.flushes_by_reason, &rest].concat()
    }

    /// Nothing can be misused here: it does not compile.
    fn misuse(&self, _task: usize, _misuse: &Misuse) -> Result<(), Finding> {
        Ok(())
    }

    fn call_wrongly(&self, _task: usize, _call: &Call, _wrong: Wrong) -> Result<(), Finding> {
        Ok(())
    }
}

fn failure(failure: Failure) -> Answered {
    let failures = vec![failed(&failure)];
    Answered { failed: 1, failures, ..Answered::of(Code::Failed, 0) }
}

fn failed(failure: &Failure) -> Failed {
    Failed { operation: *failure.operation(), errno: failure.errno() }
}

fn failures(all: &Failures) -> Answered {
    Answered { failed: all.count(), failures: all.iter().map(failed).collect(), ..Answered::of(Code::Failed, 0) }
}

fn enter_error(error: EnterError) -> Answered {
    let code = match error {
        EnterError::Nested => Code::Nested,
        EnterError::Interrupt => Code::Interrupt,
        _ => Code::TooDeep,
    };
    Answered::of(code, 0)
}

fn leave_error(error: LeaveError) -> Answered {
    match error {
        LeaveError::Failed(all) => failures(&all),
        LeaveError::Interrupt => Answered::of(Code::Interrupt, 0),
        _ => Answered::of(Code::NotEntered, 0),
    }
}

fn pause_error(error: PauseError) -> Answered {
    match error {
        PauseError::Failed(all) => failures(&all),
        PauseError::Interrupt => Answered::of(Code::Interrupt, 0),
        _ => Answered::of(Code::TooDeep, 0),
    }
}

fn resume_error(error: ResumeError) -> Answered {
    match error {
        ResumeError::OpenRegions(regions) => Answered::of(Code::OpenRegions, regions.into()),
        ResumeError::Interrupt => Answered::of(Code::Interrupt, 0),
        _ => Answered::of(Code::NotPaused, 0),
    }
}

fn range_error(error: RangeError) -> Answered {
    match error {
        RangeError::BeyondTable { slot, count } => {
            Answered { limit: count as u64, ..Answered::of(Code::BeyondTable, slot.address()) }
        }
        _ => Answered::of(Code::EmptyRange, 0),
    }
}

/// Xen, by the words of hypercalls.
pub(super) struct Words<'g>(&'g Ground<'g>);

impl Hypervisor for Words<'_> {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        let mut done = 0_u32;
        let (array, count) = (updates.as_ptr().expose_provenance() as u64, (&raw mut done).expose_provenance() as u64);
        let args = [array, updates.len() as u64, count, subject.bits().into(), 0];
        let answer = self.0.hypercall(abi::HYPERCALL_MMU_UPDATE.into(), args);
        Outcome { done, result: Errno::from_return(answer).map(drop) }
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        call.memory().expose();
        let answer = self.0.hypercall(call.raw().number.into(), call.raw().args);
        call.outcome(answer)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let args = [calls.expose(), calls.len() as u64, 0, 0, 0];
        Errno::from_return(self.0.hypercall(abi::HYPERCALL_MULTICALL.into(), args)).map(drop)
    }
}

impl<'g> Platform for Native<'g> {
    type Hypervisor = Words<'g>;
    type Queue = VcpuQueue;

    fn with_vcpu<R>(&self, step: impl FnOnce(&mut VcpuQueue, &mut Words<'g>) -> R) -> R {
        self.ground.mask();
        let answer = step(&mut self.queues[self.ground.vcpu.get()].borrow_mut(), &mut Words(self.ground));
        self.ground.unmask();
        answer
    }

    fn read_pte(&self, slot: PteSlot) -> Pte {
        self.ground.load(slot)
    }

    fn online(&self) -> VcpuMask {
        self.ground.online()
    }

    fn flush_others(&self, table: Mfn) {
        self.ground.flush_others(table.number(), || _ = self.interrupt_flush());
    }

    fn report(&self, report: &Report) {
        self.ground.report(match report {
            Report::Failed(failure) => Told::Failed(failed(failure)),
            Report::LeakedRegion { depth } => Told::Leaked((*depth).into()),
            Report::UnbalancedPause { regions } => Told::Unbalanced((*regions).into()),
            Report::MulticallRefused(errno) => Told::Refused(errno.number().into()),
            _ => Told::Other,
        });
    }
}
