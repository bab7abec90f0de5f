//! The cases, on both.

use std::fmt::Write as _;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;
use xen_conform::{CaseVerdict, Executor, Verdict as Answered, cases, run_cases};
use xen_program::text::Unproved;
use xen_program::{Case, Cases, Mode};

use super::with_pair;
use crate::campaign::merge::Shards;
use crate::campaign::{Campaign, Command, Shard};
use crate::cli::{ConformArgs, Format};
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
    let unmet = verdicts.into_iter().filter_map(|CaseVerdict { case, verdict, .. }| match verdict {
        Answered::Unmet(why) | Answered::Unmodelled(why) => Some(Unmet { case: case.name, title: case.title, why }),
        _ => None,
    });
    Ok(Side { met, unmet: unmet.collect() })
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
        self.unmet.extend(other.unmet);
    }

    /// As the cases are ordered.
    fn sort(&mut self, order: &[String]) {
        self.unmet.sort_by_key(|unmet| order.iter().position(|name| *name == unmet.case));
    }
}

fn render(report: &Report, campaign: &Campaign, format: Format) -> Result<(String, Verdict)> {
    let clean = [&report.mock, &report.xen].iter().all(|side| side.met == report.cases);
    let text = match format {
        Format::Text => text(report),
        Format::Json => campaign.json(serde_json::to_value(report)?)?,
    };
    Ok((text, Verdict::of(clean)))
}

fn text(Report { cases, mock, xen, unproved }: &Report) -> String {
    let mut text = String::new();
    for (name, Side { met, unmet }) in [("mock", mock), ("real Xen", xen)] {
        let _ = writeln!(text, "{name}: {met} of {cases} cases met");
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
