//! `pvmmu bench`: ways of doing page-table work against one another.

mod html;
mod rows;

use anyhow::{Context as _, Result, bail};
use workloads::{Policy, Workload, mock};
use xen_lab::Clock;

use crate::cli::{BenchArgs, BenchFormat, MeasuredOn};
use crate::measured;
use crate::verdict::Verdict;

use self::rows::{Bench, Measured};

/// Measures, in one boot where there is something to boot, and renders the rows that are asked for.
///
/// # Errors
/// There is no lab, the run failed, its answer is no row, or the workload cannot be measured there.
pub(crate) fn run(args: &BenchArgs) -> Result<(String, Verdict)> {
    let workload = args.workload.as_deref().unwrap_or("");
    if args.on == MeasuredOn::Null && Workload::named(workload).is_some_and(Workload::looks_at_effects) {
        bail!("`{workload}` looks at what has come of it, and on `null` nothing does; measure it on `mock` or `xen`");
    }
    let (measured, lines) = match args.on {
        MeasuredOn::Mock => on_mock(args)?,
        MeasuredOn::Xen => in_kernel(args, "xen", workload)?,
        MeasuredOn::Null => in_kernel(args, "null", &format!("null {workload}"))?,
    };
    let mut bench = Bench::read(measured, &lines)?;
    // Rows are compared with others', so all are measured whatever is shown.
    bench.keep(args.policy.as_deref());
    let text = match args.format {
        BenchFormat::Text => bench.text(),
        BenchFormat::Json => serde_json::to_string_pretty(&bench)? + "\n",
        BenchFormat::Html => html::page(&bench),
    };
    Ok((text, Verdict::Clean))
}

fn in_kernel(args: &BenchArgs, name: &'static str, payload: &str) -> Result<(Measured, Vec<String>)> {
    let (clock, unit) = match args.wall {
        true => (Clock::Host, "ticks of the time-stamp counter"),
        false => (Clock::Instructions, measured::UNIT),
    };
    let (setup, lines) = measured::run_by(clock, "bench", payload)?;
    Ok((Measured { name, setup: Some(setup), unit }, lines))
}

fn on_mock(args: &BenchArgs) -> Result<(Measured, Vec<String>)> {
    let (clock, unit) = match args.wall {
        true => (mock::Unit::Nanoseconds, "ns"),
        false => (mock::Unit::Hypercalls, "hypercalls"),
    };
    let named = args.workload.as_deref().and_then(Workload::named);
    let workloads = named.map_or_else(|| Workload::ALL.to_vec(), |workload| vec![workload]);
    let mut lines = Vec::new();
    for workload in workloads {
        for policy in Policy::ALL {
            let cost = mock::measure(policy, workload, clock);
            let cost = cost.with_context(|| format!("{} by {}", workload.name, policy.name()))?;
            let (name, policy, updates) = (workload.name, policy.name(), workload.updates());
            // What is masked here is the host's time, and says nothing.
            lines.push(format!("{name} {policy} {updates} {} {} 0", cost.hypercalls, cost.ticks));
        }
    }
    Ok((Measured { name: "mock", setup: None, unit }, lines))
}
