//! `pvmmu check`: the recorded behaviour itself, judged by the contract.

mod page;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use mmu_trace::check::{CheckReport, Evidence, FlushCounts, Histogram, Rule, check};
use mmu_trace::{BUNDLED, EventReader, Summary};
use serde::Serialize;
use serde_json::json;

use crate::cli::{CheckArgs, ReportFormat};
use crate::input;
use crate::style::grouped;
use crate::suites::{Case, Ending, Suite, junit};
use crate::timeline::{Mark, Recorder, Timeline};
use crate::verdict::Verdict;

/// Judges each trace, without any all the bundled ones, and renders what was found.
///
/// # Errors
/// The first trace that cannot be read; nothing has been rendered then.
pub(crate) fn run(args: &CheckArgs) -> Result<(String, Verdict)> {
    let CheckArgs { traces, format } = args;
    let all = BUNDLED.map(|bundled| PathBuf::from(bundled.name));
    let traces = if traces.is_empty() { all.as_slice() } else { traces };
    let is_drawn = *format == ReportFormat::Html;
    let judged = traces
        .iter()
        .map(|path| judge(path, is_drawn).with_context(|| format!("{}", path.display())))
        .collect::<Result<Vec<Judged>>>()?;
    let clean = judged.iter().all(|judged| judged.report.violations_total == 0);
    let text = match format {
        ReportFormat::Text => judged.iter().map(Judged::text).collect::<Vec<_>>().join("\n"),
        ReportFormat::Json => {
            serde_json::to_string_pretty(&judged.iter().map(Judged::json).collect::<Vec<_>>())? + "\n"
        }
        ReportFormat::Junit => junit(&judged.iter().map(Judged::suite).collect::<Vec<_>>())?,
        ReportFormat::Html => page::of(&judged),
    };
    Ok((text, Verdict::of(clean)))
}

/// A trace and what the judge says of it.
struct Judged {
    name: String,
    summary: Summary,
    report: CheckReport,
    /// What happened on each vCPU, where that is to be drawn.
    course: Option<Timeline>,
}

fn judge(path: &Path, is_drawn: bool) -> Result<Judged> {
    let mut reader = EventReader::new(input::file(path)?)?;
    let mut recorder = is_drawn.then(Recorder::new);
    let report = check(reader.by_ref().inspect(|event| {
        if let (Some(recorder), Ok(event)) = (&mut recorder, event) {
            recorder.event(event);
        }
    }))?;
    input::not_blank(reader.summary())?;
    let (name, summary) = (path.display().to_string(), reader.summary().clone());
    let course = recorder.map(|recorder| course(recorder.finish(summary.lines), &name, &report));
    Ok(Judged { name, summary, report, course })
}

fn course(mut course: Timeline, name: &str, report: &CheckReport) -> Timeline {
    course.rename(name.into());
    for violation in &report.violations {
        let text = format!("{}: {}", violation.what.rule(), violation.what);
        course.mark(Mark { at: violation.line, vcpu: Some(violation.vcpu as usize), text });
    }
    course
}

/// The rules that traces are judged by.
const JUDGED: [Rule; 6] = [Rule::R1, Rule::R2, Rule::R4, Rule::R6, Rule::R7, Rule::R17];

impl Judged {
    fn text(&self) -> String {
        let Self { name, summary, report, .. } = self;
        let mut text = String::new();
        let mut line = |label: &str, value: String| {
            let _ = writeln!(text, "  {label:<22}{value}");
        };
        line("lines", format!("{} ({} unknown)", grouped(summary.lines), grouped(summary.unknown_lines)));
        line("events", format!("{} judged, {} lost", grouped(report.events), grouped(summary.lost)));
        line("regions", format!("{} ({} empty)", grouped(report.regions), grouped(report.empty_regions)));
        line("context switches", grouped(report.switches));
        line("flushes", flushes(&report.flushes, report.empty_flushes));
        line("entries per flush", sizes(&report.entries_per_flush));
        line("operations per flush", sizes(&report.operations_per_flush));
        for missing in not_judged(&report.evidence) {
            line("not judged", missing.into());
        }
        for warning in warnings(summary) {
            line("warning", warning);
        }
        line("violations", grouped(report.violations_total));
        for violation in &report.violations {
            line("", violation.to_string());
        }
        let unlisted = report.violations_total - report.violations.len() as u64;
        if unlisted > 0 {
            line("", format!("... and {} more", grouped(unlisted)));
        }
        format!("{name}\n{text}")
    }

    fn json(&self) -> serde_json::Value {
        let Self { name, summary, report, .. } = self;
        let violations: Vec<ViolationRecord> = report.violations.iter().map(ViolationRecord::from).collect();
        let FlushCounts { leave, request, switch, operation, full_entries, full_arguments, full_callbacks, .. } =
            report.flushes;
        json!({
            "trace": name,
            "lines": summary.lines,
            "unknown_lines": summary.unknown_lines,
            "lost": summary.lost,
            "overwritten": summary.overwritten,
            "hashed_slots": summary.hashed_slots,
            "events": report.events,
            "regions": report.regions,
            "empty_regions": report.empty_regions,
            "switches": report.switches,
            "flushes": {
                "leave": leave,
                "request": request,
                "switch": switch,
                "operation": operation,
                "full_entries": full_entries,
                "full_arguments": full_arguments,
                "full_callbacks": full_callbacks,
            },
            "empty_flushes": report.empty_flushes,
            "largest_flush": { "entries": report.entries_per_flush.largest(), "operations": report.operations_per_flush.largest() },
            "warnings": warnings(summary),
            "not_judged": not_judged(&report.evidence),
            "violations": violations,
            "violations_total": report.violations_total,
        })
    }
}

impl Judged {
    /// For an account of tests: a case for each rule.
    fn suite(&self) -> Suite {
        Suite { name: self.name.clone(), cases: JUDGED.map(|rule| self.case(rule)).into() }
    }

    fn case(&self, rule: Rule) -> Case {
        let of_rule = self.report.violations.iter().filter(|violation| violation.what.rule() == rule);
        let mut found: Vec<String> = of_rule.map(ToString::to_string).collect();
        let listed = self.report.violations.len() as u64;
        if !found.is_empty() && listed < self.report.violations_total {
            found.push(format!("of {} violations in all, {listed} are listed", self.report.violations_total));
        }
        let name = rule.to_string();
        match not_seen(&self.report.evidence, rule) {
            Some(missing) if found.is_empty() => {
                Case { name, ending: Ending::NotJudged(missing.into()), took: Duration::ZERO }
            }
            _ => Case::of(&name, &name, &found),
        }
    }
}

/// Why nothing of the rule can be judged, if so.
fn not_seen(evidence: &Evidence, rule: Rule) -> Option<&'static str> {
    let (is_seen, missing) = match rule {
        Rule::R1 | Rule::R17 => (evidence.batches, "no xen_mc events"),
        Rule::R2 => (evidence.regions || evidence.batches, "no lazy-mode probes and no xen_mc events"),
        Rule::R4 => (evidence.regions, "no lazy-mode probes"),
        Rule::R6 => (evidence.contexts, "no context column"),
        Rule::R7 => (evidence.switches, "no switch events"),
        _ => (false, "not judged of a trace"),
    };
    (!is_seen).then_some(missing)
}

/// A violation as JSON has it.
#[derive(Serialize)]
struct ViolationRecord {
    line: u64,
    vcpu: u32,
    task: u32,
    rule: String,
    what: String,
}

impl From<&mmu_trace::check::Violation> for ViolationRecord {
    fn from(violation: &mmu_trace::check::Violation) -> Self {
        let mmu_trace::check::Violation { line, vcpu, task, ref what, .. } = *violation;
        Self { line, vcpu, task, rule: what.rule().to_string(), what: what.to_string() }
    }
}

/// Flushes that made a hypercall.
const fn flushes_by_cause(counts: &FlushCounts) -> [(u64, &'static str); 7] {
    [
        (counts.operation, "for an operation"),
        (counts.leave, "at a leave"),
        (counts.request, "on request"),
        (counts.switch, "at a switch"),
        (counts.full_arguments, "arguments full"),
        (counts.full_entries, "entries full"),
        (counts.full_callbacks, "callbacks full"),
    ]
}

fn flushes(counts: &FlushCounts, empty: u64) -> String {
    let parts = flushes_by_cause(counts).into_iter().chain([(empty, "empty")]);
    let parts = parts.filter(|(count, _)| *count > 0);
    let named: Vec<String> = parts.map(|(count, why)| format!("{} {why}", grouped(count))).collect();
    format!("{}: {}", grouped(counts.total()), named.join(", "))
}

fn sizes(histogram: &Histogram) -> String {
    let sizes = histogram.buckets().iter().enumerate().filter(|(_, count)| **count > 0);
    let listed: Vec<String> = sizes.map(|(size, count)| format!("{size}: {}", grouped(*count))).collect();
    format!("{} (largest {})", listed.join(", "), histogram.largest())
}

/// What makes the judgement weaker than it looks.
fn warnings(summary: &Summary) -> Vec<String> {
    let &Summary { lost, overwritten, hashed_slots, unknown_lines, .. } = summary;
    let possible = [
        (lost, "events were lost: what was open there is not judged, and no replay can follow the trace"),
        (overwritten, "events were overwritten before the trace begins: what they began is not judged"),
        (hashed_slots, "entry addresses are hashed: record with `no_hash_pointers`, no replay can follow the trace"),
        (unknown_lines, "lines are of events that are not known"),
    ];
    let found = possible.iter().filter(|(count, _)| *count > 0);
    found.map(|(count, what)| format!("{} {what}", grouped(*count))).collect()
}

/// What the trace has no events for.
fn not_judged(evidence: &Evidence) -> Vec<&'static str> {
    let needed = [
        (evidence.regions, "regions (R2, R4, parts of R6 and R7): no lazy-mode probes"),
        (evidence.switches, "context switches (R7): no switch events"),
        (evidence.batches, "the queue (R1, R17, parts of R2, R6, R7): no xen_mc events"),
        (evidence.contexts, "interrupt context (R6): no context column"),
    ];
    needed.iter().filter(|(seen, _)| !seen).map(|(_, what)| *what).collect()
}
