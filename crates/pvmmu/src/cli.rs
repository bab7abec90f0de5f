//! What can be asked of the command.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use mmu_trace::BUNDLED;
use serde::Serialize;

/// Replays and checks the page-table work of a paravirtualised guest, as its kernel recorded it.
///
/// Without a command: the comparison table for the first bundled trace.
#[derive(Debug, Parser)]
#[command(version, after_help = notes())]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// What every help ends with: the names of the bundled traces, and what the exit status says.
fn notes() -> String {
    let width = BUNDLED.iter().map(|bundled| bundled.name.len()).max().unwrap_or(0);
    let traces = BUNDLED.iter().map(|bundled| format!("  {:<width$}  {}\n", bundled.name, bundled.workload));
    format!(
        "Bundled traces, which go by their names where no file is called so:\n{}\n\
         Exit status:\n  \
         0  clean\n  \
         1  something was found: a rule broken, an operation refused, memory that is not what real Xen held, or page\n     \
         tables that do not end as they do without batching\n  \
         2  bad use, or a trace that cannot be read or followed",
        traces.collect::<String>()
    )
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lead a batcher through a recorded trace, on a mock hypervisor that may refuse and a referee that watches
    #[command(after_help = notes())]
    Replay(ReplayArgs),
    /// Judge the recorded behaviour itself: regions, switches, batches
    #[command(after_help = notes())]
    Check(CheckArgs),
    /// Go through every interleaving of a scenario: preemption, migration, interrupts, between any two steps
    Explore(crate::explore::ExploreArgs),
}

/// What to replay, and how.
#[derive(Debug, Default, Args)]
pub(crate) struct ReplayArgs {
    /// A trace: ftrace text or native, plain or gzip; or the name of a bundled one [default: the first bundled trace]
    pub(crate) trace: Option<PathBuf>,
    /// Which batcher [default: pv-mmu; in a table without --policy and --mode: all that compare]
    #[arg(long)]
    pub(crate) policy: Option<PolicyName>,
    /// Which requests [default: as-recorded]
    #[arg(long)]
    pub(crate) mode: Option<Mode>,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    pub(crate) format: Format,
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Traces: ftrace text or native, plain or gzip; or names of bundled ones [default: all bundled traces]
    #[arg(value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    pub(crate) format: Format,
}

/// How a result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
}

/// A batcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PolicyName {
    /// This library.
    #[default]
    PvMmu,
    /// Linux 6.1's: 32 entries, 512 argument bytes, appends to the last entry only.
    Linux,
    /// None: each operation a hypercall of its own.
    Single,
}

/// Whose requests a policy is led through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    /// Every request, and every leave where Linux had it.
    #[default]
    AsRecorded,
    /// What callers written for this library would ask for.
    Ported,
}
