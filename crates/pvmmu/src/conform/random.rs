//! Random programs, on both.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use xen_conform::{ConformReport, Divergence, Settings, conform, named};

use super::{page, with_pair};
use crate::campaign::merge::Shards;
use crate::campaign::{Campaign, Command};
use crate::cli::{ConformArgs, Preempt, ReportFormat, command};
use crate::input::bar;
use crate::style::grouped;
use crate::suites::{Case, Ending, Suite, junit};
use crate::verdict::Verdict;

/// Operations from which on a bar is shown.
const LONG: u64 = 50_000;

/// Runs as many operations of random programs as are asked for; the programs of differences are saved.
///
/// # Errors
/// A shard without a seed; real Xen cannot be had or does not run; a program cannot be saved.
pub(super) fn run(args: &ConformArgs) -> Result<(String, Verdict)> {
    ensure!(
        args.shard.is_none() || args.seed.is_some(),
        "shards of random programs are parts of one run only with one seed: give each of them the same --seed"
    );
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let settings = settings(args, seed);
    let operations = settings.operations.end - settings.operations.start;
    let bar = bar(operations, LONG, "comparing");
    let report = with_pair(|pair| Ok(conform(pair, settings, |done| bar.set_position(done))?))?;
    bar.finish_and_clear();
    let options = Options { ops: args.ops, preempt: args.preempt };
    let campaign = Campaign::new(Command::Conform, Some(seed), &options, args.shard)?;
    render(&report, &campaign, &args.save, args.format)
}

fn settings(args: &ConformArgs, seed: u64) -> Settings {
    let mut settings = Settings::new(args.ops, seed);
    settings.operations = args.shard.map_or(0..args.ops, |shard| shard.stretch(args.ops));
    settings.mode = args.preempt.into();
    settings.jobs = args.jobs.map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    settings
}

/// What decides which programs are run, and how.
#[derive(Serialize, Deserialize)]
struct Options {
    ops: u64,
    preempt: Preempt,
}

/// The reports of a campaign's shards, as the whole run's.
///
/// # Errors
/// What is no report; a program cannot be saved.
pub(super) fn merged(shards: &Shards) -> Result<(String, Verdict)> {
    let mut whole = ConformReport::default();
    shards.results()?.into_iter().for_each(|report| whole.merge(report));
    render(&whole, &shards.campaign, &shards.save, shards.format)
}

/// Saves the programs of differences, and says all that was found.
fn render(
    report: &ConformReport,
    campaign: &Campaign,
    folder: &Path,
    format: ReportFormat,
) -> Result<(String, Verdict)> {
    let options = serde_json::to_value(&campaign.options)?;
    let Options { preempt, .. } = serde_json::from_value(options).context("the campaign's options")?;
    let seed = campaign.seed.context("the campaign names no seed")?;
    let saved = save(&report.divergences, preempt, folder)?;
    let text = match format {
        ReportFormat::Text => text(report, seed, preempt, &saved),
        ReportFormat::Json => campaign.json(json(report, seed, preempt, &saved)?)?,
        ReportFormat::Junit => junit(&[suite(report, seed, preempt)])?,
        ReportFormat::Html => html(report, seed, preempt),
    };
    Ok((text, Verdict::of(report.divergences.is_empty())))
}

fn name(preempt: Preempt) -> String {
    preempt.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Saves the program of each difference and answers with where.
fn save(divergences: &[Divergence], preempt: Preempt, folder: &Path) -> Result<Vec<PathBuf>> {
    let save = |Divergence { seed, number, found, .. }: &Divergence| {
        let preempt = name(preempt);
        let path = folder.join(format!("{seed}-{number}-{preempt}.txt"));
        let text = format!("# rerun with --preempt {preempt}\n{found}");
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("save the program of a difference as {}", path.display()))?;
        Ok(path)
    };
    divergences.iter().map(save).collect()
}

fn text(report: &ConformReport, seed: u64, preempt: Preempt, saved: &[PathBuf]) -> String {
    let ConformReport { ops, programs, boots, unmodelled, unsteady, divergences, outcomes, times, .. } = report;
    let mut text = String::new();
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<12}{value}");
    };
    line("seed", format!("{seed}, preempt {}", name(preempt)));
    line("compared", format!("{} operations in {} programs", grouped(*ops), grouped(*programs)));
    line("real Xen", format!("{} boots, {} operations per second", grouped(*boots), grouped(times.xen_rate(*ops))));
    line("mock", format!("{} operations per second", grouped(times.mock_rate(*ops))));
    line("busy", format!("{unsteady} programs real Xen answered alike only when asked again"));
    for (what, count) in unmodelled {
        line("left out", format!("{count} programs: the mock does not model {what}"));
    }
    let named = named(outcomes);
    line(
        "outcomes",
        format!("{} of {} that are named were reached", named.reached, named.reached + named.missed.len()),
    );
    if !named.missed.is_empty() {
        line("not reached", named.missed.join(", "));
    }
    line("divergences", divergences.len().to_string());
    for (divergence, path) in divergences.iter().zip(saved) {
        let Divergence { number, after, found, .. } = divergence;
        let _ = writeln!(text, "\nprogram {number}, {} operations into the run", grouped(*after));
        let _ = writeln!(text, "{found}saved: pvmmu conform --program {} --preempt {}", path.display(), name(preempt));
    }
    text
}

/// One case for all programs that were answered alike, and one for each that was not.
fn suite(report: &ConformReport, seed: u64, preempt: Preempt) -> Suite {
    let (ops, programs) = (report.ops, report.programs);
    let alike = Case::of(&format!("{ops} operations in {programs} programs ran on both"), "divergence", &[]);
    let differ = report.divergences.iter().map(|Divergence { number, found, .. }| {
        Case::of(&format!("program {number}"), "divergence", &[found.to_string()])
    });
    let left_out = report.unmodelled.iter().map(|(what, count)| Case {
        name: format!("{count} programs with {what}"),
        ending: Ending::NotJudged("the mock does not model it".into()),
        took: Duration::ZERO,
    });
    let cases = [alike].into_iter().chain(differ).chain(left_out).collect();
    Suite { name: format!("seed {seed}, preempt {}", name(preempt)), cases }
}

fn html(report: &ConformReport, seed: u64, preempt: Preempt) -> String {
    let named = named(&report.outcomes);
    let facts = [
        format!("{} operations in {} programs", grouped(report.ops), grouped(report.programs)),
        format!("{} boots of real Xen", grouped(report.boots)),
        format!("{} programs left out", grouped(report.unmodelled.values().sum())),
        format!("{} of {} named outcomes reached", named.reached, named.reached + named.missed.len()),
    ];
    let told = |divergence: &Divergence| (format!("Program {}", divergence.number), divergence.found.to_string());
    let found: Vec<_> = report.divergences.iter().map(told).collect();
    let subject = format!("random programs of seed {seed}, preempt {}", name(preempt));
    page::of(&subject, Verdict::of(found.is_empty()), &facts, &command(), &found)
}

fn json(report: &ConformReport, seed: u64, preempt: Preempt, saved: &[PathBuf]) -> Result<Value> {
    let mut object = serde_json::to_value(report)?;
    let named = named(&report.outcomes);
    object["seed"] = seed.into();
    object["preempt"] = name(preempt).into();
    object["mock_operations_per_second"] = report.times.mock_rate(report.ops).into();
    object["xen_operations_per_second"] = report.times.xen_rate(report.ops).into();
    object["named_outcomes"] = json!({ "reached": named.reached, "missed": named.missed });
    object["saved"] = saved.iter().map(|path| path.display().to_string()).collect();
    Ok(object)
}

#[cfg(test)]
mod tests {
    use mock_xen::Fault;
    use tempfile::TempDir;
    use xen_conform::{Mock, Pair, differences};
    use xen_program::{Case, Mode, Program};

    use super::*;
    use crate::campaign::merge;
    use crate::programs::read;

    /// A difference, made by holding a mock with one rule wrong against a right one.
    fn found() -> ConformReport {
        let pair = Pair { mock: &Mock::planted(Fault::DirtyNotPreserved), xen: &Mock::new() };
        conform(pair, Settings::new(20_000, 7), |_| {}).unwrap()
    }

    #[test]
    fn a_difference_is_small_shown_side_by_side_and_saved_to_be_rerun() {
        let folder = TempDir::new().unwrap();
        let report = found();
        let saved = save(&report.divergences, Preempt::None, folder.path()).unwrap();
        let programs: Vec<Program> = read(&saved[0]).unwrap().iter().map(Case::program).collect();
        assert_eq!(programs, [report.divergences[0].found.program.clone()]);
        assert!(programs[0].operations() <= 3, "{}", programs[0]);
        let again = Pair { mock: &Mock::planted(Fault::DirtyNotPreserved), xen: &Mock::new() };
        assert_eq!(differences(again, Mode::None, &programs).unwrap()[0].1, report.divergences[0].found);
        let text = text(&report, 7, Preempt::None, &saved);
        for part in ["divergences 1\n", "# ! mock: ", "# ! xen:  ", "--program ", "--preempt none"] {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
    }

    /// A shard's difference comes back with its program, saved where the whole run would have saved it.
    #[test]
    fn a_difference_found_by_a_shard_is_in_the_whole() {
        let folder = TempDir::new().unwrap();
        let options = Options { ops: 20_000, preempt: Preempt::None };
        let stored = |(number, report): (u32, ConformReport)| {
            let shard = format!("{number}/2").parse().unwrap();
            let campaign = Campaign::new(Command::Conform, Some(7), &options, Some(shard)).unwrap();
            let (text, _) = render(&report, &campaign, &folder.path().join("shard"), ReportFormat::Json).unwrap();
            let file = folder.path().join(format!("{number}.json"));
            fs::write(&file, text).unwrap();
            file
        };
        let report = found();
        let files: Vec<PathBuf> =
            [(1, ConformReport::default()), (2, report.clone())].into_iter().map(stored).collect();
        let whole = folder.path().join("whole");
        let (text, verdict) = merge::of(files, whole.clone(), ReportFormat::Text).unwrap();
        assert_eq!(verdict, Verdict::Found);
        let saved = fs::read_dir(&whole).unwrap().next().unwrap().unwrap().path();
        assert!(text.contains(&format!("--program {}", saved.display())), "{text}");
        let programs: Vec<Program> = read(&saved).unwrap().iter().map(Case::program).collect();
        assert_eq!(programs, [report.divergences[0].found.program.clone()]);
    }

    #[test]
    fn where_it_cannot_be_saved_that_is_said() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = save(&found().divergences, Preempt::Step, &file).unwrap_err();
        assert!(error.to_string().contains("save the program of a difference"), "{error:#}");
    }
}
