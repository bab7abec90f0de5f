//! Leads a policy through the steps, on a guest of its own, under the eyes of a referee.
//!
//! The stage tells the referee what the guest asks before the policy is led to it and that it has returned afterwards;
//! the mock tells what arrives in between. Steps beside the batcher are taken here.

use std::sync::Arc;

use hypercall::{Hypervisor, Operation, PteFlags, Recorder};
use mock_xen::referee::{Asker, Profile, Referee, RequestId, Settings, TaskId, Wish};
use serde::Serialize;

use super::cause::Cause;
use super::course::Course;
use super::end::EndState;
use super::error::ReplayError;
use super::frames::Frames;
use super::lazy::Laziness;
use super::ledger::{Ledger, Refused, SharedLedger, listener};
use super::policy::{Answer, Policy};
use super::program::{Act, GuestEvent, MachineSlot, Step};
use super::request::{Source, TaskKey};
use super::world::{Tables, World, pte_slot};
use crate::timeline::Timeline;

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Violated {
    /// Line of the trace at which it was found.
    pub(crate) line: u64,
    /// The rule, by its number; empty for what is no rule of the contract's.
    pub(crate) rule: String,
    /// Operation, task, vCPU, both moments and the finding.
    pub(crate) what: String,
}

/// How memory compared with what real Xen held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Oracle {
    /// Entries compared.
    pub(crate) compared: u64,
    /// Of them, those that were equal but for A and D.
    pub(crate) matched: u64,
    /// Line of the first that was not.
    #[serde(skip)]
    pub(crate) first_mismatch: Option<u64>,
}

impl Oracle {
    /// Compares what memory holds with what real Xen held.
    pub(crate) fn compare(&mut self, line: u64, held: u64, raw: u64) {
        self.compared += 1;
        if (held ^ raw) & !PteFlags::ACCESSED_DIRTY.bits() == 0 {
            self.matched += 1;
        } else {
            self.first_mismatch.get_or_insert(line);
        }
    }
}

/// What an entry held when it was looked at or taken away beside the batcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// Line of the trace.
    pub(crate) line: u64,
    /// The entry.
    pub(crate) word: u64,
    /// What it held when the trace was recorded, if that shows.
    pub(crate) recorded: Option<u64>,
}

/// What came of leading a policy through the steps.
#[derive(Debug)]
pub(crate) struct Led {
    /// The hypercalls.
    pub(crate) ledger: Ledger,
    /// Updates whose effect a later one carried, by the referee's count.
    pub(crate) updates_merged: u64,
    /// Rules that were broken.
    pub(crate) violations: Vec<Violated>,
    /// How many there were.
    pub(crate) violations_total: u64,
    /// Memory against the trace.
    pub(crate) oracle: Oracle,
    /// The tables at the end.
    pub(crate) tables: Tables,
    /// What every frame the trace names is then.
    pub(crate) end: EndState,
    /// What entries held when they were looked at or taken away beside the batcher.
    pub(crate) held: Vec<Held>,
    /// What happened on each vCPU.
    pub(crate) course: Timeline,
}

/// A guest, its referee and the account of its hypercalls.
pub(crate) struct Stage {
    world: World,
    referee: Arc<Referee>,
    ledger: SharedLedger,
}

impl Stage {
    /// Sets a guest up.
    ///
    /// # Errors
    /// [`ReplayError::World`].
    pub(crate) fn new(frames: &Frames) -> Result<Self, ReplayError> {
        let referee = Arc::new(Referee::with_settings(Settings::new(Profile::Nested)));
        let world = World::build(frames, &referee)?;
        Ok(Self { world, referee, ledger: Ledger::shared() })
    }

    /// The hypervisor each vCPU calls, in the order of their numbers.
    pub(crate) fn vcpus(&self) -> Vec<impl Hypervisor> {
        let recorder = |vcpu| Recorder::new(self.world.vcpu(vcpu), listener(&self.ledger, vcpu));
        self.world.vcpus().map(recorder).collect()
    }

    /// The guest's memory.
    pub(crate) const fn world(&self) -> &World {
        &self.world
    }

    /// Leads `policy` through `steps`; `tick` is told of each step.
    pub(crate) fn lead(&self, steps: &[Step], policy: &mut dyn Policy, mut tick: impl FnMut()) -> Led {
        let (laziness, oracle) = (Laziness::default(), Oracle::default());
        let mut lead = Lead { stage: self, laziness, violations: Vec::new(), oracle, held: Vec::new() };
        let mut course = Course::new();
        for step in steps {
            lead.step(step, policy);
            if let Some(calls) = self.ledger.borrow().steps.last() {
                course.took(step, calls, self.world.vcpus().map(|vcpu| policy.queued(vcpu)));
            }
            tick();
        }
        let line = steps.last().map_or(0, |step| step.line);
        if let Some(what) = self.world.miscounts() {
            lead.violations.push(Violated { line, rule: String::new(), what });
        }
        let Lead { violations, oracle, held, .. } = lead;
        let (ledger, tables, end) = (self.ledger.borrow().clone(), self.world.tables(), self.world.end());
        let verdict = self.referee.verdict();
        let unlisted = verdict.found - verdict.violations.len() as u64;
        let (updates_merged, violations_total) = (verdict.counters.merged, violations.len() as u64 + unlisted);
        Led { ledger, updates_merged, violations, violations_total, oracle, tables, end, held, course: course.finish() }
    }
}

struct Lead<'a> {
    stage: &'a Stage,
    laziness: Laziness,
    violations: Vec<Violated>,
    oracle: Oracle,
    held: Vec<Held>,
}

impl Lead<'_> {
    fn step(&mut self, step: &Step, policy: &mut dyn Policy) {
        self.stage.ledger.borrow_mut().at(step.line, self.cause(step));
        match &step.act {
            Act::Guest(event) => self.guest(step, event),
            Act::Compare { slot, raw } => self.compare(step, *slot, *raw),
            Act::Work { source, operations } => self.work(step, *source, operations, policy),
            Act::Enter => {
                let answer = self.take(step, policy);
                self.referee().enter(self.asker(step), answer.accepted);
                self.laziness.enter(step.task);
            }
            Act::Leave => {
                self.referee().leave(self.asker(step));
                let answer = self.take(step, policy);
                self.referee().left(self.asker(step), answer.accepted);
                self.laziness.leave(step.task);
            }
            Act::Flush => {
                self.referee().flush(self.asker(step));
                self.take(step, policy);
                self.referee().flushed(self.asker(step));
            }
            Act::SwitchOut => {
                self.laziness.switch_out(step.vcpu);
                self.take(step, policy);
            }
            Act::SwitchIn { next } => {
                self.take(step, policy);
                self.laziness.switch_in(step.vcpu);
                self.referee().switch(step.vcpu, task_id(step.task), task_id(*next));
            }
        }
        self.collect(step);
    }

    fn work(&mut self, step: &Step, source: Source, operations: &[Operation], policy: &mut dyn Policy) {
        let asker = self.asker(step);
        let wish = |operation: &Operation| match source {
            Source::UpperWrite(level) => Wish::new(*operation).at_level(level),
            _ => Wish::new(*operation),
        };
        let ask = |operation| self.referee().ask(asker, wish(operation));
        let asked: Vec<RequestId> = operations.iter().map(ask).collect();
        self.take(step, policy);
        asked.into_iter().for_each(|request| self.referee().answered(request));
        if step.interrupt {
            self.referee().interrupt_end(step.vcpu);
        }
    }

    /// Leads the policy to the step, and tells the referee of what the guest is told.
    fn take(&mut self, step: &Step, policy: &mut dyn Policy) -> Answer {
        let answer = policy.act(step);
        for (operation, errno) in &answer.failures {
            match errno {
                Some(errno) => self.referee().failed(step.vcpu, operation, *errno),
                None => self.referee().not_attempted(step.vcpu, operation),
            }
        }
        for what in &answer.complaints {
            self.violations.push(Violated { line: step.line, rule: String::new(), what: what.clone() });
        }
        answer
    }

    fn guest(&mut self, step: &Step, event: &GuestEvent) {
        if let GuestEvent::Trapped { slot, .. } = event {
            self.referee().trapped_write(self.asker(step), pte_slot(*slot));
        }
        let done = self.stage.world.apply(event);
        if let Err(error) = &done {
            let (line, vcpu) = (step.line, step.vcpu.number());
            let refused =
                Refused { line, vcpu, operation: format!("{event:?}"), errno: error.to_string(), faulted: true };
            self.stage.ledger.borrow_mut().refused.push(refused);
        }
        let nothing = if matches!(event, GuestEvent::Trapped { .. }) { vec![0] } else { Vec::new() };
        let held = done.unwrap_or(nothing).into_iter();
        self.held.extend(held.map(|word| Held { line: step.line, word, recorded: None }));
    }

    /// The processor sets A and D by itself, and no mock has one.
    fn compare(&mut self, step: &Step, slot: MachineSlot, raw: u64) {
        let word = self.stage.world.entry(slot);
        self.held.push(Held { line: step.line, word, recorded: Some(raw) });
        self.oracle.compare(step.line, word, raw);
    }

    /// Takes down what the referee has found in this step.
    fn collect(&mut self, step: &Step) {
        let found = self.stage.referee.violations();
        let known = self.violations.iter().filter(|violated| !violated.rule.is_empty()).count();
        for violation in found.iter().skip(known) {
            let (rule, what) = (violation.rule.to_string(), violation.to_string());
            self.violations.push(Violated { line: step.line, rule, what });
        }
    }

    fn cause(&self, step: &Step) -> Cause {
        match &step.act {
            Act::Work { source, .. } if !self.laziness.may_wait(step.task, step.vcpu, step.interrupt) => {
                (*source).into()
            }
            Act::Work { .. } => Cause::QueueFull,
            Act::Leave => Cause::Leave,
            Act::SwitchOut | Act::SwitchIn { .. } => Cause::Switch,
            Act::Enter | Act::Flush | Act::Guest(_) | Act::Compare { .. } => Cause::Flush,
        }
    }

    fn asker(&self, step: &Step) -> Asker {
        let (task, vcpu) = (task_id(step.task), step.vcpu);
        if step.interrupt {
            Asker::interrupt(task, vcpu)
        } else if self.laziness.is_switching(vcpu) {
            Asker::switch(task, vcpu)
        } else {
            Asker::task(task, vcpu)
        }
    }

    fn referee(&self) -> &Referee {
        &self.stage.referee
    }
}

fn task_id(task: TaskKey) -> TaskId {
    TaskId::new(task.unique())
}
