//! The cases, on both.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use xen_conform::{CaseVerdict, Verdict as Answered, cases, run_cases};
use xen_program::text::Unproved;
use xen_program::{Cases, Mode};

use super::{page, with_pair};
use crate::cli::{ReportFormat, command};
use crate::suites::{Case, Ending, Suite, junit};
use crate::verdict::Verdict;

/// Runs every case that a lone dom0 can run on both, and lists the others.
///
/// # Errors
/// Real Xen cannot be had or does not run.
pub(super) fn run(format: ReportFormat) -> Result<(String, Verdict)> {
    let Cases { cases, unproved } = cases();
    let [mock, xen] = with_pair(|pair| {
        let run = |executor| run_cases(executor, Mode::None, cases.clone());
        Ok([run(pair.mock)?, run(pair.xen)?])
    })?;
    let clean = mock.iter().chain(&xen).all(|case| case.verdict == Answered::Met);
    let text = match format {
        ReportFormat::Text => text(&mock, &xen, &unproved),
        ReportFormat::Json => json(&mock, &xen, &unproved),
        ReportFormat::Junit => junit(&[suite("mock", &mock, &unproved), suite("real Xen", &xen, &unproved)])?,
        ReportFormat::Html => html(&mock, &xen, &unproved),
    };
    Ok((text, Verdict::of(clean)))
}

fn met(verdicts: &[CaseVerdict]) -> usize {
    verdicts.iter().filter(|case| case.verdict == Answered::Met).count()
}

/// Those that were not met: name, title, reason.
fn unmet(verdicts: &[CaseVerdict]) -> impl Iterator<Item = (&str, &str, &str)> {
    verdicts.iter().filter_map(|CaseVerdict { case, verdict, .. }| match verdict {
        Answered::Unmet(why) | Answered::Unmodelled(why) => {
            Some((case.name.as_str(), case.title.as_str(), why.as_str()))
        }
        _ => None,
    })
}

fn text(mock: &[CaseVerdict], xen: &[CaseVerdict], unproved: &[Unproved]) -> String {
    let mut text = String::new();
    for (name, verdicts) in [("mock", mock), ("real Xen", xen)] {
        let _ = writeln!(text, "{name}: {} of {} cases met", met(verdicts), verdicts.len());
        for (name, title, why) in unmet(verdicts) {
            let _ = writeln!(text, "  ! {name}: {title}\n      {why}");
        }
    }
    let _ = writeln!(text, "unproved, since no lone dom0 can run them: {}", unproved.len());
    for Unproved { name, reason } in unproved {
        let _ = writeln!(text, "  {name}: {reason}");
    }
    text
}

/// Every case on one side; what no lone dom0 can run counts as left out.
fn suite(side: &str, verdicts: &[CaseVerdict], unproved: &[Unproved]) -> Suite {
    let ran = verdicts.iter().map(|verdict| {
        let unmet: Vec<String> =
            unmet(std::slice::from_ref(verdict)).map(|(_, title, why)| format!("{title}: {why}")).collect();
        Case::of(&verdict.case.name, "case", &unmet)
    });
    let left_out = unproved.iter().map(|Unproved { name, reason }| Case {
        name: name.clone(),
        ending: Ending::NotJudged(reason.clone()),
        took: Duration::ZERO,
    });
    Suite { name: format!("cases on the {side}"), cases: ran.chain(left_out).collect() }
}

fn html(mock: &[CaseVerdict], xen: &[CaseVerdict], unproved: &[Unproved]) -> String {
    let side = |name: &str, verdicts: &[CaseVerdict]| format!("{name}: {} of {} met", met(verdicts), verdicts.len());
    let facts = [side("mock", mock), side("real Xen", xen), format!("{} no lone dom0 can run", unproved.len())];
    let of = |side: &'static str, verdicts| {
        let told = move |(name, title, why)| (format!("{name} on the {side}"), format!("{title}\n{why}"));
        unmet(verdicts).map(told).collect::<Vec<_>>()
    };
    let found = [of("mock", mock), of("real Xen", xen)].concat();
    page::of("the cases", Verdict::of(found.is_empty()), &facts, &command(), &found)
}

fn json(mock: &[CaseVerdict], xen: &[CaseVerdict], unproved: &[Unproved]) -> String {
    let side = |verdicts: &[CaseVerdict]| {
        let unmet = unmet(verdicts).map(|(name, title, why)| json!({ "case": name, "title": title, "why": why }));
        json!({ "met": met(verdicts), "unmet": unmet.collect::<Vec<_>>() })
    };
    let unproved = unproved.iter().map(|Unproved { name, reason }| json!({ "case": name, "reason": reason }));
    let object = json!({
        "cases": mock.len(),
        "mock": side(mock),
        "xen": side(xen),
        "unproved": unproved.collect::<Vec<_>>(),
    });
    format!("{object:#}\n")
}
