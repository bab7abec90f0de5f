//! `pvmmu explore --arch`: the same scenarios where invalidations wait.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use arch_model::{Bug, Design, Model, Outcome, bugs};
use guest_model::Scenario;
use maud::html;
use serde_json::json;

use super::{ExploreArgs, exhibits};
use crate::cli::{ReportFormat, command};
use crate::page::{heading, page};
use crate::style::grouped;
use crate::suites::{Case, Ending, Finding, Suite, junit};
use crate::verdict::Verdict;

/// Deviations on one way, unless asked otherwise; S60 chooses its programs besides, and has one.
const DEVIATIONS: usize = 2;

/// One exploration.
struct Explored {
    model: Model,
    design: Design,
    scenario: Arc<Scenario>,
    bound: usize,
    outcome: Outcome,
    took: Duration,
}

/// Explores, and renders what was found.
///
/// # Errors
/// An unknown architecture, scenario or policy.
pub(super) fn run(args: &ExploreArgs, arch: &str) -> Result<(String, Verdict)> {
    let models: Vec<_> = Model::ALL.iter().copied().filter(|model| arch == "all" || model.name() == arch).collect();
    if models.is_empty() {
        let known: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
        bail!(
            "there is no architecture `{arch}`: there are all, {}; without --arch it is x86-64 on Xen",
            known.join(", ")
        );
    }
    let mut explored = Vec::new();
    for model in models {
        for (scenario, designs) in asked(args, model)? {
            explored.extend(designs.into_iter().map(|design| explore(args, model, design, &scenario)));
        }
    }
    let verdict = Verdict::of(explored.iter().all(|explored| explored.outcome.found.is_none()));
    let text = match args.format {
        ReportFormat::Text => text(&explored),
        ReportFormat::Json => serde_json::to_string_pretty(&json(&explored))? + "\n",
        ReportFormat::Junit => junit(&suites(&explored))?,
        ReportFormat::Html => html(&explored, verdict),
    };
    Ok((text, verdict))
}

/// Scenarios, and the designs each is run on.
fn asked(args: &ExploreArgs, model: Model) -> Result<Vec<(Arc<Scenario>, Vec<Design>)>> {
    let own: Vec<Bug> = bugs()
        .into_iter()
        .filter(|bug| args.name.as_ref().is_none_or(|name| bug.scenario.name == name.as_str()))
        .collect();
    let others = if args.name.is_some() && !own.is_empty() { Vec::new() } else { exhibits(args)? };
    let mut asked = Vec::new();
    for bug in &own {
        let mut designs = policies(args, model)?;
        if args.policy.is_none() && args.name.is_some() {
            designs.extend(bug.had_on(model));
        }
        asked.push((Arc::clone(&bug.scenario), designs));
    }
    for exhibit in others.into_iter().filter(|exhibit| own.iter().all(|bug| bug.scenario.name != exhibit.scenario.name))
    {
        asked.push((exhibit.scenario, policies(args, model)?));
    }
    Ok(asked)
}

fn policies(args: &ExploreArgs, model: Model) -> Result<Vec<Design>> {
    let designs = || Design::ALL.into_iter().filter(|design| design.is_for(model.preemption()));
    match args.policy.as_deref() {
        None => Ok(vec![Design::PvMmu]),
        Some("all") => Ok(designs().collect()),
        Some(name) => match designs().find(|design| design.name() == name) {
            Some(design) => Ok(vec![design]),
            None => {
                let known: Vec<_> = designs().map(Design::name).collect();
                bail!("there is no policy `{name}` on {}: there are all, {}", model.name(), known.join(", "))
            }
        },
    }
}

fn explore(args: &ExploreArgs, model: Model, design: Design, scenario: &Arc<Scenario>) -> Explored {
    let own = if scenario.name == "S60" { 1 } else { DEVIATIONS };
    let (bound, begun) = (args.deviations.map_or(own, usize::from), Instant::now());
    let outcome = model.explore(design, scenario, bound);
    Explored { model, design, scenario: Arc::clone(scenario), bound, outcome, took: begun.elapsed() }
}

fn text(explored: &[Explored]) -> String {
    let mut text = String::new();
    for Explored { model, design, scenario, bound, outcome, took } in explored {
        let result = match &outcome.found {
            _ if !outcome.applies => "means nothing here".to_owned(),
            None => format!("clean, complete at {bound} deviations"),
            Some((found, schedule, _)) => format!("{found}; `{schedule}`"),
        };
        let _infallible = writeln!(
            text,
            "{:<17}{:<17}{:<17}{:>10} ways {:>7.2} s  {result}",
            model.name(),
            scenario.name,
            design.name(),
            grouped(outcome.schedules),
            took.as_secs_f64(),
        );
    }
    if let [Explored { outcome: Outcome { found: Some((.., log)), .. }, .. }] = explored {
        text += &log.iter().map(|line| format!("  {line}\n")).collect::<String>();
    }
    let ways = explored.iter().map(|explored| explored.outcome.schedules).sum();
    let run = explored.iter().filter(|explored| explored.outcome.applies).count();
    text + &format!("{run} explorations, {} ways\n", grouped(ways))
}

/// A suite for each architecture.
fn suites(explored: &[Explored]) -> Vec<Suite> {
    let of = |explored: &[Explored]| Suite {
        name: format!("explore {}", explored[0].model.name()),
        cases: explored.iter().map(Explored::case).collect(),
    };
    explored.chunk_by(|one, next| one.model.name() == next.model.name()).map(of).collect()
}

impl Explored {
    fn case(&self) -> Case {
        let ending = match &self.outcome.found {
            _ if !self.outcome.applies => Ending::NotJudged("means nothing on this architecture".into()),
            None => Ending::Clean,
            Some((found, schedule, log)) => Ending::Found(Finding {
                kind: found.rule.map_or_else(|| "no end".into(), |rule| rule.to_string()),
                what: found.to_string(),
                detail: format!("schedule {schedule}\n{}", log.join("\n")),
            }),
        };
        Case { name: format!("{} on {}", self.scenario.name, self.design.name()), ending, took: self.took }
    }
}

fn html(explored: &[Explored], verdict: Verdict) -> String {
    let found = explored.iter().filter_map(|one| one.outcome.found.as_ref().map(|found| (one, found)));
    let ways = explored.iter().map(|explored| explored.outcome.schedules).sum();
    let facts = [format!("{} explorations", explored.len()), format!("{} ways", grouped(ways))];
    let body = html! {
        (heading("Every interleaving where invalidations wait", "scenarios on other architectures", verdict, &facts))
        p { code { (command()) } }
        @for (one, (found, schedule, log)) in found {
            section {
                h2 { (one.scenario.name) " on " (one.design.name()) ", " (one.model.name()) }
                div.finding { strong { (found) } p { "Schedule " code { (schedule) } } }
                pre { (log.join("\n")) }
            }
        }
        section {
            h2 { "What was explored" }
            pre { (text(explored)) }
        }
    };
    page("pvmmu explore --arch", &body)
}

fn json(explored: &[Explored]) -> serde_json::Value {
    let scenario = |explored: &Explored| {
        let violations: Vec<_> = explored
            .outcome
            .found
            .iter()
            .map(|(found, schedule, log)| {
                json!({ "rule": found.rule.map(|rule| rule.to_string()), "what": found.what, "schedule": schedule, "log": log })
            })
            .collect();
        json!({
            "arch": explored.model.name(),
            "name": explored.scenario.name,
            "policy": explored.design.name(),
            "schedules": explored.outcome.schedules,
            "bound": { "deviations": explored.bound },
            "complete": explored.outcome.applies && explored.outcome.found.is_none(),
            "applies": explored.outcome.applies,
            "refused_preemptions": explored.outcome.refused_preemptions,
            "violations": violations,
        })
    };
    json!({ "scenarios": explored.iter().map(scenario).collect::<Vec<_>>() })
}
