//! `pvmmu explore --arch`: the same scenarios where invalidations wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use arch_model::{Bug, Design, Found, Model, Outcome, bugs};
use guest_model::Scenario;
use maud::html;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{ExploreArgs, Scenarios, campaign, dealt, exhibits};
use crate::campaign::merge::Shards;
use crate::campaign::{Campaign, Command};
use crate::cli::{ReportFormat, command};
use crate::page::{heading, page};
use crate::style::grouped;
use crate::suites::{Case, Ending, Finding, Suite, junit};
use crate::verdict::Verdict;

/// Deviations on one way, unless asked otherwise; S60 chooses its programs besides, and has one.
const DEVIATIONS: usize = 2;

/// One exploration, as it is printed, stored and put together again.
#[derive(Debug, Serialize, Deserialize)]
struct Explored {
    arch: String,
    name: String,
    policy: String,
    schedules: u64,
    bound: Bound,
    complete: bool,
    /// Whether the scenario means anything on the architecture; otherwise it was not run.
    applies: bool,
    refused_preemptions: u64,
    violations: Vec<Violation>,
    seconds: f64,
}

/// How far it went.
#[derive(Debug, Serialize, Deserialize)]
struct Bound {
    deviations: usize,
}

/// What was found, the way to it, and what happened on it.
#[derive(Debug, Serialize, Deserialize)]
struct Violation {
    rule: Option<String>,
    what: String,
    /// Both, in a line.
    finding: String,
    schedule: String,
    log: Vec<String>,
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
    let mut every = Vec::new();
    for model in models {
        for (scenario, designs) in asked(args, model)? {
            every.extend(designs.into_iter().map(|design| (model, design, Arc::clone(&scenario))));
        }
    }
    let campaign = campaign(Command::ExploreArch, args)?.of(every.len());
    let every = dealt(args, every)?.into_iter();
    let explored: Vec<_> = every.map(|(model, design, scenario)| explore(args, model, design, &scenario)).collect();
    render(&explored, &campaign, args.format)
}

/// The explorations of a campaign's shards, as the whole run's.
///
/// # Errors
/// A shard has not its share.
pub(super) fn merged(shards: &Shards) -> Result<(String, Verdict)> {
    let parts = shards.results::<Scenarios<Explored>>()?.into_iter().map(|part| part.scenarios).collect();
    render(&shards.list(parts)?, &shards.campaign, shards.format)
}

fn render(explored: &[Explored], campaign: &Campaign, format: ReportFormat) -> Result<(String, Verdict)> {
    let verdict = Verdict::of(explored.iter().all(|explored| explored.violations.is_empty()));
    let text = match format {
        ReportFormat::Text => text(explored),
        ReportFormat::Json => campaign.json(json!({ "scenarios": explored }))?,
        ReportFormat::Junit => junit(&suites(explored))?,
        ReportFormat::Html => html(explored, verdict),
    };
    Ok((text, verdict))
}

/// Scenarios, and the designs each is run on.
fn asked(args: &ExploreArgs, model: Model) -> Result<Vec<(Arc<Scenario>, Vec<Design>)>> {
    let own: Vec<Bug> = bugs()
        .into_iter()
        .filter(|bug| args.name.as_ref().is_none_or(|name| bug.scenario.name.eq_ignore_ascii_case(name)))
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

/// What to ask for instead of a scenario that Xen has not.
pub(super) fn instead(name: &str) -> String {
    match bugs().iter().any(|bug| bug.scenario.name.eq_ignore_ascii_case(name)) {
        true => " on Xen: it is a bug where invalidations or barriers wait, add --arch all".into(),
        false => ": `pvmmu explore` lists all there are".into(),
    }
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
    let Outcome { schedules, refused_preemptions, applies, found, .. } = model.explore(design, scenario, bound);
    let complete = applies && found.is_none();
    let violation = |(found, schedule, log): (Found, String, Vec<String>)| Violation {
        rule: found.rule.map(|rule| rule.to_string()),
        what: found.what.clone(),
        finding: found.to_string(),
        schedule,
        log,
    };
    Explored {
        arch: model.name().into(),
        name: scenario.name.into(),
        policy: design.name().into(),
        schedules,
        bound: Bound { deviations: bound },
        complete,
        applies,
        refused_preemptions,
        violations: found.into_iter().map(violation).collect(),
        seconds: begun.elapsed().as_secs_f64(),
    }
}

fn text(explored: &[Explored]) -> String {
    let mut text: String = explored.iter().map(Explored::line).collect();
    if let [Explored { violations, .. }] = explored {
        text.extend(violations.iter().flat_map(|violation| &violation.log).map(|line| format!("  {line}\n")));
    }
    let ways = explored.iter().map(|explored| explored.schedules).sum();
    let run = explored.iter().filter(|explored| explored.applies).count();
    text + &format!("{run} explorations, {} ways\n", grouped(ways))
}

impl Explored {
    fn line(&self) -> String {
        let Self { arch, name, policy, schedules, seconds, .. } = self;
        let result = match self.violations.first() {
            _ if !self.applies => "means nothing here".to_owned(),
            None => format!("clean, complete at {} deviations", self.bound.deviations),
            Some(Violation { finding, schedule, .. }) => format!("{finding}; `{schedule}`"),
        };
        let ways = grouped(*schedules);
        format!("{arch:<17}{name:<17}{policy:<17}{ways:>10} ways {seconds:>7.2} s  {result}\n")
    }

    fn case(&self) -> Case {
        let ending = match self.violations.first() {
            _ if !self.applies => Ending::NotJudged("means nothing on this architecture".into()),
            None => Ending::Clean,
            Some(Violation { rule, finding, schedule, log, .. }) => Ending::Found(Finding {
                kind: rule.clone().unwrap_or_else(|| "no end".into()),
                what: finding.clone(),
                detail: format!("schedule {schedule}\n{}", log.join("\n")),
            }),
        };
        let took = Duration::try_from_secs_f64(self.seconds).unwrap_or_default();
        Case { name: format!("{} on {}", self.name, self.policy), ending, took }
    }
}

/// A suite for each architecture.
fn suites(explored: &[Explored]) -> Vec<Suite> {
    let of = |explored: &[Explored]| Suite {
        name: format!("explore {}", explored[0].arch),
        cases: explored.iter().map(Explored::case).collect(),
    };
    explored.chunk_by(|one, next| one.arch == next.arch).map(of).collect()
}

fn html(explored: &[Explored], verdict: Verdict) -> String {
    let found = explored.iter().flat_map(|one| one.violations.iter().map(move |found| (one, found)));
    let ways = explored.iter().map(|explored| explored.schedules).sum();
    let facts = [format!("{} explorations", explored.len()), format!("{} ways", grouped(ways))];
    let body = html! {
        (heading("Every interleaving where invalidations wait", "scenarios on other architectures", verdict, &facts))
        p { code { (command()) } }
        @for (one, violation) in found {
            section {
                h2 { (one.name) " on " (one.policy) ", " (one.arch) }
                div.finding { strong { (violation.finding) } p { "Schedule " code { (violation.schedule) } } }
                pre { (violation.log.join("\n")) }
            }
        }
        section {
            h2 { "What was explored" }
            pre { (text(explored)) }
        }
    };
    page("pvmmu explore --arch", &body)
}
