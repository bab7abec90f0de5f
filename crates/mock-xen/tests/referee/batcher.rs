//! A small batcher with a guest around it, and the faults that can be switched on in it.

use std::collections::{HashMap, HashSet};

use hypercall::{Level, MmuUpdate, MmuextOp, Operation, PteFlags, PteSlot, UpdateCommand, VcpuId};
use mock_xen::referee::{Asker, Context, Profile, Referee, Rule, Settings, TaskId, Wish};

use crate::hypervisor::{Hypervisor, share_a_call, update};

/// Operations issued with upcalls masked, at most.
pub(crate) const BOUND: usize = 4;

/// What a batcher can do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    SkipsFlushAtSwitch,
    FlushesOnWrongVcpu,
    FlushesTlbFirst,
    DropsTail,
    AppliesTwice,
    LeaksDepth,
    ImmediateOvertakes,
    ForgetsLastTlbFlush,
    DefersInInterrupt,
    AnswersFromMemory,
    MergesAcrossBarriers,
    LosesDirtyInMerge,
    IssuesAllMasked,
    LeavesLate,
    LeavesOneBehind,
    PausesWithoutFlush,
    DefersWhilePaused,
    HidesFailures,
    InventsOperations,
    RetriesPastBarriers,
}

impl Fault {
    /// All of them, each with the rule it breaks and a style of batcher in which it shows.
    pub(crate) const ALL: [(Self, Rule, Style); 20] = [
        (Self::SkipsFlushAtSwitch, Rule::R7, PLAIN),
        (Self::FlushesOnWrongVcpu, Rule::R8, PLAIN),
        (Self::FlushesTlbFirst, Rule::R12, PLAIN),
        (Self::DropsTail, Rule::R14, PLAIN),
        (Self::AppliesTwice, Rule::R13, PLAIN),
        (Self::LeaksDepth, Rule::R7, PLAIN),
        (Self::ImmediateOvertakes, Rule::R10, PLAIN),
        (Self::ForgetsLastTlbFlush, Rule::R12, PLAIN),
        (Self::DefersInInterrupt, Rule::R6, PLAIN),
        (Self::AnswersFromMemory, Rule::R11, PLAIN),
        (Self::MergesAcrossBarriers, Rule::R3, MERGING),
        (Self::LosesDirtyInMerge, Rule::R3, MERGING),
        (Self::IssuesAllMasked, Rule::R15, PLAIN),
        (Self::LeavesLate, Rule::R2, PLAIN),
        (Self::LeavesOneBehind, Rule::R2, PLAIN),
        (Self::PausesWithoutFlush, Rule::R5, PLAIN),
        (Self::DefersWhilePaused, Rule::R5, PLAIN),
        (Self::HidesFailures, Rule::R14, PLAIN),
        (Self::InventsOperations, Rule::R13, PLAIN),
        (Self::RetriesPastBarriers, Rule::R3, MULTICALL),
    ];
}

/// How an honest batcher may differ from another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) merges: bool,
    /// Calls of one batch all run before what a refusal has left behind is followed up.
    pub(crate) multicall: bool,
    pub(crate) capacity: usize,
    /// Nothing behind a refused operation is attempted again.
    pub(crate) stops: bool,
}

pub(crate) const PLAIN: Style = Style { merges: false, multicall: false, capacity: 64, stops: false };
pub(crate) const MERGING: Style = Style { merges: true, ..PLAIN };
pub(crate) const MULTICALL: Style = Style { multicall: true, ..PLAIN };

#[derive(Clone, Copy, Debug)]
struct Queued {
    operation: Operation,
    is_l1: bool,
}

#[derive(Default)]
struct TaskState {
    depth: u32,
    pauses: u32,
}

/// A guest with two vCPUs, its batcher, its hypervisor, and the referee that watches.
pub(crate) struct World {
    pub(crate) referee: Referee,
    pub(crate) hypervisor: Hypervisor,
    style: Style,
    fault: Option<Fault>,
    profile: Profile,
    tasks: HashMap<TaskId, TaskState>,
    queues: [Vec<Queued>; 2],
    running: [TaskId; 2],
    /// What [`Fault::LeaksDepth`] takes for the task's depth.
    vcpu_depth: [u32; 2],
    in_multicall: bool,
}

pub(crate) const fn vcpu(number: usize) -> VcpuId {
    VcpuId::new(number as u32)
}

pub(crate) fn flush_all() -> Operation {
    mmuext(MmuextOp::TlbFlushAll)
}

pub(crate) fn mmuext(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: hypercall::DomId::SELF }
}

fn is_flush(operation: &Operation) -> bool {
    matches!(operation, Operation::Mmuext { op, .. } if op.is_tlb_flush())
}

impl World {
    pub(crate) fn new(profile: Profile, style: Style, fault: Option<Fault>) -> Self {
        let settings = Settings::new(profile).masked_bound(BOUND as u32);
        Self {
            referee: Referee::with_settings(settings),
            hypervisor: Hypervisor::default(),
            style,
            fault,
            profile,
            tasks: HashMap::new(),
            queues: [Vec::new(), Vec::new()],
            running: [TaskId::new(0), TaskId::new(1)],
            vcpu_depth: [0; 2],
            in_multicall: false,
        }
    }

    /// The task on vCPU `at`, and where it is.
    pub(crate) fn asker(&self, at: usize) -> Asker {
        Asker::task(self.running[at], vcpu(at))
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    fn task(&mut self, at: usize) -> &mut TaskState {
        self.tasks.entry(self.running[at]).or_default()
    }

    fn is_lazy(&mut self, at: usize) -> bool {
        let (leaks, defers_paused) = (self.has(Fault::LeaksDepth), self.has(Fault::DefersWhilePaused));
        let vcpu_depth = self.vcpu_depth[at];
        let task = self.task(at);
        let depth = if leaks { vcpu_depth } else { task.depth };
        depth > 0 && (task.pauses == 0 || defers_paused)
    }

    pub(crate) fn enter(&mut self, at: usize) {
        let asker = self.asker(at);
        let profile = self.profile;
        let task = self.task(at);
        let accepted = task.pauses > 0 || task.depth == 0 || profile == Profile::Nested;
        if accepted && task.pauses == 0 {
            task.depth += 1;
            self.vcpu_depth[at] += 1;
        }
        self.referee.enter(asker, accepted);
    }

    pub(crate) fn leave(&mut self, at: usize) {
        let asker = self.asker(at);
        self.referee.leave(asker);
        let (depth, pauses) = (self.task(at).depth, self.task(at).pauses);
        if pauses == 0 && depth > 0 {
            self.flush_for_leave(at);
            self.task(at).depth -= 1;
            self.vcpu_depth[at] = self.vcpu_depth[at].saturating_sub(1);
        }
        self.referee.left(asker, pauses > 0 || depth > 0);
    }

    fn flush_for_leave(&mut self, at: usize) {
        if self.has(Fault::ForgetsLastTlbFlush)
            && let Some(last) = self.queues[at].iter().rposition(|queued| is_flush(&queued.operation))
        {
            self.queues[at].remove(last);
        }
        match self.fault {
            Some(Fault::LeavesLate) => {}
            Some(Fault::LeavesOneBehind) => {
                let left = self.queues[at].pop();
                self.flush(at);
                self.queues[at].extend(left);
            }
            _ => self.flush(at),
        }
    }

    pub(crate) fn pause(&mut self, at: usize) {
        let asker = self.asker(at);
        if !self.has(Fault::PausesWithoutFlush) {
            self.flush(at);
        }
        self.task(at).pauses += 1;
        self.referee.paused(asker, true);
    }

    pub(crate) fn resume(&mut self, at: usize) {
        let asker = self.asker(at);
        let task = self.task(at);
        let accepted = task.pauses > 0;
        task.pauses = task.pauses.saturating_sub(1);
        self.referee.resume(asker, accepted);
    }

    pub(crate) fn flush_now(&mut self, at: usize) {
        let asker = self.asker(at);
        self.referee.flush(asker);
        self.flush(at);
        self.referee.flushed(asker);
    }

    /// Lets `next` run on vCPU `at`.
    pub(crate) fn switch(&mut self, at: usize, next: u64) {
        let next = TaskId::new(next);
        if !self.has(Fault::SkipsFlushAtSwitch) {
            self.flush(at);
        }
        self.referee.switch(vcpu(at), self.running[at], next);
        self.running[at] = next;
    }

    pub(crate) fn is_running(&self, task: u64) -> bool {
        self.running.contains(&TaskId::new(task))
    }

    /// Ends every task, after it has left what it entered.
    pub(crate) fn end(&mut self) {
        for at in 0..2 {
            while self.task(at).pauses > 0 {
                self.resume(at);
            }
            while self.task(at).depth > 0 {
                self.leave(at);
            }
        }
    }

    pub(crate) fn set(&mut self, at: usize, slot: PteSlot, value: u64) {
        self.request(self.asker(at), update(slot, value).into(), true);
    }

    pub(crate) fn ask(&mut self, at: usize, operation: Operation) {
        self.request(self.asker(at), operation.into(), true);
    }

    /// An update of an L2 entry.
    pub(crate) fn set_upper(&mut self, at: usize, slot: PteSlot, value: u64) {
        let wish = Wish::new(update(slot, value)).at_level(Level::L2);
        self.request(self.asker(at), wish, false);
    }

    /// A synchronous call.
    pub(crate) fn ask_now(&mut self, at: usize, operation: Operation) {
        let asker = self.asker(at);
        let id = self.referee.ask(asker, Wish::new(operation).immediate());
        self.issue_now(at, Queued { operation, is_l1: true });
        self.referee.answered(id);
    }

    pub(crate) fn interrupt(&mut self, at: usize, operation: Operation) {
        let asker = Asker { context: Context::Interrupt, ..self.asker(at) };
        self.request(asker, operation.into(), true);
        self.referee.interrupt_end(vcpu(at));
    }

    /// An operation of the switch code, before [`World::switch`].
    pub(crate) fn ask_in_switch(&mut self, at: usize, operation: Operation) {
        let asker = Asker { context: Context::Switch, ..self.asker(at) };
        let id = self.referee.ask(asker, operation);
        self.queues[at].push(Queued { operation, is_l1: false });
        self.referee.answered(id);
    }

    fn request(&mut self, asker: Asker, wish: Wish, is_l1: bool) {
        let at = asker.vcpu.number() as usize;
        let queued = Queued { operation: operation_of(&wish), is_l1 };
        let defers = match asker.context {
            Context::Interrupt => self.has(Fault::DefersInInterrupt),
            _ => self.is_lazy(at),
        };
        let id = self.referee.ask(asker, wish);
        if defers {
            self.queue(at, queued);
        } else {
            self.issue_now(at, queued);
        }
        self.referee.answered(id);
    }

    fn queue(&mut self, at: usize, queued: Queued) {
        if !(self.style.merges && self.merge(at, &queued)) {
            self.queues[at].push(queued);
        }
        if self.queues[at].len() >= self.style.capacity {
            self.flush(at);
        }
    }

    fn merge(&mut self, at: usize, newer: &Queued) -> bool {
        let (crosses, loses_dirty) = (self.has(Fault::MergesAcrossBarriers), self.has(Fault::LosesDirtyInMerge));
        let queue = &mut self.queues[at];
        if is_flush(&newer.operation) && queue.last().is_some_and(|last| last.operation == newer.operation) {
            return true;
        }
        let is_update = |queued: &Queued| queued.is_l1 && matches!(queued.operation, Operation::Update { .. });
        if !is_update(newer) {
            return false;
        }
        for older in queue.iter_mut().rev() {
            if is_update(older) && same_entry(&older.operation, &newer.operation) {
                older.operation = merged(&older.operation, &newer.operation, loses_dirty);
                return true;
            }
            if !(is_update(older) && share_a_call(&older.operation, &newer.operation) || crosses) {
                return false;
            }
        }
        false
    }

    fn issue_now(&mut self, at: usize, queued: Queued) {
        if self.has(Fault::ImmediateOvertakes) {
            self.issue(at, &[queued]);
            return;
        }
        let mut batch = std::mem::take(&mut self.queues[at]);
        batch.push(queued);
        self.issue(at, &batch);
    }

    fn flush(&mut self, at: usize) {
        let batch = std::mem::take(&mut self.queues[at]);
        self.issue(at, &batch);
    }

    /// Hands a batch over in stretches of at most [`BOUND`] operations with upcalls masked.
    fn issue(&mut self, at: usize, batch: &[Queued]) {
        let mut batch = batch.to_vec();
        if self.has(Fault::FlushesTlbFirst) {
            batch.sort_by_key(|queued| !is_flush(&queued.operation));
        }
        if self.has(Fault::InventsOperations) && batch.len() > 1 {
            batch.push(Queued { operation: mmuext(MmuextOp::FlushCache), is_l1: false });
        }
        let from = if self.has(Fault::FlushesOnWrongVcpu) { 1 - at } else { at };
        let bound = if self.has(Fault::IssuesAllMasked) { usize::MAX } else { BOUND };
        for stretch in batch.chunks(bound.min(batch.len().max(1))) {
            self.referee.masked(vcpu(from));
            self.issue_stretch(from, stretch);
            self.referee.unmasked(vcpu(from));
        }
        if self.has(Fault::AppliesTwice)
            && let Some(first) = batch.iter().find(|queued| !is_flush(&queued.operation))
        {
            self.hypervisor.call(&self.referee, vcpu(from), &[first.operation]);
        }
    }

    fn issue_stretch(&mut self, at: usize, stretch: &[Queued]) {
        let calls: Vec<&[Queued]> = stretch.chunk_by(|a, b| share_a_call(&a.operation, &b.operation)).collect();
        let mut left_behind: Vec<(usize, &[Queued])> = Vec::new();
        if self.style.multicall {
            self.referee.hypercall_begins(vcpu(at));
            self.in_multicall = true;
        }
        for (index, call) in calls.iter().enumerate() {
            let tail = self.call(at, call);
            if tail.is_empty() {
                continue;
            }
            if self.style.multicall {
                left_behind.push((index, tail));
            } else {
                self.follow_up(at, tail, &[]);
            }
        }
        if self.style.multicall {
            self.in_multicall = false;
            self.referee.hypercall_ends(vcpu(at));
        }
        for (index, tail) in left_behind {
            let later: Vec<Queued> = calls[index + 1..].iter().flat_map(|call| call.iter().copied()).collect();
            self.follow_up(at, tail, &later);
        }
    }

    fn open_upcalls(&self, at: usize) {
        self.referee.unmasked(vcpu(at));
        self.referee.masked(vcpu(at));
    }

    /// Issues one call, reports its refusal, and answers with what stood behind it.
    fn call<'a>(&mut self, at: usize, call: &'a [Queued]) -> &'a [Queued] {
        let operations: Vec<Operation> = call.iter().map(|queued| queued.operation).collect();
        if !self.in_multicall {
            self.referee.hypercall_begins(vcpu(at));
        }
        let answer = self.hypervisor.call(&self.referee, vcpu(at), &operations);
        if !self.in_multicall {
            self.referee.hypercall_ends(vcpu(at));
        }
        let Some(errno) = answer.refusal else { return &[] };
        if !self.has(Fault::HidesFailures) {
            self.referee.failed(vcpu(at), &operations[answer.done], errno);
        }
        &call[answer.done + 1..]
    }

    /// Attempts `tail` again where it commutes with what has run since, else reports it.
    fn follow_up(&mut self, at: usize, tail: &[Queued], later: &[Queued]) {
        if self.has(Fault::DropsTail) {
            return;
        }
        let written: HashSet<u64> = later.iter().filter_map(|queued| entry(&queued.operation)).collect();
        let commutes = |queued: &Queued| {
            queued.is_l1 && entry(&queued.operation).is_some_and(|address| !written.contains(&address))
        };
        let passes = |queued: &Queued| {
            is_flush(&queued.operation) || queued.is_l1 && share_a_call(&tail[0].operation, &queued.operation)
        };
        let may_follow = later.is_empty() || tail.iter().all(commutes) && later.iter().all(passes);
        if self.style.stops || !(may_follow || self.has(Fault::RetriesPastBarriers)) {
            tail.iter().for_each(|queued| self.referee.not_attempted(vcpu(at), &queued.operation));
            return;
        }
        let mut tail = tail;
        self.open_upcalls(at);
        while !tail.is_empty() {
            tail = self.call(at, tail);
        }
        self.open_upcalls(at);
        for flush in later.iter().filter(|queued| is_flush(&queued.operation)) {
            self.call(at, std::slice::from_ref(flush));
        }
    }

    /// Reads an entry by the accessor.
    pub(crate) fn read(&mut self, at: usize, slot: PteSlot) {
        let memory = self.hypervisor.read(slot);
        let mut value = memory.bits();
        let queued = if self.has(Fault::AnswersFromMemory) { &[][..] } else { &self.queues[at] };
        for queued in queued {
            if let Operation::Update { update, .. } = queued.operation
                && update.slot.same_entry(slot)
            {
                value = update.value | if preserves(&update) { accessed_dirty(value) } else { 0 };
            }
        }
        self.referee.read(self.asker(at), slot, hypercall::Pte::from_bits(value), memory);
    }
}

fn operation_of(wish: &Wish) -> Operation {
    *wish.operation()
}

fn entry(operation: &Operation) -> Option<u64> {
    if let Operation::Update { update, .. } = operation { Some(update.slot.address()) } else { None }
}

fn same_entry(a: &Operation, b: &Operation) -> bool {
    share_a_call(a, b) && entry(a) == entry(b)
}

fn preserves(update: &MmuUpdate) -> bool {
    update.slot.command() == Some(UpdateCommand::PreserveAd)
}

const fn accessed_dirty(value: u64) -> u64 {
    value & PteFlags::ACCESSED_DIRTY.bits()
}

fn merged(older: &Operation, newer: &Operation, loses_dirty: bool) -> Operation {
    match (older, newer) {
        (Operation::Update { update: older, subject }, Operation::Update { update: newer, .. }) if preserves(newer) => {
            let kept = if loses_dirty { 0 } else { accessed_dirty(older.value) };
            let update = MmuUpdate { slot: older.slot, value: newer.value | kept };
            Operation::Update { update, subject: *subject }
        }
        _ => *newer,
    }
}
