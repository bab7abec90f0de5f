//! Everything a referee knows, behind its lock.
//!
//! The files beside this one add what happens: `asking.rs` on the guest's side, `arriving.rs` on the
//! hypervisor's, `syncing.rs` where operations fall due, `telling.rs` where the guest is told of
//! failures and completions.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use hypercall::{Errno, Level, Mfn, Operation, PteFlags, VcpuId};

use super::{
    Asker, CallbackId, Context, Counters, Finding, Moment, RequestId, Rule, Settings, SyncPoint, TaskId, Violation,
    choices::Shared,
    queue::Queue,
    request::{Deferral, Request, Standing},
    shadow::Shadow,
    task::{Task, Wrong},
    violation::Asked,
};

/// Violations kept in full; further ones are only counted.
const KEPT: usize = 1000;

/// What is known of one vCPU.
#[derive(Clone, Debug)]
pub(super) struct Vcpu {
    pub(super) queue: Queue,
    /// How many reasons there are that upcalls are masked.
    pub(super) masked: u32,
    /// Operations that have arrived since they were.
    pub(super) stretch: u32,
    /// The depth that a library would have here which takes one task's for another's.
    pub(super) shadow: Shadow,
    /// The loaded kernel and user base pointers.
    pub(super) bases: [Option<Mfn>; 2],
}

/// A refused operation of which the guest has to be told.
#[derive(Clone, Debug)]
pub(super) struct Owed {
    /// As it arrived.
    pub(super) operation: Operation,
    /// Where it arrived.
    pub(super) vcpu: VcpuId,
    /// What it stands for, never nothing.
    pub(super) requests: Vec<Request>,
    pub(super) errno: Errno,
    pub(super) is_told: bool,
}

/// A completion callback.
#[derive(Clone, Copy, Debug)]
pub(super) struct Callback {
    pub(super) asker: Asker,
    /// What it is the callback of.
    pub(super) request: RequestId,
    /// As what that was reported without having arrived, if it was.
    pub(super) given_up: Option<Option<Errno>>,
    pub(super) has_run: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) moment: Moment,
    pub(super) tasks: HashMap<TaskId, Task>,
    pub(super) vcpus: BTreeMap<VcpuId, Vcpu>,
    pub(super) owed: Vec<Owed>,
    pub(super) callbacks: BTreeMap<CallbackId, Callback>,
    /// Accessed and dirty bits that processors have set in entries and the guest has not seen.
    pub(super) notes: BTreeMap<u64, PteFlags>,
    /// Pages the guest has given away.
    pub(super) released: BTreeSet<Mfn>,
    pub(super) violations: Vec<Violation>,
    pub(super) violation_count: u64,
    /// How many of them another way to take arrivals may explain.
    pub(super) doubtful: u64,
    /// Doubts that were not resolved.
    pub(super) undecided: u64,
    /// How choices are made while there is doubt.
    choices: Option<Shared>,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            moment: Moment::default(),
            tasks: HashMap::new(),
            vcpus: BTreeMap::new(),
            owed: Vec::new(),
            callbacks: BTreeMap::new(),
            notes: BTreeMap::new(),
            released: BTreeSet::new(),
            violations: Vec::new(),
            violation_count: 0,
            doubtful: 0,
            undecided: 0,
            choices: None,
        }
    }

    /// From now on choices are made by `choices`; by the likeliest way if there are none.
    pub(super) fn follow(&mut self, choices: Option<Shared>) {
        self.queues().for_each(|queue| queue.choices.clone_from(&choices));
        self.choices = choices;
    }

    /// What further findings depend on, and reports that are excused.
    pub(super) fn key(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.digest(&mut hasher);
        self.vcpus.values().for_each(|vcpu| vcpu.queue.history.excused().hash(&mut hasher));
        hasher.finish()
    }

    /// Takes back the violations found since `before` that another way to take arrivals may explain.
    pub(super) fn take_back(&mut self, before: &Self) {
        let mut number = 0..;
        let is_new = |number: Option<usize>| number.is_some_and(|number| number >= before.violations.len());
        self.violations.retain(|violation| !is_new(number.next()) || !violation.finding.is_of_matching());
        self.violation_count -= self.doubtful - before.doubtful;
        self.doubtful = before.doubtful;
    }

    /// Whether nothing is pending, every refusal has been told and every region left.
    pub(super) fn is_settled(&self) -> bool {
        let is_idle = |vcpu: &Vcpu| vcpu.queue.requests().next().is_none();
        let is_told = self.owed.iter().all(|owed| owed.is_told);
        is_told && self.vcpus.values().all(is_idle) && !self.tasks.values().any(Task::is_open)
    }

    /// Numbers an event.
    pub(super) fn tick(&mut self) -> Moment {
        self.moment = self.moment.next();
        self.moment
    }

    pub(super) fn vcpu(&mut self, vcpu: VcpuId) -> &mut Vcpu {
        let (settings, choices) = (&self.settings, &self.choices);
        self.vcpus.entry(vcpu).or_insert_with(|| Vcpu {
            queue: Queue::new(vcpu, settings, choices.clone()),
            masked: 0,
            stretch: 0,
            shadow: Shadow::default(),
            bases: [None; 2],
        })
    }

    pub(super) fn queues(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.vcpus.values_mut().map(|vcpu| &mut vcpu.queue)
    }

    /// The task that acts. One that appears on another vCPU must have left nothing behind (R8).
    pub(super) fn task(&mut self, asker: Asker, now: Moment) -> &mut Task {
        let before = self.tasks.entry(asker.task).or_default().vcpu.replace(asker.vcpu);
        if let Some(before) = before
            && before != asker.vcpu
        {
            let point = SyncPoint::Migration { to: asker.vcpu };
            self.fall_due(Some(before), now, point, |_| Rule::R8, |request| request.asker.task == asker.task);
        }
        self.tasks.entry(asker.task).or_default()
    }

    /// Reports what `is_due` on `vcpu`, or anywhere, and is not effective yet.
    pub(super) fn fall_due(
        &mut self,
        vcpu: Option<VcpuId>,
        now: Moment,
        point: SyncPoint,
        rule: impl Fn(&Request) -> Rule,
        is_due: impl Fn(&Request) -> bool,
    ) {
        let here = |at: &VcpuId| vcpu.is_none_or(|vcpu| vcpu == *at);
        let vcpus = self.vcpus.iter_mut().filter(|(at, _)| here(at));
        let late: Vec<(Request, bool)> =
            vcpus.flat_map(|(_, vcpu)| vcpu.queue.drain(now, point.is_within_region(), &is_due)).collect();
        for (request, is_tail) in late {
            let (rule, finding) =
                if is_tail { (Rule::R14, Finding::TailDropped) } else { (rule(&request), Finding::StillQueued(point)) };
            self.report(rule, &request, now, finding);
        }
    }

    /// Until when what `asker` asks for now may wait.
    pub(super) fn deferral(task: &Task, asker: Asker, is_immediate: bool) -> Deferral {
        match asker.context {
            Context::Interrupt => Deferral::Interrupt,
            Context::Task if task.is_paused() => Deferral::Paused,
            _ if is_immediate => Deferral::Never,
            Context::Switch => Deferral::Switch,
            Context::Task if task.is_lazy() => Deferral::Region,
            Context::Task => Deferral::Outside,
        }
    }

    /// A request as if `operation` were asked for now, without it being so.
    pub(super) fn request(&mut self, asker: Asker, operation: Operation, level: Level, deferral: Deferral) -> Request {
        let moment = self.moment;
        let effect = self.vcpu(asker.vcpu).queue.effect(&operation, level);
        Request {
            moment,
            asker,
            operation,
            effect,
            deferral,
            standing: Standing::Queued,
            run: 0,
            excuse: None,
            passed_by: None,
        }
    }

    /// Reports a rule broken for `request`.
    pub(super) fn report(&mut self, rule: Rule, request: &Request, now: Moment, finding: Finding) {
        self.report_operation(rule, request.operation, request.asker, request.moment, now, finding);
    }

    /// Reports a rule broken for an operation that `asker` asked for at `asked`.
    pub(super) fn report_operation(
        &mut self,
        rule: Rule,
        operation: Operation,
        asker: Asker,
        asked: Moment,
        now: Moment,
        finding: Finding,
    ) {
        self.add(Violation {
            rule,
            operation: Some(operation),
            task: Some(asker.task),
            vcpu: Some(asker.vcpu),
            asked: Some(Asked { at: asked, context: asker.context }),
            found: now,
            finding,
        });
    }

    /// Reports a rule broken by `asker`'s own call, or by the library's answer to it.
    pub(super) fn report_call(&mut self, wrong: Wrong, asker: Asker, now: Moment) {
        let Some((rule, finding)) = wrong else { return };
        let asked = Some(Asked { at: now, context: asker.context });
        let (task, vcpu) = (Some(asker.task), Some(asker.vcpu));
        self.add(Violation { rule, operation: None, task, vcpu, asked, found: now, finding });
    }

    /// Reports a rule broken by what arrived on `vcpu`, or by nobody known.
    pub(super) fn report_arrival(
        &mut self,
        rule: Rule,
        operation: Option<Operation>,
        vcpu: Option<VcpuId>,
        now: Moment,
        finding: Finding,
    ) {
        self.add(Violation { rule, operation, task: None, vcpu, asked: None, found: now, finding });
    }

    pub(super) fn add(&mut self, violation: Violation) {
        self.violation_count += 1;
        self.doubtful += u64::from(violation.finding.is_of_matching());
        if self.violations.len() < KEPT {
            self.violations.push(violation);
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        self.vcpus.values().for_each(|vcpu| sum += vcpu.queue.counters);
        sum
    }
}
