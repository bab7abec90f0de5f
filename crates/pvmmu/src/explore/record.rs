//! What was explored of one scenario on one design, as it is printed, stored and put together again.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use guest_model::Choice;
use serde::{Deserialize, Serialize};

use crate::style::grouped;
use crate::suites::{Case, Ending, Finding};

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) name: String,
    /// What the programs begin with, where this is a part of a scenario.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) part: Option<String>,
    pub(super) policy: String,
    pub(super) states: u64,
    pub(super) schedules: u64,
    pub(super) programs: Option<Programs>,
    pub(super) bound: Bound,
    pub(super) choices: BTreeMap<String, u64>,
    pub(super) complete: bool,
    pub(super) violations: Vec<Violation>,
    pub(super) seconds: f64,
    /// What made the scenario another than the catalogue's, as options; part of the command that goes a way again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) options: String,
}

/// How many programs that is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Programs {
    pub(super) all: u64,
    /// Those that differ in more than the names of entries.
    pub(super) distinct: u64,
}

/// How far it went.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Bound {
    pub(super) vcpus: usize,
    pub(super) tasks: usize,
    pub(super) preemptions: u8,
    pub(super) interrupts: u8,
    pub(super) migrations: u8,
    pub(super) hypervisor: u8,
    pub(super) deviations: u8,
}

/// What was found, and the way to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Violation {
    pub(super) rule: Option<String>,
    pub(super) schedule: String,
    pub(super) finding: String,
}

impl Record {
    /// Scenario and design.
    pub(super) fn title(&self) -> String {
        let part = self.part.as_ref().map_or(String::new(), |part| format!(" ({part})"));
        format!("{}{part} on {}", self.name, self.policy)
    }

    /// What came of it, in words.
    pub(super) fn verdict(&self) -> String {
        match self.violations.first() {
            Some(violation) => format!("broken: {}", violation.finding),
            None if self.complete => "clean, complete within its bounds".into(),
            None => "clean as far as gone".into(),
        }
    }

    /// The command that goes the way of the fault again; empty without one.
    pub(super) fn again(&self) -> String {
        let Self { name, policy, options, .. } = self;
        let again = |Violation { schedule, .. }: &Violation| {
            format!("pvmmu explore {name}{options} --policy {policy} --schedule {schedule}")
        };
        self.violations.first().map(again).unwrap_or_default()
    }

    /// For an account of tests, with a picture of the way.
    pub(super) fn case(&self, picture: &str) -> Case {
        let found = |Violation { rule, finding, .. }: &Violation| Finding {
            kind: rule.clone().unwrap_or_else(|| "no end".into()),
            what: finding.clone(),
            detail: format!("{}\n{picture}", self.again()),
        };
        let ending = self.violations.first().map_or(Ending::Clean, |violation| Ending::Found(found(violation)));
        Case { name: self.title(), ending, took: Duration::try_from_secs_f64(self.seconds).unwrap_or_default() }
    }

    /// For a person, without the picture of the way.
    pub(super) fn text(&self) -> String {
        let Self { name, policy, states, schedules, seconds, .. } = self;
        let taken = |kind: &&str| self.choices.get(*kind).copied().filter(|taken| *taken > 0);
        let choices: Vec<_> =
            Choice::KINDS.iter().filter_map(|kind| Some(format!("{kind} {}", grouped(taken(kind)?)))).collect();
        let mut text = format!("{name:<8} {policy:<17} {}\n", self.verdict());
        // One way has no states, and only the first choice where nothing says otherwise.
        let figures = if choices.is_empty() { String::new() } else { format!("; choices: {}", choices.join(", ")) };
        let _infallible = writeln!(
            text,
            "         {} states, {} schedules, {seconds:.2} s, {} states a second{figures}",
            grouped(*states),
            grouped(*schedules),
            grouped(rate(*states, *seconds)),
        );
        if let Some(Programs { all, distinct }) = self.programs {
            let begin = self.part.as_ref().map_or(String::new(), |part| format!(", that begin {part}"));
            let (all, distinct) = (grouped(all), grouped(distinct));
            let _infallible = writeln!(text, "         {all} programs, {distinct} up to the names of entries{begin}");
        }
        for Violation { schedule, .. } in &self.violations {
            let _infallible = writeln!(text, "         schedule {schedule}, again by: {}", self.again());
        }
        text
    }
}

/// What all come to; nothing where there is only one.
pub(super) fn sum<'a>(records: impl Iterator<Item = &'a Record> + Clone) -> String {
    let explored = records.clone().count();
    if explored < 2 {
        return String::new();
    }
    let states = records.clone().map(|record| record.states).sum();
    let seconds: f64 = records.clone().map(|record| record.seconds).sum();
    let found = records.filter(|record| !record.violations.is_empty()).count();
    let (all, rate) = (grouped(states), grouped(rate(states, seconds)));
    format!("{explored} explored, {found} found wrong; {all} states in {seconds:.1} s, {rate} a second\n")
}

fn rate(states: u64, seconds: f64) -> u64 {
    (states as f64 / seconds.max(1e-6)) as u64
}
