//! The cases, on both.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use xen_conform::{CaseVerdict, Executor, Verdict as Answered, cases, run_cases};
use xen_program::text::Unproved;
use xen_program::{Case, Cases, Mode};

use super::{page, with_pair};
use crate::campaign::merge::Shards;
use crate::campaign::{Campaign, Command, Shard};
use crate::cli::{ConformArgs, ReportFormat, command};
use crate::suites::{self, Ending, Suite, junit};
use crate::verdict::Verdict;

/// How the cases were answered, as it is printed, stored and put together again.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Report {
    cases: usize,
    mock: Side,
    xen: Side,
    unproved: Vec<Skipped>,
}

/// How one of the two answered.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Side {
    met: usize,
    /// Of those, how many only when asked again.
    unsteady: usize,
    unmet: Vec<Unmet>,
}

/// A case that was answered otherwise than expected.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Unmet {
    case: String,
    title: String,
    why: String,
}

/// A case that no lone dom0 can run.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Skipped {
    case: String,
    reason: String,
}

/// Runs every case that a lone dom0 can run on both, and lists the others.
///
/// # Errors
/// Real Xen cannot be had or does not run.
pub(super) fn run(args: &ConformArgs) -> Result<(String, Verdict)> {
    let Cases { cases, unproved } = dealt(args.shard);
    let report = with_pair(|pair| {
        let run = |executor| side(executor, &cases);
        Ok(Report { cases: cases.len(), mock: run(pair.mock)?, xen: run(pair.xen)?, unproved: skipped(unproved) })
    })?;
    let campaign = Campaign::new(Command::ConformCases, None, json!({}), args.shard)?;
    render(&report, &campaign.of(self::cases().cases.len()), args.format)
}

/// A shard's part of the cases; without one, all.
fn dealt(shard: Option<Shard>) -> Cases {
    let Cases { cases, unproved } = cases();
    match shard {
        Some(shard) => Cases { cases: shard.deal(cases), unproved: shard.deal(unproved) },
        None => Cases { cases, unproved },
    }
}

fn side(executor: &dyn Executor, cases: &[Case]) -> Result<Side> {
    let verdicts = run_cases(executor, Mode::None, cases.to_vec())?;
    let met = verdicts.iter().filter(|case| case.verdict == Answered::Met).count();
    let unsteady = verdicts.iter().filter(|case| case.unsteady).count();
    let unmet = verdicts.into_iter().filter_map(|CaseVerdict { case, verdict, .. }| match verdict {
        Answered::Unmet(why) | Answered::Unmodelled(why) => Some(Unmet { case: case.name, title: case.title, why }),
        _ => None,
    });
    Ok(Side { met, unsteady, unmet: unmet.collect() })
}

fn skipped(unproved: Vec<Unproved>) -> Vec<Skipped> {
    unproved.into_iter().map(|Unproved { name, reason }| Skipped { case: name, reason }).collect()
}

/// The reports of a campaign's shards, as the whole run's.
///
/// # Errors
/// What is no report, or not a shard's share.
pub(super) fn merged(shards: &Shards) -> Result<(String, Verdict)> {
    let all = cases();
    let order: Vec<String> = all.cases.into_iter().map(|case| case.name).collect();
    let (mut whole, mut unproved) = (Report::default(), Vec::new());
    let reports = shards.results::<Report>()?;
    // How many, in place of which: a case that is met has no line of its own.
    shards.list(reports.iter().map(|report| vec![(); report.cases]).collect())?;
    for report in reports {
        whole.cases += report.cases;
        whole.mock.merge(report.mock);
        whole.xen.merge(report.xen);
        unproved.push(report.unproved);
    }
    whole.mock.sort(&order);
    whole.xen.sort(&order);
    whole.unproved = shards.weave(all.unproved.len(), unproved)?;
    render(&whole, &shards.campaign, shards.format)
}

impl Side {
    fn merge(&mut self, other: Self) {
        self.met += other.met;
        self.unsteady += other.unsteady;
        self.unmet.extend(other.unmet);
    }

    /// As the cases are ordered.
    fn sort(&mut self, order: &[String]) {
        self.unmet.sort_by_key(|unmet| order.iter().position(|name| *name == unmet.case));
    }
}

fn render(report: &Report, campaign: &Campaign, format: ReportFormat) -> Result<(String, Verdict)> {
    let clean = [&report.mock, &report.xen].iter().all(|side| side.met == report.cases);
    let text = match format {
        ReportFormat::Text => text(report),
        ReportFormat::Json => campaign.json(serde_json::to_value(report)?)?,
        ReportFormat::Junit => {
            let Cases { cases, .. } = dealt(campaign.shard);
            let suite = |(name, side)| suite(name, &cases, side, &report.unproved);
            junit(&report.sides().map(suite))?
        }
        ReportFormat::Html => html(report, Verdict::of(clean)),
    };
    Ok((text, Verdict::of(clean)))
}

impl Report {
    const fn sides(&self) -> [(&'static str, &Side); 2] {
        [("mock", &self.mock), ("real Xen", &self.xen)]
    }
}

/// Every case on one side; what no lone dom0 can run counts as left out.
fn suite(name: &str, cases: &[Case], side: &Side, unproved: &[Skipped]) -> Suite {
    let ran = cases.iter().map(|case| {
        let unmet = side.unmet.iter().filter(|unmet| unmet.case == case.name);
        let unmet: Vec<String> = unmet.map(|Unmet { title, why, .. }| format!("{title}: {why}")).collect();
        suites::Case::of(&case.name, "case", &unmet)
    });
    let left_out = unproved.iter().map(|Skipped { case, reason }| suites::Case {
        name: case.clone(),
        ending: Ending::NotJudged(reason.clone()),
        took: Duration::ZERO,
    });
    Suite { name: format!("cases on the {name}"), cases: ran.chain(left_out).collect() }
}

fn html(report: &Report, verdict: Verdict) -> String {
    let Report { cases, unproved, .. } = report;
    let met = report.sides().map(|(name, side)| format!("{name}: {} of {cases} met", side.met));
    let facts: Vec<String> = met.into_iter().chain([format!("{} no lone dom0 can run", unproved.len())]).collect();
    let told = |(name, side): (&'static str, &Side)| {
        let told = |Unmet { case, title, why }: &Unmet| (format!("{case} on the {name}"), format!("{title}\n{why}"));
        side.unmet.iter().map(told).collect::<Vec<_>>()
    };
    page::of("the cases", verdict, &facts, &command(), &report.sides().map(told).concat())
}

fn text(report: &Report) -> String {
    let Report { cases, unproved, .. } = report;
    let mut text = String::new();
    for (name, Side { met, unsteady, unmet }) in report.sides() {
        let again = if *unsteady > 0 { format!(", {unsteady} only when asked again") } else { String::new() };
        let _ = writeln!(text, "{name}: {met} of {cases} cases met{again}");
        for Unmet { case, title, why } in unmet {
            let _ = writeln!(text, "  ! {case}: {title}\n      {why}");
        }
    }
    let _ = writeln!(text, "unproved, since no lone dom0 can run them: {}", unproved.len());
    for Skipped { case, reason } in unproved {
        let _ = writeln!(text, "  {case}: {reason}");
    }
    text
}
