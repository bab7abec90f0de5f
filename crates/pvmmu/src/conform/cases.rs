//! The cases, on both.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::json;
use xen_conform::{CaseVerdict, Verdict as Answered, cases, run_cases};
use xen_program::text::Unproved;
use xen_program::{Cases, Mode};

use super::with_pair;
use crate::cli::Format;
use crate::verdict::Verdict;

/// Runs every case that a lone dom0 can run on both, and lists the others.
///
/// # Errors
/// Real Xen cannot be had or does not run.
pub(super) fn run(format: Format) -> Result<(String, Verdict)> {
    let Cases { cases, unproved } = cases();
    let [mock, xen] = with_pair(|pair| {
        let run = |executor| run_cases(executor, Mode::None, cases.clone());
        Ok([run(pair.mock)?, run(pair.xen)?])
    })?;
    let clean = mock.iter().chain(&xen).all(|case| case.verdict == Answered::Met);
    let text = match format {
        Format::Text => text(&mock, &xen, &unproved),
        Format::Json => json(&mock, &xen, &unproved),
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
