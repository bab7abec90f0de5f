//! `pvmmu bench`: ways of doing page-table work against one another.

mod rows;

use anyhow::Result;

use crate::cli::{BenchArgs, Format, MeasuredOn};
use crate::measured;
use crate::verdict::Verdict;

use self::rows::Bench;

/// Measures, in one boot, and renders the rows that are asked for.
///
/// # Errors
/// There is no lab, the run failed, or its answer is no row.
pub(crate) fn run(args: &BenchArgs) -> Result<(String, Verdict)> {
    let MeasuredOn::Xen = args.on;
    let (setup, lines) = measured::run("bench", args.workload.as_deref().unwrap_or(""))?;
    let mut bench = Bench::read(setup, &lines)?;
    // Rows are compared with others', so all are measured whatever is shown.
    bench.keep(args.policy.as_deref());
    let text = match args.format {
        Format::Text => bench.text(),
        Format::Json => serde_json::to_string_pretty(&bench)? + "\n",
    };
    Ok((text, Verdict::Clean))
}
