//! The library, led through a trace on one vCPU.
//!
//! Operations asked for as one piece outside a region are put in a region of their own, and a base pointer written
//! outside a context switch is written by the switch code: both reach the hypervisor as the one call that the caller's
//! bracket was.
//!
//! A kernel has a [`Leader`] for each vCPU and a [`TaskState`] for each task of the trace, and takes one step at a time,
//! on the vCPU and in the task the step names.

use core::fmt;

use hypercall::{InterruptContext, MmuUpdate, Operation, SwitchContext, TaskContext, UpdateCommand, VcpuId};
use pv_mmu::{Context, ContextSwitch, Dynamic, Failure, LeaveError, Mmu, Operations as _, Platform, TaskState};

use crate::Bases;

/// How a piece of operations is asked of the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Piece {
    /// One by one; updates are of L1 entries.
    Each,
    /// One by one; updates are of L2 to L4 entries.
    Upper,
    /// As one range of L1 entries.
    Range,
    /// By the switch code, unless they may wait: base pointers.
    Base,
}

/// What the library is asked for in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act<'a> {
    /// The task enters a region.
    Enter,
    /// The task leaves its region.
    Leave,
    /// The task flushes and stays in its region.
    Flush,
    /// The switch away from the task begins.
    SwitchOut,
    /// The switch ends.
    SwitchIn,
    /// Operations, as one piece.
    Work {
        /// How.
        piece: Piece,
        /// The operations, in order.
        operations: &'a [Operation],
    },
}

/// What the leader needs of a kernel beside the library's own platform.
pub trait Kernel: Platform {
    /// Runs `look` with what is known of a vCPU's base pointers.
    fn with_bases<R>(&self, vcpu: VcpuId, look: impl FnOnce(&mut Bases) -> R) -> R;

    /// Is told, where the library has a caller to tell, of an operation that is not effective.
    fn failed(&self, failure: &Failure);

    /// Is told what else the library answers that a trace does not expect.
    fn complain(&self, what: &dyn fmt::Display);
}

/// One token of each context, for a vCPU that is led through a trace: which context a step is in is the trace's to say.
#[derive(Debug)]
pub struct Contexts {
    /// A task's.
    pub task: TaskContext,
    /// An interrupt handler's.
    pub interrupt: InterruptContext,
    /// The switch code's.
    pub switch: SwitchContext,
}

/// Leads the library through the steps of one vCPU.
#[derive(Debug)]
pub struct Leader<'k, K: Kernel> {
    kernel: &'k K,
    contexts: &'k Contexts,
    vcpu: VcpuId,
    switch: Option<ContextSwitch<'k, K>>,
}

impl<'k, K: Kernel> Leader<'k, K> {
    /// On `vcpu`, which is the one that `kernel` reaches whenever this leader is used.
    #[must_use]
    pub const fn new(kernel: &'k K, contexts: &'k Contexts, vcpu: VcpuId) -> Self {
        Self { kernel, contexts, vcpu, switch: None }
    }

    /// Takes a step of `task`, or of a handler that interrupted it. `false` for an enter or a leave that was not taken.
    pub fn act(&mut self, task: &mut TaskState, interrupt: bool, act: &Act<'_>) -> bool {
        let mut caller = Caller { kernel: self.kernel, contexts: self.contexts, task, interrupt };
        match act {
            Act::Enter => return caller.dynamic().enter().is_ok(),
            Act::Leave => return caller.leave(),
            Act::Flush => caller.dynamic().flush(),
            Act::SwitchOut => self.switch = Some(Mmu::new(self.kernel).switch(&self.contexts.switch)),
            Act::SwitchIn => {
                if let Some(switch) = self.switch.take() {
                    switch.finish();
                }
                self.settled();
            }
            Act::Work { piece, operations } => self.work(caller, *piece, operations),
        }
        true
    }

    /// Hands over what the vCPU has queued, as a handler does that another vCPU's request calls (R12).
    pub fn flush(&self) {
        Mmu::new(self.kernel).interrupt(&self.contexts.interrupt).flush();
        self.settled();
    }

    fn work(&mut self, mut caller: Caller<'_, 'k, K>, piece: Piece, operations: &[Operation]) {
        let load = |bases: &mut Bases| operations.iter().for_each(|operation| bases.load(operation));
        self.kernel.with_bases(self.vcpu, load);
        let may_wait = caller.dynamic().is_lazy();
        if let Some(switch) = self.switch.as_mut().filter(|_| !caller.interrupt) {
            operations.iter().for_each(|operation| switch.operation(operation));
        } else if piece == Piece::Base && !may_wait {
            let mut switch = Mmu::new(self.kernel).switch(&self.contexts.switch);
            operations.iter().for_each(|operation| switch.operation(operation));
            switch.finish();
            self.settled();
        } else if piece == Piece::Range {
            caller.range(operations);
        } else if operations.len() > 1 && !caller.interrupt && !may_wait {
            let entered = caller.dynamic().enter().is_ok();
            caller.each(piece, operations);
            if !entered || !caller.leave() {
                self.kernel.complain(&"a region around operations asked for as one piece was not taken");
            }
        } else {
            caller.each(piece, operations);
        }
    }

    /// Nothing is queued on the vCPU any more.
    fn settled(&self) {
        self.kernel.with_bases(self.vcpu, Bases::settle);
    }
}

/// Who asks in a step.
struct Caller<'t, 'k, K: Kernel> {
    kernel: &'k K,
    contexts: &'k Contexts,
    task: &'t mut TaskState,
    interrupt: bool,
}

impl<'k, K: Kernel> Caller<'_, 'k, K> {
    fn dynamic(&mut self) -> Dynamic<'_, K> {
        let context = if self.interrupt {
            Context::Interrupt(&self.contexts.interrupt)
        } else {
            Context::Task(&self.contexts.task)
        };
        Mmu::new(self.kernel).dynamic(self.task, context)
    }

    fn leave(&mut self) -> bool {
        let kernel = self.kernel;
        match self.dynamic().leave() {
            Ok(()) => true,
            Err(LeaveError::Failed(failures)) => {
                failures.iter().for_each(|failure| kernel.failed(failure));
                true
            }
            Err(_) => false,
        }
    }

    fn range(&mut self, operations: &[Operation]) {
        let kernel = self.kernel;
        let update = |index: usize| operations.get(index).and_then(update_of);
        let Some(first) = update(0) else { return };
        let value = |index| update(index).map(|update| update.pte()).unwrap_or_default();
        if let Err(error) = self.dynamic().set_ptes(first.slot, operations.len(), value) {
            kernel.complain(&error);
        }
    }

    fn each(&mut self, piece: Piece, operations: &[Operation]) {
        let kernel = self.kernel;
        let mut dynamic = self.dynamic();
        for operation in operations {
            if let Err(failure) = ask(&mut dynamic, piece, operation) {
                kernel.failed(&failure);
            }
        }
    }
}

const fn update_of(operation: &Operation) -> Option<MmuUpdate> {
    if let Operation::Update { update, .. } = operation { Some(*update) } else { None }
}

/// Asks for one operation by the call a kernel would make.
fn ask<P: Platform>(dynamic: &mut Dynamic<'_, P>, piece: Piece, operation: &Operation) -> Result<(), Failure> {
    match *operation {
        Operation::Update { update, .. } if piece == Piece::Upper => dynamic.set_upper(update.slot, update.pte()),
        Operation::Update { update, .. } if update.slot.command() == Some(UpdateCommand::PreserveAd) => {
            dynamic.commit_pte(update.slot, update.pte())
        }
        Operation::Update { update, .. } => dynamic.set_pte(update.slot, update.pte()),
        Operation::Mmuext { op, .. } => dynamic.mmuext(op),
        _ => dynamic.operation(operation),
    }
}
