//! The comparison at large: as many random programs as are asked for, on both.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde::{Deserialize, Serialize};
use xen_program::{Mode, Program};

use crate::compare::{Compared, Difference, Pair, Times, compare};
use crate::generate;
use crate::running::RunningError;
use crate::shrink::shrink;
use crate::table::Outcomes;

/// Operations of one batch, which is one boot of real Xen: enough that booting is a small part, few
/// enough that several workers have something to do.
const BATCH: Range<u64> = 4_000..60_000;

/// What is asked for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// Which operations of the run, counted before programs that the mock does not model are left out: the
    /// programs whose first is among them, whole. Ranges that meet end to end have no program in common and
    /// leave none out.
    pub operations: Range<u64>,
    /// Determines the programs.
    pub seed: u64,
    /// How calls are interrupted.
    pub mode: Mode,
    /// Boots of real Xen at once.
    pub jobs: usize,
    /// Differences after which no further batch is begun.
    pub enough: usize,
    /// Whether the program of a difference is made as small as can be, which takes some boots.
    pub smallest: bool,
}

impl Settings {
    /// This many operations of the programs that belong to `seed`, uninterrupted, one boot at a time,
    /// until one difference is found.
    #[must_use]
    pub const fn new(operations: u64, seed: u64) -> Self {
        Self { operations: 0..operations, seed, mode: Mode::None, jobs: 1, enough: 1, smallest: true }
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConformReport {
    /// Operations of all programs compared.
    pub ops: u64,
    /// Programs compared.
    pub programs: u64,
    /// Times real Xen was booted.
    pub boots: u64,
    /// Programs that were not compared because the mock does not model something in them, by what.
    pub unmodelled: BTreeMap<String, u64>,
    /// Programs that real Xen answered differently at first and as the mock when asked again.
    pub unsteady: u64,
    /// The differences, shrunk.
    pub divergences: Vec<Divergence>,
    /// Which operations came to which outcomes.
    pub outcomes: Outcomes,
    /// How long it took.
    #[serde(flatten)]
    pub times: Times,
}

/// A difference and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Divergence {
    /// The seed of the run.
    pub seed: u64,
    /// The program's number in it.
    pub number: u64,
    /// Operations of the run up to and with that program.
    pub after: u64,
    /// The smallest program found that shows a difference.
    pub found: Difference,
}

/// What the two answer differently to these programs, each with its place; nothing is made smaller.
///
/// # Errors
/// Where an executor fails for another reason than a program.
pub fn differences(pair: Pair<'_>, mode: Mode, programs: &[Program]) -> Result<Vec<(usize, Difference)>, RunningError> {
    Ok(compare(pair, mode, programs)?.differences)
}

/// The program with this number in the run with this seed.
#[must_use]
pub fn program(seed: u64, number: u64) -> Program {
    let mixed = (seed ^ number.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    generate::program(mixed ^ mixed >> 29 ^ number)
}

/// Compares the two on random programs.
///
/// `progress` is told the operations compared so far whenever a batch is through.
///
/// # Errors
/// Where an executor fails for another reason than a program.
pub fn conform(
    pair: Pair<'_>,
    settings: Settings,
    progress: impl Fn(u64) + Sync,
) -> Result<ConformReport, RunningError> {
    let batches = plan(&settings);
    let (jobs, enough) = (settings.jobs.max(1), settings.enough);
    let work = Work { pair, settings, batches: &batches, next: AtomicUsize::new(0), stop: AtomicBool::new(false) };
    let report = Mutex::new(ConformReport::default());
    let worker = || -> Result<(), RunningError> {
        while let Some(batch) = work.take() {
            let (compared, divergences) = work.run(batch)?;
            let mut report = report.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            report.take_in(compared, divergences);
            if report.divergences.len() >= enough {
                work.stop.store(true, Ordering::SeqCst);
            }
            progress(report.ops);
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    let mut report = report.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    report.divergences.sort_by_key(|divergence| divergence.number);
    Ok(report)
}

/// Consecutive programs.
#[derive(Clone, Debug)]
struct Batch {
    numbers: Range<u64>,
    /// Operations of the run before them.
    before: u64,
}

/// Divides the programs that make up the operations asked for into batches. What they are does not
/// depend on who takes which.
fn plan(settings: &Settings) -> Vec<Batch> {
    let Range { start, end } = settings.operations;
    let share = end.saturating_sub(start) / (2 * settings.jobs.max(1) as u64);
    let most = share.clamp(BATCH.start, BATCH.end);
    let mut batches: Vec<Batch> = Vec::new();
    let (mut number, mut before, mut full) = (0, 0, start);
    while before < end {
        if before >= full {
            batches.push(Batch { numbers: number..number, before });
            full = before + most;
        }
        before += program(settings.seed, number).operations() as u64;
        number += 1;
        if let Some(batch) = batches.last_mut() {
            batch.numbers.end = number;
        }
    }
    batches
}

/// What workers share.
struct Work<'a> {
    pair: Pair<'a>,
    settings: Settings,
    batches: &'a [Batch],
    next: AtomicUsize,
    stop: AtomicBool,
}

impl Work<'_> {
    fn take(&self) -> Option<&Batch> {
        if self.stop.load(Ordering::SeqCst) {
            return None;
        }
        self.batches.get(self.next.fetch_add(1, Ordering::SeqCst))
    }

    fn run(&self, batch: &Batch) -> Result<(Compared, Vec<Divergence>), RunningError> {
        let Settings { seed, mode, enough, smallest, .. } = self.settings;
        let programs: Vec<Program> = batch.numbers.clone().map(|number| program(seed, number)).collect();
        let mut compared = compare(self.pair, mode, &programs)?;
        let mut divergences = Vec::new();
        for (place, difference) in std::mem::take(&mut compared.differences).into_iter().take(enough) {
            let (found, boots) = if smallest { shrink(self.pair, mode, difference)? } else { (difference, 0) };
            compared.boots += boots;
            let operations: u64 = programs[..=place].iter().map(|program| program.operations() as u64).sum();
            let number = batch.numbers.start + place as u64;
            divergences.push(Divergence { seed, number, after: batch.before + operations, found });
        }
        Ok((compared, divergences))
    }
}

impl ConformReport {
    /// Adds what another part of the run came to.
    pub fn merge(&mut self, other: Self) {
        self.ops += other.ops;
        self.programs += other.programs;
        self.boots += other.boots;
        self.unsteady += other.unsteady;
        self.times += other.times;
        for (what, programs) in other.unmodelled {
            *self.unmodelled.entry(what).or_default() += programs;
        }
        self.outcomes.merge(&other.outcomes);
        self.divergences.extend(other.divergences);
        self.divergences.sort_by_key(|divergence| divergence.number);
    }

    fn take_in(&mut self, compared: Compared, divergences: Vec<Divergence>) {
        self.ops += compared.operations;
        self.programs += compared.programs;
        self.boots += compared.boots;
        self.unsteady += compared.unsteady;
        self.times += compared.times;
        for what in compared.unmodelled {
            *self.unmodelled.entry(what).or_default() += 1;
        }
        self.outcomes.merge(&compared.outcomes);
        self.divergences.extend(divergences);
    }
}

#[cfg(test)]
mod tests {
    use mock_xen::Fault;

    use super::*;
    use crate::Mock;

    /// What the mock comes to on a part of the run with seed 7, compared with itself.
    fn part(operations: Range<u64>) -> ConformReport {
        let pair = Pair { mock: &Mock::new(), xen: &Mock::new() };
        let settings = Settings { operations, jobs: 2, ..Settings::new(0, 7) };
        let report = conform(pair, settings, |_| {}).unwrap();
        ConformReport { boots: 0, times: Times::default(), ..report }
    }

    fn numbers(operations: Range<u64>) -> Vec<u64> {
        plan(&Settings { operations, jobs: 3, ..Settings::new(0, 7) })
            .into_iter()
            .flat_map(|batch| batch.numbers)
            .collect()
    }

    #[test]
    fn parts_of_a_run_are_the_run() {
        let whole = numbers(0..8_000);
        for ends in [vec![0, 8_000], vec![0, 1, 2, 3, 2_666, 5_333, 8_000], (0..=8_000).step_by(2_000).collect()] {
            let parts = ends.windows(2).flat_map(|ends| numbers(ends[0]..ends[1]));
            assert_eq!(parts.collect::<Vec<_>>(), whole);
        }
    }

    #[test]
    fn the_reports_of_parts_add_up_to_the_whole() {
        let mut merged = part(2_000..3_000);
        merged.merge(part(0..2_000));
        let whole = part(0..3_000);
        assert!(whole.programs > 20 && whole.outcomes.get("mmu_update", "ok") > 10, "{whole:?}");
        assert_eq!(merged, whole);
    }

    #[test]
    fn a_report_with_a_difference_reads_as_it_is_written() {
        let pair = Pair { mock: &Mock::planted(Fault::DirtyNotPreserved), xen: &Mock::new() };
        let mut report = conform(pair, Settings::new(20_000, 7), |_| {}).unwrap();
        report.times = Times::default();
        assert_eq!(report.divergences.len(), 1);
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<ConformReport>(&text).unwrap(), report);
        let cut = text.replace("\"program\":\"", "\"program\":\"nothing(");
        assert!(serde_json::from_str::<ConformReport>(&cut).is_err());
    }
}
