//! The result of replays, for a program.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cause::Cause;
use super::ledger::Refused;
use super::ported::Gains;
use super::program::Inferred;
use super::recorded::{Recorded, TraceFigures};
use super::stage::{Oracle, Violated};
use crate::cli::{Mode, PolicyName};
use crate::sizes::BatchSizes;
use crate::timeline::Timeline;

/// What is the same for every policy.
#[derive(Debug)]
pub(crate) struct Subject {
    /// Where the trace comes from.
    pub(crate) name: String,
    /// The trace in figures.
    pub(crate) trace: TraceFigures,
    /// What the recorder did.
    pub(crate) recorded: Recorded,
    /// Points where the contract forces a flush.
    pub(crate) sync_points: u64,
    /// Guest events that had to be inferred.
    pub(crate) inferred: Inferred,
    /// Protection changes the trace begins.
    pub(crate) prot_starts: u64,
    /// What the recorder did on each vCPU.
    pub(crate) course: Timeline,
}

/// How a replay on the real Xen went beside the same one on the mock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct BesideMock {
    /// Whether the same operations were refused, in the same steps, for the same reasons.
    pub(crate) refusals_equal: bool,
    /// Whether every step made as many hypercalls.
    pub(crate) hypercalls_equal: bool,
    /// Whether all entries held the same when they were looked at or taken away beside the batcher.
    pub(crate) entries_equal: bool,
    /// How many those were.
    pub(crate) entries: u64,
    /// Whether every frame ends as the same kind of table or none, pinned or not, mapped writable or not, and every
    /// table with the same entries.
    pub(crate) end_state_equal: bool,
    /// Tables at the end, and entries in them that are not empty.
    pub(crate) end_tables: u64,
    /// Those entries.
    pub(crate) end_entries: u64,
    /// What differs, in words: the first of each kind.
    pub(crate) differences: Vec<String>,
}

impl BesideMock {
    fn is_equal(&self) -> bool {
        self.refusals_equal && self.hypercalls_equal && self.entries_equal && self.end_state_equal
    }
}

/// What one policy made of the trace.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The policy.
    pub(crate) policy: PolicyName,
    /// Whose requests.
    pub(crate) mode: Mode,
    /// Of a replay on the real Xen: beside the mock. There is no referee then, and rules are judged on the mock alone.
    pub(crate) beside_mock: Option<BesideMock>,
    /// Hypercalls by cause.
    pub(crate) by_cause: BTreeMap<Cause, u64>,
    /// Updates the hypervisor was handed.
    pub(crate) updates_issued: u64,
    /// Updates whose effect a later one carried, by the referee's count.
    pub(crate) updates_merged: u64,
    /// Most operations in one hypercall.
    pub(crate) largest_batch: u64,
    /// Hypercalls by their operations; what a kernel on the real Xen does not tell one by one.
    pub(crate) sizes: Option<BatchSizes>,
    /// What happened on each vCPU; of a replay on the real Xen only the one on the mock beside it has it.
    pub(crate) course: Option<Timeline>,
    /// Broken rules.
    pub(crate) violations: Vec<Violated>,
    /// How many there were; the referee keeps the first 1000.
    pub(crate) violations_total: u64,
    /// Refused operations.
    pub(crate) refused: Vec<Refused>,
    /// Memory against the trace.
    pub(crate) oracle: Oracle,
    /// Whether all tables end as they do when each request is applied at once.
    pub(crate) final_state_matches_unbatched: bool,
    /// What `ported` can save; `None` in the other mode.
    pub(crate) gains: Option<Gains>,
}

impl Outcome {
    /// All hypercalls.
    pub(crate) fn hypercalls(&self) -> u64 {
        self.by_cause.values().sum()
    }

    /// Violations that were counted and not kept.
    pub(crate) fn unlisted(&self) -> u64 {
        self.violations_total - self.violations.len() as u64
    }

    /// Whether nothing was found.
    pub(crate) fn is_clean(&self) -> bool {
        let oracle = self.oracle.compared == self.oracle.matched;
        let equal = self.beside_mock.as_ref().is_none_or(BesideMock::is_equal);
        equal && self.violations.is_empty() && self.refused.is_empty() && oracle && self.final_state_matches_unbatched
    }
}

#[derive(Serialize)]
struct RecordedCalls {
    flushes: u64,
    direct_pte_calls: u64,
    hypercalls: u64,
}

#[derive(Serialize)]
struct Report<'a> {
    trace: TraceFigures,
    recorded: RecordedCalls,
    policy: PolicyName,
    mode: Mode,
    hypercalls: u64,
    hypercalls_by_cause: &'a BTreeMap<Cause, u64>,
    sync_points: u64,
    updates_issued: u64,
    updates_merged: u64,
    largest_batch: u64,
    inferred: Inferred,
    violations: &'a [Violated],
    /// Only where `violations` are not all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    violations_total: Option<u64>,
    refused: &'a [Refused],
    oracle: Oracle,
    final_state_matches_unbatched: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    gains: Option<Gains>,
    /// Only of a replay on the real Xen.
    #[serde(skip_serializing_if = "Option::is_none")]
    beside_mock: Option<&'a BesideMock>,
}

/// One JSON object.
///
/// # Errors
/// None that these types can bring about.
pub(crate) fn json(subject: &Subject, outcome: &Outcome) -> serde_json::Result<String> {
    let Recorded { flushes, direct_pte_calls, .. } = subject.recorded;
    let report = Report {
        trace: subject.trace,
        recorded: RecordedCalls { flushes, direct_pte_calls, hypercalls: subject.recorded.hypercalls() },
        policy: outcome.policy,
        mode: outcome.mode,
        hypercalls: outcome.hypercalls(),
        hypercalls_by_cause: &outcome.by_cause,
        sync_points: subject.sync_points,
        updates_issued: outcome.updates_issued,
        updates_merged: outcome.updates_merged,
        largest_batch: outcome.largest_batch,
        inferred: subject.inferred,
        violations: &outcome.violations,
        violations_total: (outcome.unlisted() > 0).then_some(outcome.violations_total),
        refused: &outcome.refused,
        oracle: outcome.oracle,
        final_state_matches_unbatched: outcome.final_state_matches_unbatched,
        gains: outcome.gains,
        beside_mock: outcome.beside_mock.as_ref(),
    };
    Ok(serde_json::to_string_pretty(&report)? + "\n")
}
