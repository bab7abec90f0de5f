//! `pvmmu replay`: recorded page-table work, led through a batcher.
//!
//! Data flows one way: events, requests, frames, steps; then, for each policy, a guest of its own on the mock, a referee
//! beside it, and an outcome. Nothing is rendered before everything has been computed.

mod books;
mod bracket;
mod cause;
mod course;
mod end;
mod error;
mod extract;
mod frames;
mod infer;
mod lazy;
mod ledger;
mod limits;
mod page;
mod policy;
mod ported;
mod program;
mod recorded;
mod report;
mod request;
mod stage;
mod suite;
mod sync_points;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod world;
mod xen;

use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use mmu_trace::{BUNDLED, Event, EventReader, ReadError, Summary};

use crate::cli::{Mode, On, PolicyName, ReplayArgs, ReportFormat};
use crate::input;
use crate::suites::junit;
use crate::timeline::{self, Recorder};
use crate::verdict::Verdict;
use error::ReplayError;
use frames::Frames;
use policy::{Kernel, Linux, PvMmu, Single};
use ported::{Gains, ported};
use program::{Program, Step};
use report::{Outcome, Subject};
use stage::{Led, Stage};
use world::Tables;

/// The columns of the comparison.
const COMPARED: [(PolicyName, Mode); 3] =
    [(PolicyName::Linux, Mode::AsRecorded), (PolicyName::PvMmu, Mode::AsRecorded), (PolicyName::PvMmu, Mode::Ported)];

/// Steps, over all replays of a run, before which a bar could not be seen.
const LONG: u64 = 1_000_000;

/// Replays a trace, and renders what came of it.
///
/// # Errors
/// A trace that cannot be read or followed; nothing has been rendered then.
pub(crate) fn run(args: &ReplayArgs) -> Result<(String, Verdict)> {
    let ReplayArgs { trace, policy, mode, format, on, perfetto } = args;
    let is_xen = *on == On::Xen;
    ensure!(
        !is_xen || policy.is_none_or(|policy| policy == PolicyName::PvMmu),
        "on the real Xen only `pv-mmu` is led: leave `--policy` out, or `--on`"
    );
    let replay = match trace {
        Some(path) => from(path).with_context(|| path.display().to_string())?,
        None => Replay::prepare(BUNDLED[0].name, BUNDLED[0].gzip)?,
    };
    let wanted = (policy.unwrap_or_default(), mode.unwrap_or_default());
    let columns = match format {
        ReportFormat::Json => &[wanted],
        _ if is_xen && mode.is_none() => &COMPARED[1..],
        _ if policy.is_none() && mode.is_none() => COMPARED.as_slice(),
        _ => &[wanted],
    };
    let outcomes = if is_xen { replay.on_xen(columns) } else { replay.outcomes(columns).map_err(Into::into) };
    let mut outcomes = outcomes.with_context(|| replay.subject.name.clone())?;
    if perfetto.is_some() || *format == ReportFormat::Html {
        outcomes.iter_mut().for_each(page::dress);
    }
    if let Some(file) = perfetto {
        write_perfetto(file, &replay.subject, &outcomes)?;
    }
    let clean = outcomes.iter().all(Outcome::is_clean);
    let text = match (format, outcomes.as_slice()) {
        // On Xen, the column on the mock comes before.
        (ReportFormat::Json, [.., outcome]) => report::json(&replay.subject, outcome)?,
        (ReportFormat::Junit, outcomes) => junit(&[suite::of(&replay.subject, outcomes)])?,
        (ReportFormat::Html, outcomes) => page::of(&replay.subject, outcomes),
        _ => table::table(&replay.subject, &outcomes),
    };
    Ok((text, Verdict::of(clean)))
}

fn write_perfetto(file: &Path, subject: &Subject, outcomes: &[Outcome]) -> Result<()> {
    let courses = outcomes.iter().filter_map(|outcome| outcome.course.as_ref());
    let trace = timeline::perfetto([&subject.course].into_iter().chain(courses));
    std::fs::write(file, trace).with_context(|| format!("cannot write {}", file.display()))
}

fn from(path: &Path) -> Result<Replay> {
    Replay::prepare(&path.display().to_string(), input::file(path)?)
}

/// A trace, ready to be led through.
struct Replay {
    subject: Subject,
    frames: Frames,
    steps: Vec<Step>,
    ported: (Vec<Step>, Gains),
}

impl Replay {
    fn prepare(name: &str, input: impl Read) -> Result<Self> {
        let (events, summary) = read(input)?;
        input::not_blank(&summary)?;
        Ok(Self::of(name, &events, &summary)?)
    }

    fn of(name: &str, events: &[Event], summary: &Summary) -> Result<Self, ReplayError> {
        books::add_up(events)?;
        let requests = extract::requests(events)?;
        let frames = Frames::learn(&requests)?;
        let Program { steps, inferred, prot_starts } = infer::program(&requests, &frames);
        let (mut trace, recorded) = recorded::count(events, &requests);
        books::accounts_for(trace.pte_writes, &requests)?;
        (trace.lines, trace.events, trace.unknown_lines) = (summary.lines, summary.entries(), summary.unknown_lines);
        let mut recorder = Recorder::new();
        events.iter().for_each(|event| recorder.event(event));
        let course = recorder.finish(events.last().map_or(0, |event| event.line));
        let sync_points = sync_points::sync_points(&requests);
        let subject = Subject { name: name.into(), trace, recorded, sync_points, inferred, prot_starts, course };
        let ported = ported(steps.clone());
        Ok(Self { subject, frames, steps, ported })
    }

    fn outcomes(&self, columns: &[(PolicyName, Mode)]) -> Result<Vec<Outcome>, ReplayError> {
        let bar = input::bar((self.steps.len() * (columns.len() + 1)) as u64, LONG, "replaying");
        let tick = || bar.inc(1);
        let unbatched = self.lead(PolicyName::Single, Mode::AsRecorded, tick)?.tables;
        columns
            .iter()
            .map(|(policy, mode)| Ok(self.outcome(*policy, *mode, self.lead(*policy, *mode, tick)?, &unbatched)))
            .collect()
    }

    /// The library in these modes, on the mock and on the real Xen.
    fn on_xen(&self, columns: &[(PolicyName, Mode)]) -> Result<Vec<Outcome>> {
        let lab = xen_lab::Lab::find().context("the real Xen cannot be had")?;
        let unbatched = self.lead(PolicyName::Single, Mode::AsRecorded, || {})?;
        let mut outcomes = Vec::new();
        for (policy, mode) in columns {
            let mock = self.lead(*policy, *mode, || {})?;
            let list = xen::List::of(&self.frames, self.steps(*mode))?;
            let mut real = list.lead(&lab)?.outcome(self.steps(*mode), *mode, &mock, &unbatched.end)?;
            let mock = self.outcome(*policy, *mode, mock, &unbatched.tables);
            real.gains = mock.gains;
            outcomes.extend([mock, real]);
        }
        Ok(outcomes)
    }

    /// Leads a policy through the trace, on a guest of its own.
    fn lead(&self, policy: PolicyName, mode: Mode, tick: impl FnMut()) -> Result<Led, ReplayError> {
        let stage = Stage::new(&self.frames)?;
        let steps = self.steps(mode);
        let vcpus: Vec<_> = stage.vcpus();
        Ok(match policy {
            PolicyName::Linux => stage.lead(steps, &mut Linux::new(vcpus), tick),
            PolicyName::Single => stage.lead(steps, &mut Single::new(vcpus), tick),
            PolicyName::PvMmu => stage.lead(steps, &mut PvMmu::new(&Kernel::new(vcpus, stage.world())), tick),
        })
    }

    fn steps(&self, mode: Mode) -> &[Step] {
        match mode {
            Mode::AsRecorded => &self.steps,
            Mode::Ported => &self.ported.0,
        }
    }

    fn outcome(&self, policy: PolicyName, mode: Mode, led: Led, unbatched: &Tables) -> Outcome {
        let Led { ledger, updates_merged, violations, violations_total, oracle, tables, course, .. } = led;
        Outcome {
            policy,
            mode,
            beside_mock: None,
            by_cause: ledger.by_cause,
            updates_issued: ledger.updates_issued,
            updates_merged,
            largest_batch: ledger.sizes.largest(),
            sizes: Some(ledger.sizes),
            course: Some(course),
            violations,
            violations_total,
            refused: ledger.refused,
            oracle,
            final_state_matches_unbatched: tables == *unbatched,
            gains: (mode == Mode::Ported).then_some(self.ported.1),
        }
    }
}

fn read(input: impl Read) -> Result<(Vec<Event>, Summary), ReadError> {
    let mut reader = EventReader::new(input)?;
    let events = reader.by_ref().collect::<Result<_, _>>()?;
    Ok((events, reader.summary().clone()))
}
