//! `pvmmu explore`: every interleaving of a scenario, within its bounds, on this library or on the design
//! that had the bug.

mod arch;
mod course;
mod page;
mod record;
mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use guest_model::{
    Bounds, Exhibit, Fault, Outcome, Policy, Profile, Scenario, Schedule, Seen, catalogue, every_program,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::campaign::merge::Shards;
use crate::campaign::{Campaign, Command, Shard};
use crate::cli::{ReportFormat, command};
use crate::suites::{Suite, junit};
use crate::timeline::perfetto;
use crate::verdict::Verdict;
use record::Record;
use report::Explored;

/// What to explore, and how far. All that decides what is explored is an option of its [`Campaign`].
#[derive(Debug, Args, Serialize)]
pub(crate) struct ExploreArgs {
    /// A scenario or bug by its number, such as S17, B13a, or B13 for all of its kind [default: the list of all]
    name: Option<String>,
    /// Every scenario and bug of the catalogue, each within its own bounds
    #[arg(long, conflicts_with = "name")]
    all: bool,
    /// The design: pv-mmu, linux-2006, linux-2009, linux-2009-native, linux-6.6, linux-7.0, linux-2026,
    /// linux-2026-debug; `historic` for the one that had the bug, `all` for each [default: pv-mmu, and for one bug by its
    /// name also the one that had it]
    #[arg(long)]
    policy: Option<String>,
    /// On an architecture where invalidations or barriers wait, instead of Xen: its name, or `all`; bounded by --deviations alone
    #[arg(long, conflicts_with_all = ["seed", "schedule", "preemptions", "interrupts", "migrations", "hypervisor", "perfetto"])]
    arch: Option<String>,
    /// How many vCPUs there are
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8))]
    vcpus: Option<u32>,
    /// How many tasks there are: the first of the scenario's, or its programs over again
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8))]
    tasks: Option<u32>,
    /// How often a task may be preempted on one way
    #[arg(long)]
    preemptions: Option<u8>,
    /// How often an event may interrupt
    #[arg(long)]
    interrupts: Option<u8>,
    /// How often a task may be moved
    #[arg(long)]
    migrations: Option<u8>,
    /// How often the hypervisor may turn from one vCPU to another
    #[arg(long)]
    hypervisor: Option<u8>,
    /// How many of all these may happen on one way
    #[arg(long)]
    deviations: Option<u8>,
    /// S60 only: how many operations each program may have
    #[arg(long)]
    operations: Option<usize>,
    /// S60 only: regions nest
    #[arg(long)]
    nested: bool,
    /// S60 only: in 36 parts, by what the two programs begin with, each explored for itself: what --shard shares out
    #[arg(long, conflicts_with_all = ["arch", "schedule"])]
    cut: bool,
    /// Ways at random from this seed, past all bounds, instead of every way
    #[arg(long, conflicts_with = "schedule")]
    #[serde(skip)]
    seed: Option<u64>,
    /// How many ways at random
    #[arg(long, default_value_t = 20_000, requires = "seed")]
    ways: u64,
    /// Goes this one way and shows it: a schedule as an exploration prints it, choices by points. A number: so many times
    /// the first choice there is. pN: preempted, task N runs. mN: moved to vCPU N. iN: event N interrupts. hN: the hypervisor runs
    /// vCPU N instead. wN: an idle vCPU takes task N. x: becomes idle. dN: does operation N of its alphabet. s0, s1: in the beginning
    /// one vCPU, or each, has a task. g: goes on
    #[arg(long, requires = "name")]
    schedule: Option<String>,
    /// Writes the way that was found, or gone, to this file, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    perfetto: Option<PathBuf>,
    /// Only this one of N parts, for `pvmmu merge`: the explorations that are asked for, dealt out by turns
    #[arg(long, value_name = "I/N", conflicts_with_all = ["schedule", "perfetto"])]
    #[serde(skip)]
    shard: Option<Shard>,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    #[serde(skip)]
    format: ReportFormat,
}

/// Explores, and renders what was found.
///
/// # Errors
/// An unknown name, a schedule that does not fit, a file that cannot be written, more shards than explorations.
pub(crate) fn run(args: &ExploreArgs) -> Result<(String, Verdict)> {
    if args.name.is_none() && !args.all {
        ensure!(args.shard.is_none(), "a list is not shared out: say what to explore, --all or a name");
        return Ok((report::list(&catalogue()), Verdict::Clean));
    }
    if let Some(name) = &args.arch {
        return arch::run(args, name);
    }
    let mut asked = Vec::new();
    for exhibit in exhibits(args)? {
        asked.extend(policies(args, &exhibit)?.into_iter().map(|policy| (policy, exhibit.scenario.clone())));
    }
    let campaign = campaign(Command::Explore, args)?.of(asked.len());
    let explored = dealt(args, asked)?
        .into_iter()
        .map(|(policy, scenario)| explore(args, policy, scenario))
        .collect::<Result<Vec<Explored>>>()?;
    if let Some(file) = &args.perfetto {
        write_perfetto(file, &explored)?;
    }
    let text = match args.format {
        ReportFormat::Text => report::text(&explored),
        ReportFormat::Json => {
            let records: Vec<_> = explored.iter().map(Explored::record).collect();
            campaign.json(json!({ "scenarios": records }))?
        }
        ReportFormat::Junit => junit(&report::suites(&explored))?,
        ReportFormat::Html => page::of(&explored, &command()),
    };
    Ok((text, Verdict::of(explored.iter().all(|explored| explored.fault.is_none()))))
}

fn campaign(command: Command, args: &ExploreArgs) -> Result<Campaign> {
    Campaign::new(command, args.seed, args, args.shard)
}

/// This shard's part of the explorations that are asked for.
fn dealt<T>(args: &ExploreArgs, asked: Vec<T>) -> Result<Vec<T>> {
    let Some(shard) = args.shard else { return Ok(asked) };
    let (count, of) = (asked.len(), shard.of());
    ensure!(
        count >= of as usize,
        "{count} explorations cannot be shared out among {of}: ask for at most {count} shards, or divide S60 by --cut"
    );
    Ok(shard.deal(asked))
}

/// The explorations of a campaign's shards, as the whole run's.
///
/// # Errors
/// A shard has not its share.
pub(crate) fn merged(shards: &Shards) -> Result<(String, Verdict)> {
    let parts = shards.results::<Scenarios<Record>>()?.into_iter().map(|part| part.scenarios).collect();
    let records = shards.list(parts)?;
    let text = match shards.format {
        ReportFormat::Text => records.iter().map(Record::text).collect::<String>() + &record::sum(records.iter()),
        ReportFormat::Json => shards.campaign.json(json!({ "scenarios": records }))?,
        ReportFormat::Junit => {
            let cases = records.iter().map(|record| record.case("")).collect();
            junit(&[Suite { name: "explore".into(), cases }])?
        }
        ReportFormat::Html => bail!(
            "the ways of a merged exploration are not drawn, only their schedules are kept: ask for text, json or junit, \
             and go a way by `pvmmu explore NAME --policy POLICY --schedule SCHEDULE --format html`"
        ),
    };
    Ok((text, Verdict::of(records.iter().all(|record| record.violations.is_empty()))))
}

/// The same where invalidations wait.
///
/// # Errors
/// A shard has not its share.
pub(crate) fn merged_arch(shards: &Shards) -> Result<(String, Verdict)> {
    arch::merged(shards)
}

/// A result as it is stored.
#[derive(Deserialize)]
struct Scenarios<T> {
    scenarios: Vec<T>,
}

/// What is asked for, within the bounds asked for.
fn exhibits(args: &ExploreArgs) -> Result<Vec<Exhibit>> {
    let mut exhibits = catalogue();
    if let Some(name) = &args.name {
        exhibits.retain(|exhibit| is_named(exhibit.scenario.name, name));
        ensure!(!exhibits.is_empty(), "there is no scenario `{name}`{}", arch::instead(name));
    }
    for exhibit in &mut exhibits {
        exhibit.scenario = Arc::new(narrowed(args, &exhibit.scenario)?);
    }
    if !args.cut {
        return Ok(exhibits);
    }
    let is_s60 = |exhibit: &Exhibit| exhibit.scenario.name == "S60";
    ensure!(exhibits.iter().any(is_s60), "only S60 can be cut: its tasks choose their programs; leave --cut out");
    let parts = |exhibit: &Exhibit| {
        let of = |part| Exhibit { scenario: Arc::new(part), had: exhibit.had };
        exhibit.scenario.parts().into_iter().map(of).collect::<Vec<_>>()
    };
    Ok(exhibits.iter().flat_map(parts).collect())
}

/// Whether the scenario is asked for by this name: its own, or that of a bug which has several, such as B13.
fn is_named(scenario: &str, name: &str) -> bool {
    let is_one = scenario.eq_ignore_ascii_case(name);
    let family = scenario.strip_suffix(|variant: char| variant.is_ascii_lowercase());
    is_one || (scenario.starts_with('B') && family.is_some_and(|family| family.eq_ignore_ascii_case(name)))
}

fn narrowed(args: &ExploreArgs, scenario: &Scenario) -> Result<Scenario> {
    let mut scenario = scenario.clone();
    if let Some(length) = args.operations {
        ensure!(scenario.name == "S60", "only S60 has programs of a length that can be chosen; leave --operations out");
        scenario = every_program(Profile::Strict, length, scenario.bounds);
    }
    if args.nested {
        scenario.profile = Profile::Nested;
    }
    scenario.vcpus = args.vcpus.map_or(scenario.vcpus, |vcpus| vcpus as usize);
    if let Some(tasks) = args.tasks {
        scenario.programs = scenario.programs.iter().cycle().take(tasks as usize).cloned().collect();
    }
    let own = scenario.bounds;
    scenario.bounds = Bounds {
        preemptions: args.preemptions.unwrap_or(own.preemptions),
        interrupts: args.interrupts.unwrap_or(own.interrupts),
        migrations: args.migrations.unwrap_or(own.migrations),
        hypervisor: args.hypervisor.unwrap_or(own.hypervisor),
        deviations: args.deviations.unwrap_or(own.deviations),
        ..own
    };
    Ok(scenario)
}

fn policies(args: &ExploreArgs, exhibit: &Exhibit) -> Result<Vec<Policy>> {
    let historic = exhibit.had.map(|(policy, _)| policy);
    match args.policy.as_deref() {
        None if args.schedule.is_some() => {
            let had = historic.map_or("", Policy::name);
            ensure!(
                had.is_empty(),
                "a schedule is of one design: say --policy pv-mmu, or --policy {had}, which had the bug"
            );
            Ok(vec![Policy::PvMmu])
        }
        None if args.all => Ok(vec![Policy::PvMmu]),
        None => Ok([Policy::PvMmu].into_iter().chain(historic).collect()),
        Some("historic") => Ok(historic.into_iter().collect()),
        Some("all") => Ok(Policy::ALL.to_vec()),
        Some(name) => {
            let policy = Policy::ALL.into_iter().find(|policy| policy.name() == name);
            let names = Policy::ALL.map(Policy::name).join(", ");
            Ok(vec![
                policy
                    .with_context(|| format!("there is no policy `{name}`: it is historic, all or one of {names}"))?,
            ])
        }
    }
}

fn explore(args: &ExploreArgs, policy: Policy, scenario: Arc<Scenario>) -> Result<Explored> {
    let (begun, options) = (Instant::now(), options(args));
    if let Some(schedule) = &args.schedule {
        let schedule: Schedule = schedule.parse()?;
        let (found, moments) = policy.replay(&scenario, &schedule)?;
        let fault = found.map(|found| Fault { found, schedule, moments: moments.clone() });
        let seen = Seen { schedules: 1, ..Seen::default() };
        return Ok(Explored {
            scenario,
            policy,
            seen,
            complete: false,
            fault,
            moments,
            time: begun.elapsed(),
            options,
        });
    }
    let progress = progress(&scenario, policy);
    let observe = |seen: &Seen| {
        progress.set_position(seen.states);
        progress.set_message(format!("{} schedules", seen.schedules));
        true
    };
    let Outcome { seen, complete, fault } = match args.seed {
        Some(seed) => policy.sample(&scenario, seed, args.ways, observe),
        None => policy.explore(&scenario, observe),
    };
    progress.finish_and_clear();
    let moments = fault.as_ref().map(|fault| fault.moments.clone()).unwrap_or_default();
    Ok(Explored { scenario, policy, seen, complete, fault, moments, time: begun.elapsed(), options })
}

/// The options that make a scenario another than the catalogue's. Bounds are none of them: a schedule is gone past all.
fn options(args: &ExploreArgs) -> String {
    let with = |name: &str, value: Option<String>| value.map_or(String::new(), |value| format!(" --{name} {value}"));
    let nested = if args.nested { " --nested" } else { "" };
    with("operations", args.operations.map(|operations| operations.to_string()))
        + nested
        + &with("vcpus", args.vcpus.map(|vcpus| vcpus.to_string()))
        + &with("tasks", args.tasks.map(|tasks| tasks.to_string()))
}

/// How far it is, for a person who waits; nothing where nobody does.
fn progress(scenario: &Scenario, policy: Policy) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_prefix(format!("{} on {}", scenario.name, policy.name()));
    let style = ProgressStyle::with_template("{spinner} {prefix}: {human_pos} states, {per_sec}, {msg} [{elapsed}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn write_perfetto(file: &std::path::Path, explored: &[Explored]) -> Result<()> {
    let shown = explored.iter().find(|explored| !explored.moments.is_empty());
    let shown = shown.context("there is no way to write: nothing was found; go one with --schedule")?;
    std::fs::write(file, perfetto([&course::of(shown)])).with_context(|| format!("cannot write {}", file.display()))
}
