//! The result of replays, for a pipeline that keeps account of tests: a case for each thing each policy is judged by.

use super::page::name;
use super::report::{Outcome, Subject};
use crate::suites::{Case, Suite};

/// The trace as a suite.
pub(super) fn of(subject: &Subject, outcomes: &[Outcome]) -> Suite {
    Suite { name: subject.name.clone(), cases: outcomes.iter().flat_map(cases).collect() }
}

fn cases(outcome: &Outcome) -> Vec<Case> {
    let rules: Vec<String> =
        outcome.violations.iter().map(|found| format!("line {}: {} {}", found.line, found.rule, found.what)).collect();
    let kind = outcome.violations.first().map_or("rule", |found| found.rule.as_str());
    let refused: Vec<String> = outcome
        .refused
        .iter()
        .map(|refused| {
            format!("line {}, vcpu {}: {}: {}", refused.line, refused.vcpu, refused.operation, refused.errno)
        })
        .collect();
    let memory: Vec<String> = outcome
        .oracle
        .first_mismatch
        .iter()
        .map(|line| format!("line {line}: memory is not what real Xen held"))
        .collect();
    let end = (!outcome.final_state_matches_unbatched).then(|| "the page tables end otherwise".to_owned());
    let case = |what: &str, kind: &str, found: &[String]| Case::of(&format!("{}: {what}", name(outcome)), kind, found);
    let mut cases = vec![
        case("no rule is broken", kind, &rules),
        case("nothing is refused", "refused", &refused),
        case("memory is what real Xen held", "memory", &memory),
        case("ends as without batching", "end state", end.as_slice()),
    ];
    cases.extend(outcome.beside_mock.iter().map(|beside| case("as on the mock", "real Xen", &beside.differences)));
    cases
}
