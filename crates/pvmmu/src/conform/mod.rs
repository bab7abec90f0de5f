//! `pvmmu conform`: the mock held against real Xen.

mod cases;
mod page;
mod programs;
mod random;

use anyhow::{Context, Result};
use xen_conform::{Mock, Pair, Xen};
use xen_lab::Lab;

use crate::campaign::merge::Shards;
use crate::cli::ConformArgs;
use crate::verdict::Verdict;

/// Runs what is asked for on both and renders how they differ.
///
/// # Errors
/// A file cannot be read or written; real Xen cannot be had or does not run.
pub(crate) fn run(args: &ConformArgs) -> Result<(String, Verdict)> {
    if args.cases {
        cases::run(args)
    } else if let Some(path) = &args.program {
        programs::run(path, args.preempt.into(), args.format)
    } else {
        random::run(args)
    }
}

/// The reports of shards of random programs, as the whole run's.
///
/// # Errors
/// What is no report; a program cannot be saved.
pub(crate) fn merged(shards: &Shards) -> Result<(String, Verdict)> {
    random::merged(shards)
}

/// The reports of shards of the cases, as the whole run's.
///
/// # Errors
/// What is no report, or not a shard's share.
pub(crate) fn merged_cases(shards: &Shards) -> Result<(String, Verdict)> {
    cases::merged(shards)
}

/// Runs `work` with the mock and real Xen.
///
/// # Errors
/// Real Xen cannot be had; those of `work`.
fn with_pair<T>(work: impl FnOnce(Pair<'_>) -> Result<T>) -> Result<T> {
    let lab = Lab::find().context("there is nothing to hold the mock against")?;
    work(Pair { mock: &Mock::new(), xen: &Xen::new(lab) })
}
