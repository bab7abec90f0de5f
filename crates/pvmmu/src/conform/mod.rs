//! `pvmmu conform`: the mock held against real Xen.

mod cases;
mod page;
mod programs;
mod random;

use anyhow::{Context, Result};
use xen_conform::{Mock, Pair, Xen};
use xen_lab::Lab;

use crate::cli::ConformArgs;
use crate::verdict::Verdict;

/// Runs what is asked for on both and renders how they differ.
///
/// # Errors
/// A file cannot be read or written; real Xen cannot be had or does not run.
pub(crate) fn run(args: &ConformArgs) -> Result<(String, Verdict)> {
    if args.cases {
        cases::run(args.format)
    } else if let Some(path) = &args.program {
        programs::run(path, args.preempt.into(), args.format)
    } else {
        random::run(args)
    }
}

/// Runs `work` with the mock and real Xen.
///
/// # Errors
/// Real Xen cannot be had; those of `work`.
fn with_pair<T>(work: impl FnOnce(Pair<'_>) -> Result<T>) -> Result<T> {
    let lab = Lab::find().context("there is nothing to hold the mock against")?;
    work(Pair { mock: &Mock::new(), xen: &Xen::new(lab) })
}
