//! What was explored, for a person and for a program.

use std::sync::Arc;
use std::time::Duration;

use guest_model::{Exhibit, Fault, Moment, Policy, Scenario, Seen, text as picture};

use super::record::{Bound, Programs, Record, Violation, sum};
use crate::suites::Suite;

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
    /// What made the scenario another than the catalogue's, as options.
    pub(super) options: String,
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
    let records: Vec<Record> = explored.iter().map(Explored::record).collect();
    let shown = explored.iter().zip(&records).map(|(explored, record)| record.text() + &explored.picture());
    shown.collect::<String>() + &sum(records.iter())
}

impl Explored {
    /// Scenario and design.
    pub(super) fn name(&self) -> String {
        self.record().title()
    }

    /// What came of it, in words.
    pub(super) fn verdict(&self) -> String {
        self.record().verdict()
    }

    /// The command that goes the way of the fault again; empty without one.
    pub(super) fn again(&self) -> String {
        self.record().again()
    }

    fn picture(&self) -> String {
        if self.moments.is_empty() {
            return String::new();
        }
        let end = self.fault.as_ref().map_or(String::new(), |fault| format!("     ^ {}\n", fault.found));
        format!("\n     {}\n{}{end}\n", self.scenario.about, picture(&self.moments, self.scenario.tasks()))
    }

    /// All but the way.
    pub(super) fn record(&self) -> Record {
        let Self { scenario, policy, seen, fault, complete, time, options, .. } = self;
        let bounds = scenario.bounds;
        let violation = |fault: &Fault| Violation {
            rule: fault.found.rule().map(|rule| rule.to_string()),
            schedule: fault.schedule.to_string(),
            finding: fault.found.to_string(),
        };
        Record {
            name: scenario.name.into(),
            part: scenario.part(),
            policy: policy.name().into(),
            states: seen.states,
            schedules: seen.schedules,
            programs: scenario.program_counts().map(|(all, distinct)| Programs { all, distinct }),
            bound: Bound {
                vcpus: scenario.vcpus,
                tasks: scenario.tasks(),
                preemptions: bounds.preemptions,
                interrupts: bounds.interrupts,
                migrations: bounds.migrations,
                hypervisor: bounds.hypervisor,
                deviations: bounds.deviations,
            },
            choices: seen.choices.iter().map(|(kind, taken)| (kind.into(), taken)).collect(),
            complete: *complete,
            violations: fault.iter().map(violation).collect(),
            seconds: time.as_secs_f64(),
            options: options.clone(),
        }
    }
}

/// One suite, a case for each scenario on each design.
pub(super) fn suites(explored: &[Explored]) -> Vec<Suite> {
    let cases = explored.iter().map(|explored| explored.record().case(&explored.picture())).collect();
    vec![Suite { name: "explore".into(), cases }]
}
