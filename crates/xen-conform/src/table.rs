//! Which operations came to which outcomes.
//!
//! An operation is a hypercall by its name, an element of an array by its command
//! (`mmu_update.preserve_ad`, `mmuext_op.pin_l2`), or an access of the guest. Its outcome is `ok` or the
//! refusal. An array's elements are counted up to the first refusal: Xen does not look at those behind.

use std::collections::BTreeMap;

use hypercall::Errno;
use hypercall::abi::{HYPERCALL_MMU_UPDATE, HYPERCALL_MMUEXT_OP, HYPERCALL_MULTICALL};
use serde::{Deserialize, Serialize};
use xen_program::numbers::{CONTINUED, UNTOUCHED};
use xen_program::outcome::{Called, StepResult};
use xen_program::text::{command_name, hypercall_name, update_name};
use xen_program::{Buffer, Outcome, Program, Step, Value};

/// Counts by operation and outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outcomes(BTreeMap<String, BTreeMap<String, u64>>);

/// Words of a multicall's entry.
const ENTRY_WORDS: usize = 8;

/// A call of a program: the registers it was asked with and what it returned.
struct Asked<'a> {
    number: u32,
    args: &'a [Value],
    value: i64,
}

impl Outcomes {
    /// Counts what a program came to.
    pub fn add(&mut self, program: &Program, outcome: &Outcome) {
        for (step, outcome) in program.steps.iter().zip(&outcome.steps) {
            match (step, &outcome.result) {
                (Step::Call { number, args, .. }, StepResult::Called(called)) => {
                    self.call(&Asked { number: *number, args, value: called.value }, step, called);
                }
                (Step::Store { .. }, result) => self.access("store", result),
                (Step::Load { .. }, result) => self.access("load", result),
                (Step::Exchange { .. }, result) => self.access("exchange", result),
                _ => {}
            }
        }
    }

    /// Adds the counts of others.
    pub fn merge(&mut self, others: &Self) {
        for (operation, outcomes) in &others.0 {
            for (outcome, count) in outcomes {
                self.count(operation, outcome, *count);
            }
        }
    }

    /// How often an operation came to an outcome.
    #[must_use]
    pub fn get(&self, operation: &str, outcome: &str) -> u64 {
        self.0.get(operation).and_then(|outcomes| outcomes.get(outcome)).copied().unwrap_or(0)
    }

    /// Every pair with its count, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, u64)> {
        self.0.iter().flat_map(|(operation, outcomes)| {
            outcomes.iter().map(|(outcome, count)| (operation.as_str(), outcome.as_str(), *count))
        })
    }

    fn count(&mut self, operation: &str, outcome: &str, times: u64) {
        *self.0.entry(operation.into()).or_default().entry(outcome.into()).or_default() += times;
    }

    fn access(&mut self, name: &str, result: &StepResult) {
        let outcome = match result {
            StepResult::Value(_) | StepResult::Stored => "ok",
            StepResult::Fault(_) => "fault",
            _ => return,
        };
        self.count(name, outcome, 1);
    }

    fn call(&mut self, asked: &Asked<'_>, step: &Step, called: &Called) {
        self.count(hypercall_name(asked.number), &outcome_name(asked.value), 1);
        let Some(Value::Buffer(buffer)) = asked.args.first() else { return };
        match asked.number {
            HYPERCALL_MMU_UPDATE => self.elements::<2>(asked, buffer, (step, called), update_operation),
            HYPERCALL_MMUEXT_OP => self.elements::<3>(asked, buffer, (step, called), extended_operation),
            HYPERCALL_MULTICALL => self.entries(buffer, step, called),
            _ => {}
        }
    }

    fn elements<const N: usize>(
        &mut self,
        asked: &Asked<'_>,
        buffer: &Buffer,
        (step, called): (&Step, &Called),
        name: fn(&Value) -> String,
    ) {
        let Some(Value::Literal(count)) = asked.args.get(1) else { return };
        if count & u64::from(CONTINUED) != 0 {
            // What was done before, it says itself.
            return;
        }
        let elements = buffer.words.chunks_exact(N).take(*count as u32 as usize).map(|element| name(&element[0]));
        let done = match done(asked.args.get(2), step, called) {
            Some(done) => done,
            None if asked.value == 0 => usize::MAX,
            None => return,
        };
        for (index, operation) in elements.enumerate().take(done.saturating_add(1)) {
            if index < done {
                self.count(&operation, "ok", 1);
            } else if asked.value < 0 {
                self.count(&operation, &outcome_name(asked.value), 1);
            }
        }
    }

    fn entries(&mut self, buffer: &Buffer, step: &Step, called: &Called) {
        let number = number_of(buffer, step);
        for (index, entry) in buffer.words.chunks_exact(ENTRY_WORDS).enumerate() {
            let result = called
                .arguments
                .iter()
                .find(|change| Some(change.buffer) == number && change.word == ENTRY_WORDS * index + 1);
            if let (Value::Literal(number), Some(result)) = (&entry[0], result)
                && *number != u64::from(HYPERCALL_MULTICALL)
            {
                let asked = Asked { number: *number as u32, args: &entry[2..7], value: result.value as i64 };
                self.call(&asked, step, called);
            } else if let Some(result) = result {
                self.count("multicall.multicall", &outcome_name(result.value as i64), 1);
            }
        }
    }
}

/// Operations that were done by a call's own done count, if it was written.
fn done(pointer: Option<&Value>, step: &Step, called: &Called) -> Option<usize> {
    let Some(Value::Buffer(buffer)) = pointer else { return None };
    if buffer.words != [Value::Literal(UNTOUCHED)] {
        return None;
    }
    let number = number_of(buffer, step)?;
    let change = called.arguments.iter().find(|change| change.buffer == number)?;
    Some(change.value as u32 as usize)
}

/// The number by which a buffer of a step is known in its outcome.
fn number_of(buffer: &Buffer, step: &Step) -> Option<usize> {
    step.all_buffers().into_iter().position(|candidate| std::ptr::eq(candidate, buffer))
}

fn outcome_name(value: i64) -> String {
    match Errno::from_return(value) {
        Err(errno) => errno.to_string(),
        Ok(_) => "ok".into(),
    }
}

fn update_operation(slot: &Value) -> String {
    let command = match slot {
        Value::Page(_, offset) => offset % 8,
        Value::Literal(slot) => slot % 8,
        _ => 0,
    };
    format!("mmu_update.{}", update_name(command))
}

fn extended_operation(command: &Value) -> String {
    let Value::Literal(command) = command else { return "mmuext_op.unknown".into() };
    format!("mmuext_op.{}", command_name(*command))
}
