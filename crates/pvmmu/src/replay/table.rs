//! The result of replays, for a person: what the recorder did beside what each policy makes of the same requests.

use std::fmt::Write;

use super::cause::Cause;
use super::ported::Gains;
use super::program::Inferred;
use super::report::{BesideMock, Outcome, Subject};
use crate::cli::{Mode, PolicyName};
use crate::style::grouped;

/// Width of a row's name.
const LABEL: usize = 24;
/// Width of a figure.
const FIGURE: usize = 14;
/// Findings listed of each kind.
const LISTED: usize = 10;

/// The table for these outcomes, and what has to be said about them.
pub(crate) fn table(subject: &Subject, outcomes: &[Outcome]) -> String {
    heading(subject) + &figures(subject, outcomes) + &notes(subject, outcomes)
}

/// What has to be said about the outcomes beside their figures.
pub(super) fn notes(subject: &Subject, outcomes: &[Outcome]) -> String {
    let gains = outcomes.iter().filter_map(|outcome| outcome.gains).take(1);
    gains.map(|gains| explain(&gains)).collect::<String>() + &footing(subject, outcomes)
}

fn heading(subject: &Subject) -> String {
    let trace = subject.trace;
    format!(
        "{}\n{} events ({} unknown lines), {} regions ({} empty), {} pte writes ({} in regions), {} TLB flushes\n\n",
        subject.name,
        grouped(trace.events),
        grouped(trace.unknown_lines),
        grouped(trace.regions),
        grouped(trace.empty_regions),
        grouped(trace.pte_writes),
        grouped(trace.pte_writes_in_regions),
        grouped(trace.tlb_flushes),
    )
}

/// The figures, a column for the recorder and one for each outcome.
fn figures(subject: &Subject, outcomes: &[Outcome]) -> String {
    let recorded = &subject.recorded;
    let mut rows = Rows(String::new());
    rows.row("", "recorder", outcomes, |outcome| title(outcome).0.into());
    rows.row("", "", outcomes, |outcome| title(outcome).1.into());
    if outcomes.iter().any(|outcome| outcome.beside_mock.is_some()) {
        rows.row("", "on Xen", outcomes, |outcome| on(outcome).into());
    }
    let all = recorded.hypercalls();
    rows.row("hypercalls", &grouped(all), outcomes, |outcome| grouped(outcome.hypercalls()));
    rows.row("  of the recorder's", "", outcomes, |outcome| percent(outcome.hypercalls(), all));
    for cause in Cause::ALL {
        let counts = outcomes.iter().map(|outcome| &outcome.by_cause).chain([&recorded.by_cause]);
        if counts.into_iter().any(|by_cause| by_cause.contains_key(&cause)) {
            let count = |by_cause: &std::collections::BTreeMap<Cause, u64>| {
                by_cause.get(&cause).map_or("-".into(), |count| grouped(*count))
            };
            rows.row(&format!("  {}", cause.label()), &count(&recorded.by_cause), outcomes, |outcome| {
                count(&outcome.by_cause)
            });
        }
    }
    rows.row("updates issued", &grouped(recorded.updates), outcomes, |outcome| grouped(outcome.updates_issued));
    rows.row("updates merged", "-", outcomes, |outcome| grouped(outcome.updates_merged));
    rows.row("largest batch", &grouped(recorded.sizes.largest()), outcomes, |outcome| grouped(outcome.largest_batch));
    rows.row("violations", "", outcomes, |outcome| match outcome.beside_mock {
        Some(_) => "-".into(),
        None => grouped(outcome.violations_total),
    });
    rows.row("refused", "", outcomes, |outcome| grouped(outcome.refused.len() as u64));
    rows.row("end state as unbatched", "", outcomes, |outcome| yes(outcome.final_state_matches_unbatched));
    if outcomes.iter().any(|outcome| outcome.beside_mock.is_some()) {
        equalities(&mut rows, outcomes);
    }
    rows.row("memory as recorded", "", outcomes, |outcome| match outcome.oracle.compared {
        0 => "-".into(),
        compared => format!("{}/{}", grouped(outcome.oracle.matched), grouped(compared)),
    });
    rows.0
}

/// What is equal on the real Xen and on the mock.
fn equalities(rows: &mut Rows, outcomes: &[Outcome]) {
    let row = |what: fn(&BesideMock) -> bool| {
        move |outcome: &Outcome| outcome.beside_mock.as_ref().map_or("-".into(), |beside| yes(what(beside)))
    };
    rows.row("refused as on the mock", "", outcomes, row(|beside| beside.refusals_equal));
    rows.row("calls as on the mock", "", outcomes, row(|beside| beside.hypercalls_equal));
    rows.row("entries as on the mock", "", outcomes, row(|beside| beside.entries_equal));
    rows.row("end as on the mock", "", outcomes, row(|beside| beside.end_state_equal));
}

pub(super) const fn on(outcome: &Outcome) -> &'static str {
    if outcome.beside_mock.is_some() { "on Xen" } else { "on the mock" }
}

struct Rows(String);

impl Rows {
    fn row(&mut self, label: &str, recorded: &str, outcomes: &[Outcome], figure: impl Fn(&Outcome) -> String) {
        let mut line = format!("{label:<LABEL$}{recorded:>FIGURE$}");
        for outcome in outcomes {
            let _ = write!(line, "{:>FIGURE$}", figure(outcome));
        }
        let _ = writeln!(self.0, "{}", line.trim_end());
    }
}

pub(super) const fn title(outcome: &Outcome) -> (&'static str, &'static str) {
    let policy = match outcome.policy {
        PolicyName::PvMmu => "pv-mmu",
        PolicyName::Linux => "linux policy",
        PolicyName::Single => "single",
    };
    match outcome.mode {
        Mode::AsRecorded => (policy, "as recorded"),
        Mode::Ported => (policy, "ported"),
    }
}

pub(super) fn percent(part: u64, whole: u64) -> String {
    if whole == 0 { "-".into() } else { format!("{:.1} %", 100.0 * part as f64 / whole as f64) }
}

pub(super) fn yes(value: bool) -> String {
    if value { "yes".into() } else { "NO".into() }
}

/// What `ported` changes in the requests, and what each change saves.
fn explain(gains: &Gains) -> String {
    let changes = [
        (gains.tlb_flush_in_region, "TLB flushes asked for in the region they used to follow directly"),
        (
            gains.consecutive_writes,
            "writes to consecutive entries, within one fault or system call, as part of a range",
        ),
        (gains.copy_on_write, "copy-on-writes whose TLB flush and write go together"),
        (gains.stack_with_base, "context switches whose base pointer and stack go together"),
    ];
    let total = grouped(gains.total());
    format!("\nported: {total} hypercalls fewer, because callers ask differently\n") + &listed(&changes)
}

fn footing(subject: &Subject, outcomes: &[Outcome]) -> String {
    let sync_points = grouped(subject.sync_points);
    let mut text = format!(
        "\nsync points: {sync_points} times something had to be effective at once (asked outside a region, or still queued at\n\
         a leave or switch); with the requests as recorded fewer hypercalls are not possible\n"
    );
    let starts = grouped(subject.prot_starts);
    let compared = match outcomes.iter().any(|outcome| outcome.oracle.compared > 0) {
        true => format!(
            "entries that hold what the trace says real Xen held, at its {starts} reads before a protection change"
        ),
        false if outcomes.iter().any(|outcome| outcome.beside_mock.is_some()) => {
            format!("nothing of the trace compared, at {starts} reads before a protection change")
        }
        false => format!(
            "nothing compared, at {starts} reads before a protection change: the end state is judged by the mock alone"
        ),
    };
    let _ = writeln!(text, "memory as recorded: {compared}");
    text += "guest writes inferred from what follows them:\n";
    text += &listed(&inferred(&subject.inferred));
    for outcome in outcomes {
        let (policy, mode) = title(outcome);
        let on = outcome.beside_mock.as_ref().map_or("", |_| " on Xen");
        for what in findings(outcome) {
            let _ = writeln!(text, "{policy} {mode}{on}: {what}");
        }
    }
    text
}

/// The first findings of each kind.
fn findings(outcome: &Outcome) -> Vec<String> {
    let violations = outcome.violations.iter().map(|violated| format!("line {}: {}", violated.line, violated.what));
    let refused = outcome.refused.iter();
    let refused =
        refused.map(|refused| format!("line {}: {} refused: {}", refused.line, refused.operation, refused.errno));
    let mismatch = outcome.oracle.first_mismatch.map(|line| format!("line {line}: memory is not what real Xen held"));
    let more = |all: u64, what: &str| {
        let unlisted = all.saturating_sub(LISTED as u64);
        (unlisted > 0).then(|| format!("... and {} more {what}", grouped(unlisted)))
    };
    let violations = violations.take(LISTED).chain(more(outcome.violations_total, "violations"));
    let refused = refused.take(LISTED).chain(more(outcome.refused.len() as u64, "refused operations"));
    let beside = outcome.beside_mock.iter().flat_map(|beside| beside.differences.iter().cloned());
    violations.chain(refused).chain(mismatch).chain(beside).collect()
}

const fn inferred(inferred: &Inferred) -> [(u64, &'static str); 5] {
    [
        (inferred.clear_frame_changes, "cleared before mapping another frame"),
        (inferred.clear_table_released, "cleared before their table was released"),
        (inferred.clear_frame_becomes_table, "cleared before their frame became a table"),
        (inferred.write_protect, "write-protected, as their own read before a protection change shows"),
        (inferred.first_seen, "not known before their own read before a protection change"),
    ]
}

/// A line for each figure that is not 0.
fn listed(figures: &[(u64, &str)]) -> String {
    let shown = figures.iter().filter(|(figure, _)| *figure > 0);
    shown.map(|(figure, what)| format!("{:>8}  {what}\n", grouped(*figure))).collect()
}
