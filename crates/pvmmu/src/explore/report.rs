//! What was explored, for a person and for a program.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use guest_model::{Exhibit, Fault, Moment, Policy, Scenario, Seen, text as picture};
use serde_json::{Map, Value, json};

use crate::style::grouped;
use crate::suites::{Case, Ending, Finding, Suite};

/// One scenario on one design.
pub(super) struct Explored {
    pub(super) scenario: Arc<Scenario>,
    pub(super) policy: Policy,
    pub(super) seen: Seen,
    pub(super) complete: bool,
    pub(super) fault: Option<Fault>,
    /// The way to show: to the fault, or the one asked for.
    pub(super) moments: Vec<Moment>,
    pub(super) time: Duration,
}

/// All there is to explore.
pub(super) fn list(exhibits: &[Exhibit]) -> String {
    let line = |exhibit: &Exhibit| {
        let had = exhibit.had.map_or(String::new(), |(policy, rule)| format!(" ({rule} in {})", policy.name()));
        format!("{:<8} {}{had}\n", exhibit.scenario.name, exhibit.scenario.about)
    };
    exhibits.iter().map(line).collect()
}

pub(super) fn text(explored: &[Explored]) -> String {
    let mut out = String::new();
    for one in explored {
        one.write(&mut out);
    }
    if explored.len() > 1 {
        let states: u64 = explored.iter().map(|explored| explored.seen.states).sum();
        let time: Duration = explored.iter().map(|explored| explored.time).sum();
        let found = explored.iter().filter(|explored| explored.fault.is_some()).count();
        let _infallible = writeln!(
            out,
            "{} explored, {} found wrong; {} states in {:.1} s, {} a second",
            explored.len(),
            found,
            grouped(states),
            time.as_secs_f64(),
            grouped(rate(states, time)),
        );
    }
    out
}

fn rate(states: u64, time: Duration) -> u64 {
    (states as f64 / time.as_secs_f64().max(1e-6)) as u64
}

impl Explored {
    /// Scenario and design.
    pub(super) fn name(&self) -> String {
        format!("{} on {}", self.scenario.name, self.policy.name())
    }

    /// What came of it, in words.
    pub(super) fn verdict(&self) -> String {
        match &self.fault {
            Some(fault) => format!("broken: {}", fault.found),
            None if self.complete => "clean, complete within its bounds".into(),
            None => "clean as far as gone".into(),
        }
    }

    /// The command that goes the way of the fault again; empty without one.
    pub(super) fn again(&self) -> String {
        let again = |fault: &Fault| {
            let (name, policy) = (&self.scenario.name, self.policy.name());
            format!("pvmmu explore {name} --policy {policy} --schedule {}", fault.schedule)
        };
        self.fault.as_ref().map(again).unwrap_or_default()
    }

    /// For an account of tests.
    fn case(&self) -> Case {
        let ending = match &self.fault {
            None => Ending::Clean,
            Some(fault) => Ending::Found(Finding {
                kind: fault.found.rule().map_or_else(|| "no end".into(), |rule| rule.to_string()),
                what: fault.found.to_string(),
                detail: format!("{}\n\n{}", self.again(), picture(&self.moments, self.scenario.tasks())),
            }),
        };
        Case { name: self.name(), ending, took: self.time }
    }

    fn write(&self, out: &mut String) {
        let Self { scenario, policy, seen, .. } = self;
        let _infallible = writeln!(out, "{:<8} {:<17} {}", scenario.name, policy.name(), self.verdict());
        let choices: Vec<String> =
            seen.choices.iter().filter(|(_, n)| *n > 0).map(|(kind, n)| format!("{kind} {}", grouped(n))).collect();
        let _infallible = writeln!(
            out,
            "         {} states, {} schedules, {:.2} s, {} states a second; {}",
            grouped(seen.states),
            grouped(seen.schedules),
            self.time.as_secs_f64(),
            grouped(rate(seen.states, self.time)),
            choices.join(", "),
        );
        if let Some((all, distinct)) = scenario.program_counts() {
            let _infallible =
                writeln!(out, "         {} programs, {} up to the names of entries", grouped(all), grouped(distinct));
        }
        if let Some(fault) = &self.fault {
            let _infallible = writeln!(out, "         schedule {}", fault.schedule);
        }
        if !self.moments.is_empty() {
            let _infallible = writeln!(out, "\n{}", picture(&self.moments, scenario.tasks()));
        }
    }

    fn json(&self) -> Value {
        let Self { scenario, policy, seen, .. } = self;
        let bounds = scenario.bounds;
        let choices: Map<String, Value> = seen.choices.iter().map(|(kind, n)| (kind.into(), n.into())).collect();
        let violations: Vec<Value> = self
            .fault
            .iter()
            .map(|fault| {
                json!({
                    "rule": fault.found.rule().map(|rule| rule.to_string()),
                    "schedule": fault.schedule.to_string(),
                    "finding": fault.found.to_string(),
                })
            })
            .collect();
        json!({
            "name": scenario.name,
            "policy": policy.name(),
            "states": seen.states,
            "schedules": seen.schedules,
            "programs": scenario.program_counts().map(|(all, distinct)| json!({ "all": all, "distinct": distinct })),
            "bound": {
                "vcpus": scenario.vcpus,
                "tasks": scenario.tasks(),
                "preemptions": bounds.preemptions,
                "interrupts": bounds.interrupts,
                "migrations": bounds.migrations,
                "hypervisor": bounds.hypervisor,
                "deviations": bounds.deviations,
            },
            "choices": choices,
            "complete": self.complete,
            "violations": violations,
            "seconds": self.time.as_secs_f64(),
        })
    }
}

/// One suite, a case for each scenario on each design.
pub(super) fn suites(explored: &[Explored]) -> Vec<Suite> {
    vec![Suite { name: "explore".into(), cases: explored.iter().map(Explored::case).collect() }]
}

pub(super) fn json(explored: &[Explored]) -> Result<String> {
    let scenarios: Vec<Value> = explored.iter().map(Explored::json).collect();
    Ok(serde_json::to_string_pretty(&json!({ "scenarios": scenarios }))? + "\n")
}
