//! What can be asked of the command.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use mmu_trace::BUNDLED;
use serde::{Deserialize, Serialize};
use workloads::{Policy, Workload};

use crate::campaign::Shard;

/// Replays and checks the page-table work of a paravirtualised guest, as its kernel recorded it, and holds the mock
/// it is replayed on against real Xen.
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
        "Rules R1 to R18 are those of docs/contract.md; how to read a replay: docs/how-to/read-a-replay.md.\n\n\
         Bundled traces, which go by their names where no file is called so:\n{}\n\
         Exit status:\n  \
         0  clean\n  \
         1  something was found: a rule broken, an operation refused, memory that is not what real Xen held, or page\n     \
         tables that do not end as they do without batching, or not on Xen as on the mock\n  \
         2  bad use, a trace that cannot be read or followed, or no real Xen where it is asked for",
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
    /// Run this library on the real Xen under random timers: tasks that are preempted and moved, interrupts that write
    Soak(crate::soak::SoakArgs),
    /// Hold the mock hypervisor against real Xen: the same programs on both, and what they answer differently
    Conform(ConformArgs),
    /// Put the results of a campaign's shards together: what the whole run would have printed
    #[command(after_help = notes())]
    Merge(crate::campaign::merge::MergeArgs),
    /// Run programs of hypercalls on one hypervisor and print what they came to
    Run(RunArgs),
    /// Compare ways of doing page-table work: this library's, its peers', and the limit
    Bench(BenchArgs),
    /// Measure how the library's cost grows with the size of a region and with the number of vCPUs
    Scale(ScaleArgs),
    /// Measure what each operation costs on the real Xen, in instructions
    Cost(CostArgs),
}

/// What to compare, and how much of it.
///
/// Without `--cases` and `--program`: random programs.
#[derive(Debug, Args)]
pub(crate) struct ConformArgs {
    /// The cases measured on Xen 4.17, on both
    #[arg(long, conflicts_with_all = ["program", "ops", "seed", "preempt"])]
    pub(crate) cases: bool,
    /// The programs of a file, such as one saved for a difference
    #[arg(long, value_name = "FILE", conflicts_with_all = ["ops", "seed"])]
    pub(crate) program: Option<PathBuf>,
    /// Operations of random programs; those that the mock does not model are left out and counted
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) ops: u64,
    /// Determines the random programs [default: a fresh one, which is printed]
    #[arg(long, value_name = "S")]
    pub(crate) seed: Option<u64>,
    /// How calls are interrupted that do not say so themselves
    #[arg(long, default_value_t, value_enum)]
    pub(crate) preempt: Preempt,
    /// Only this one of N parts, for `pvmmu merge`: of random programs those that begin within the I-th stretch of --ops,
    /// for which --seed is needed; of --cases the I-th and every N-th behind it
    #[arg(long, value_name = "I/N", conflicts_with = "program")]
    pub(crate) shard: Option<Shard>,
    /// Boots of real Xen at once [default: one for each processor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: Option<u16>,
    /// Folder that the programs of differences are saved in
    #[arg(long, value_name = "FOLDER", default_value = "divergences")]
    pub(crate) save: PathBuf,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    pub(crate) format: ReportFormat,
}

/// What to run, and where.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A file of programs in the text form; what it says they answer is checked
    pub(crate) program: PathBuf,
    /// Which hypervisor
    #[arg(long, default_value_t, value_enum)]
    pub(crate) on: On,
    /// How calls are interrupted that do not say so themselves
    #[arg(long, default_value_t, value_enum)]
    pub(crate) preempt: Preempt,
}

/// When events interrupt hypercalls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Preempt {
    /// Never.
    #[default]
    None,
    /// Whenever Xen looks.
    Step,
    /// Now and then.
    Random,
}

impl From<Preempt> for xen_program::Mode {
    fn from(preempt: Preempt) -> Self {
        match preempt {
            Preempt::None => Self::None,
            Preempt::Step => Self::Step,
            Preempt::Random => Self::Random,
        }
    }
}

/// What to replay, and how.
#[derive(Debug, Default, Args)]
pub(crate) struct ReplayArgs {
    /// A trace: the text of tracing/trace, trace-cmd or perf (docs/record-linux.md), or native; plain or gzip; or the name of a bundled one [default: the first bundled trace]
    pub(crate) trace: Option<PathBuf>,
    /// Which batcher [default: pv-mmu; in a table without --policy and --mode: all that compare]
    #[arg(long)]
    pub(crate) policy: Option<PolicyName>,
    /// Which requests [default: as-recorded]
    #[arg(long)]
    pub(crate) mode: Option<Mode>,
    /// Before which hypervisor; on the real Xen, pv-mmu is led in both modes, beside a replay on the mock
    #[arg(long, default_value_t, value_enum)]
    pub(crate) on: On,
    /// Writes what happened on each vCPU, recorded and replayed, to this file, for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    pub(crate) perfetto: Option<PathBuf>,
    /// How to print the result; json is of one policy and mode, all else of what compares
    #[arg(long, default_value_t, value_enum)]
    pub(crate) format: ReportFormat,
}

/// What to check.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Traces: the text of tracing/trace, trace-cmd or perf (docs/record-linux.md), or native; plain or gzip; or names of bundled ones [default: all bundled traces]
    #[arg(value_name = "TRACE")]
    pub(crate) traces: Vec<PathBuf>,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    pub(crate) format: ReportFormat,
}

/// What to compare, and on what.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What hypervisor
    #[arg(long, value_enum, required_unless_present = "arch")]
    pub(crate) on: Option<MeasuredOn>,
    /// On the architectures where invalidations or barriers wait, instead: calls, counted, beside Linux's algorithm
    #[arg(long, conflicts_with_all = ["on", "wall", "workload", "policy"])]
    pub(crate) arch: bool,
    /// Measures time instead of instructions or hypercalls: noisy, for comparison within one run
    #[arg(long)]
    pub(crate) wall: bool,
    /// Which work [default: all that does not take long]
    #[arg(long, value_parser = PossibleValuesParser::new(Workload::ALL.iter().chain(&Workload::LONG).map(|workload| workload.name)))]
    pub(crate) workload: Option<String>,
    /// Whose way [default: all]
    #[arg(long, value_parser = PossibleValuesParser::new(Policy::ALL.map(Policy::name)))]
    pub(crate) policy: Option<String>,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    pub(crate) format: BenchFormat,
}

/// What to measure on.
#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// On what hypervisor regions grow; vCPUs are threads of this machine, on the mock and on none
    #[arg(long, value_enum)]
    pub(crate) on: MeasuredOn,
    /// How to print the result
    #[arg(long, default_value_t, value_enum)]
    pub(crate) format: BenchFormat,
}

/// A hypervisor that costs are measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MeasuredOn {
    /// None: nothing that is asked for is done, and what is left are the guest's own instructions; counted in a kernel
    /// on the real Xen in QEMU.
    Null,
    /// The mock, with hypercalls for a unit.
    Mock,
    /// The real one, in QEMU, with instructions for a unit.
    Xen,
}

/// How a comparison is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
    /// One page for a browser, with bars.
    Html,
}

/// How to print costs.
#[derive(Debug, Args)]
pub(crate) struct CostArgs {
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

/// How a result is printed by what judges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// For a person.
    #[default]
    Text,
    /// For a program.
    Json,
    /// For a pipeline that keeps account of tests: JUnit's XML, a case for each thing that was judged.
    Junit,
    /// One page for a browser, which needs no network.
    Html,
}

/// The command line as it was given, but for where the program lies.
pub(crate) fn command() -> String {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    std::iter::once("pvmmu".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// A hypervisor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum On {
    /// The mock, with a referee.
    #[default]
    Mock,
    /// The real Xen, booted in QEMU.
    Xen,
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
