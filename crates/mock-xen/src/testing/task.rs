//! A task of a test guest: does what a test wants by the batcher, and tells the referee.

use hypercall::{Errno, Operation, Pte, PteSlot, VcpuId};

use super::{Answer, Failed, TestGuest};
use crate::referee::{Asker, Context, RequestId, TaskId, Wish};

/// A task on a vCPU. Every method tells the referee that something begins, runs a closure in which the
/// batcher does it, and tells what came of it.
///
/// ```
/// use hypercall::{VcpuId, issue_operation};
/// use mock_xen::{referee::Profile, testing::{TestGuest, update}};
///
/// let guest = TestGuest::new(Profile::Strict);
/// let (task, other) = (guest.task(1, VcpuId::new(0)), guest.task(2, VcpuId::new(0)));
/// let now = |n: usize| update(guest.slot(n), guest.pte(n));
/// // A batcher without a queue: everything at once, wherever it is asked.
/// let issue = |operation: &_| issue_operation(&mut guest.hypervisor(VcpuId::new(0)), operation);
///
/// task.enter(|| true);
/// task.ask(now(0), issue);
/// task.interrupt(|handler| handler.ask(now(1), issue));
/// let other = task.switch_to(other, |_| ());
/// other.ask(now(2), issue);
/// let task = other.switch_to(task, |_| ());
/// task.leave(|| true);
/// guest.assert_clean();
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TestTask<'g> {
    guest: &'g TestGuest,
    asker: Asker,
}

impl<'g> TestTask<'g> {
    pub(super) const fn new(guest: &'g TestGuest, asker: Asker) -> Self {
        Self { guest, asker }
    }

    /// The same task, continued on `vcpu`.
    #[must_use]
    pub const fn on(self, vcpu: VcpuId) -> Self {
        Self::new(self.guest, Asker { vcpu, ..self.asker })
    }

    /// The task's number.
    #[must_use]
    pub const fn id(self) -> TaskId {
        self.asker.task
    }

    /// The vCPU it is on.
    #[must_use]
    pub const fn vcpu(self) -> VcpuId {
        self.asker.vcpu
    }

    /// Enters a region.
    pub fn enter<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        let answer = self.told(call().into());
        self.guest.referee().enter(self.asker, answer);
    }

    /// Leaves a region.
    pub fn leave<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        self.guest.referee().leave(self.asker);
        let accepted = self.told(call().into());
        self.guest.referee().left(self.asker, accepted);
    }

    /// Pauses laziness.
    pub fn pause<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        let accepted = self.told(call().into());
        self.guest.referee().paused(self.asker, accepted);
    }

    /// Resumes laziness.
    pub fn resume<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        let accepted = self.told(call().into());
        self.guest.referee().resume(self.asker, accepted);
    }

    /// Flushes what is queued.
    pub fn flush<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        self.guest.referee().flush(self.asker);
        self.told(call().into());
        self.guest.referee().flushed(self.asker);
    }

    /// Asks for an operation. An error says that it was refused.
    pub fn ask(self, wish: impl Into<Wish>, call: impl FnOnce(&Operation) -> Result<(), Errno>) {
        let wish = wish.into();
        let operation = *wish.operation();
        let request = self.guest.referee().ask(self.asker, wish);
        if let Err(errno) = call(&operation) {
            self.guest.referee().failed(self.asker.vcpu, &operation, errno);
        }
        self.guest.referee().answered(request);
    }

    /// Asks for several operations by one call, such as a range of entries.
    pub fn ask_all<A: Into<Answer>>(self, operations: &[Operation], call: impl FnOnce(&[Operation]) -> A) {
        let ask = |operation: &Operation| self.guest.referee().ask(self.asker, operation);
        let requests: Vec<RequestId> = operations.iter().map(ask).collect();
        self.told(call(operations).into());
        requests.into_iter().for_each(|request| self.guest.referee().answered(request));
    }

    /// Reads an entry by the batcher's accessor.
    pub fn read(self, slot: PteSlot, accessor: impl FnOnce() -> Pte) -> Pte {
        let value = accessor();
        self.guest.referee().read(self.asker, slot, value, self.memory(slot));
        value
    }

    /// Reads an entry from memory, past the accessor.
    #[must_use]
    pub fn raw_read(self, slot: PteSlot) -> Pte {
        self.guest.referee().raw_read(self.asker, slot);
        self.memory(slot)
    }

    /// Interrupts the task: what the handler does by the task it is given, it does in interrupt context.
    pub fn interrupt(self, handler: impl FnOnce(Self)) {
        handler(Self::new(self.guest, Asker { context: Context::Interrupt, ..self.asker }));
        self.guest.referee().interrupt_end(self.asker.vcpu);
    }

    /// Takes the task off its vCPU and puts `next` on it. `hook` is the batcher's part in the switch; what
    /// it does by the task it is given, it does in the switch's context. Answers with `next` on this vCPU.
    pub fn switch_to<A: Into<Answer>>(self, next: Self, hook: impl FnOnce(Self) -> A) -> Self {
        self.told(hook(Self::new(self.guest, Asker { context: Context::Switch, ..self.asker })).into());
        self.guest.referee().switch(self.asker.vcpu, self.asker.task, next.asker.task);
        next.on(self.asker.vcpu)
    }

    /// Ends the task.
    pub fn exit(self) {
        self.guest.referee().task_exit(self.asker.task);
    }

    /// Tells the referee of the failures in an answer.
    fn told(self, answer: Answer) -> bool {
        let referee = self.guest.referee();
        for Failed { operation, errno } in &answer.failures {
            match errno {
                Some(errno) => referee.failed(self.asker.vcpu, operation, *errno),
                None => referee.not_attempted(self.asker.vcpu, operation),
            }
        }
        answer.accepted
    }

    fn memory(self, slot: PteSlot) -> Pte {
        self.guest.xen().read_entry(slot).expect("the entry lies in the guest's memory")
    }
}
