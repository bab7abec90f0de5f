//! `pvmmu soak`: this library on the real Xen under random timers, on two vCPUs, for as many updates as are asked for.

mod report;

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use xen_lab::{Lab, Machine};

use crate::cli::Format;
use crate::verdict::Verdict;

use self::report::Soaked;

/// How long to soak.
#[derive(Debug, Args)]
pub(crate) struct SoakArgs {
    /// Page-table updates
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..=10_000_000_000))]
    updates: u64,
    /// Determines what tasks ask for and how long their turns are, as far as real time allows [default: a fresh one, which
    /// is printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Leaves the library's switch hook out, a fault that has to be found
    #[arg(long)]
    planted: bool,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    format: Format,
}

/// Updates a second that every machine can be expected to do.
const SLOWEST: u64 = 10_000;

/// Soaks in one boot, and renders what was found.
///
/// # Errors
/// There is no lab, the run failed, or its answer is none.
pub(crate) fn run(args: &SoakArgs) -> Result<(String, Verdict)> {
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 53));
    let mut machine = Machine::default();
    machine.processors = 2;
    machine.run_limit = Duration::from_secs(60 + args.updates / SLOWEST);
    let planted = if args.planted { "planted " } else { "" };
    let lab = Lab::find()?;
    let progress = progress(args.updates, seed);
    let answer = lab.run(&machine, "pvmmu-soak", format!("{planted}{} {seed}", args.updates).as_bytes());
    progress.finish_and_clear();
    let text = String::from_utf8(answer?.bytes).context("the kernel's answer is no text")?;
    let soaked = Soaked::read(&text, args.updates, seed)?;
    let rendered = match args.format {
        Format::Text => soaked.text(),
        Format::Json => serde_json::to_string_pretty(&soaked)? + "\n",
    };
    Ok((rendered, Verdict::of(soaked.is_clean())))
}

/// For a person who waits; nothing where nobody does.
fn progress(updates: u64, seed: u64) -> ProgressBar {
    let bar = ProgressBar::new_spinner().with_message(format!("{updates} updates, seed {seed}"));
    let style = ProgressStyle::with_template("{spinner} soaking: {msg} [{elapsed}]");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
