//! A task of a test guest: does what a test wants by the batcher, and tells the referee.

use hypercall::{Errno, Operation, Pte, PteSlot, VcpuId};

use super::{Answer, Failed, TestGuest, moments::Teller};
use crate::referee::{Asker, Context, Referee, RequestId, TaskId, Wish};

/// A task on a vCPU. Every method tells the referee that something begins, runs a closure in which the
/// batcher does it, and tells what came of it. The test's line is remembered with it, for [`TestGuest::explained`].
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
    #[track_caller]
    pub fn enter<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        let accepted = self.told(call().into());
        self.tell("entered a region", |referee| referee.enter(self.asker, accepted));
    }

    /// Leaves a region.
    #[track_caller]
    pub fn leave<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        self.tell("leaves the region", |referee| referee.leave(self.asker));
        let accepted = self.told(call().into());
        self.tell("has left the region", |referee| referee.left(self.asker, accepted));
    }

    /// Pauses laziness.
    #[track_caller]
    pub fn pause<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        let accepted = self.told(call().into());
        self.tell("has paused", |referee| referee.paused(self.asker, accepted));
    }

    /// Resumes laziness.
    #[track_caller]
    pub fn resume<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        let accepted = self.told(call().into());
        self.tell("has resumed", |referee| referee.resume(self.asker, accepted));
    }

    /// Flushes what is queued.
    #[track_caller]
    pub fn flush<A: Into<Answer>>(self, call: impl FnOnce() -> A) {
        self.tell("flushes", |referee| referee.flush(self.asker));
        self.told(call().into());
        self.tell("has flushed", |referee| referee.flushed(self.asker));
    }

    /// Asks for an operation. An error says that it was refused.
    #[track_caller]
    pub fn ask(self, wish: impl Into<Wish>, call: impl FnOnce(&Operation) -> Result<(), Errno>) {
        let wish = wish.into();
        let operation = *wish.operation();
        let request = self.asks(wish);
        if let Err(errno) = call(&operation) {
            self.guest.reported(self.asker.vcpu, Failed { operation, errno: Some(errno) });
        }
        self.answered(request);
    }

    /// Asks for several operations by one call, such as a range of entries.
    #[track_caller]
    pub fn ask_all<A: Into<Answer>>(self, operations: &[Operation], call: impl FnOnce(&[Operation]) -> A) {
        let mut requests = Vec::new();
        for operation in operations {
            requests.push(self.asks(operation.into()));
        }
        self.told(call(operations).into());
        for request in requests {
            self.answered(request);
        }
    }

    /// Reads an entry by the batcher's accessor.
    #[track_caller]
    pub fn read(self, slot: PteSlot, accessor: impl FnOnce() -> Pte) -> Pte {
        let value = accessor();
        self.tell("has read by the accessor", |referee| referee.read(self.asker, slot, value, self.memory(slot)));
        value
    }

    /// Reads an entry from memory, past the accessor.
    #[must_use]
    #[track_caller]
    pub fn raw_read(self, slot: PteSlot) -> Pte {
        self.tell("reads past the accessor", |referee| referee.raw_read(self.asker, slot));
        self.memory(slot)
    }

    /// Interrupts the task: what the handler does by the task it is given, it does in interrupt context.
    #[track_caller]
    pub fn interrupt(self, handler: impl FnOnce(Self)) {
        handler(Self::new(self.guest, Asker { context: Context::Interrupt, ..self.asker }));
        self.tell("the handler returns", |referee| referee.interrupt_end(self.asker.vcpu));
    }

    /// Takes the task off its vCPU and puts `next` on it. `hook` is the batcher's part in the switch; what
    /// it does by the task it is given, it does in the switch's context. Answers with `next` on this vCPU.
    #[track_caller]
    pub fn switch_to<A: Into<Answer>>(self, next: Self, hook: impl FnOnce(Self) -> A) -> Self {
        self.told(hook(Self::new(self.guest, Asker { context: Context::Switch, ..self.asker })).into());
        let next = next.on(self.asker.vcpu);
        next.tell("runs from now on", |referee| referee.switch(self.asker.vcpu, self.asker.task, next.asker.task));
        next
    }

    /// The batcher has reported that the task left its region open, and has ended it (R2).
    #[track_caller]
    pub fn leak_reported(self) {
        self.tell("its open region is reported", |referee| referee.leak_reported(self.asker));
    }

    /// Ends the task: the batcher has been told before.
    #[track_caller]
    pub fn exit(self) {
        self.tell("ends", |referee| referee.task_exit(self.asker.task));
    }

    #[track_caller]
    fn asks(self, wish: Wish) -> RequestId {
        let operation = *wish.operation();
        let moments = self.guest.moments();
        moments.tell(Teller::Guest(self.asker), "asks for", Some(&operation), |referee| referee.ask(self.asker, wish))
    }

    #[track_caller]
    fn answered(self, request: RequestId) {
        self.tell("the call has returned", |referee| referee.answered(request));
    }

    /// Tells the referee of the failures in an answer.
    #[track_caller]
    fn told(self, answer: Answer) -> bool {
        for failed in answer.failures {
            self.guest.reported(self.asker.vcpu, failed);
        }
        answer.accepted
    }

    #[track_caller]
    fn tell<R>(self, what: &'static str, tell: impl FnOnce(&Referee) -> R) -> R {
        self.guest.moments().tell(Teller::Guest(self.asker), what, None, tell)
    }

    fn memory(self, slot: PteSlot) -> Pte {
        self.guest.xen().read_entry(slot).expect("the entry lies in the guest's memory")
    }
}
