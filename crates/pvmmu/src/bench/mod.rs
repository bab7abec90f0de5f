//! `pvmmu bench`: ways of doing page-table work against one another.

mod arch;
mod html;
mod rows;

use anyhow::{Context as _, Result, bail};
use workloads::{Policy, Workload, mock};
use xen_lab::Clock;

use crate::cli::{BenchArgs, BenchFormat, MeasuredOn};
use crate::measured;
use crate::verdict::Verdict;

pub(crate) use self::rows::Row;
use self::rows::{Bench, Measured};

/// Measures, in one boot where there is something to boot, and renders the rows that are asked for.
///
/// # Errors
/// There is no lab, the run failed, its answer is no row, or the workload cannot be measured there.
pub(crate) fn run(args: &BenchArgs) -> Result<(String, Verdict)> {
    let Some(on) = args.on else { return arch::run(args.format) };
    let workload = args.workload.as_deref().unwrap_or("");
    if on == MeasuredOn::Null && Workload::named(workload).is_some_and(Workload::looks_at_effects) {
        bail!("`{workload}` looks at what has come of it, and on `null` nothing does; measure it on `mock` or `xen`");
    }
    let (measured, lines) = match on {
        MeasuredOn::Mock => on_mock(args.wall, &named(workload), &Policy::ALL)?,
        MeasuredOn::Xen => in_kernel(args.wall, "xen", workload)?,
        MeasuredOn::Null => in_kernel(args.wall, "null", &format!("null {workload}"))?,
    };
    let mut bench = Bench::read(measured, &lines)?;
    // Rows are compared with others', so all are measured whatever is shown.
    bench.keep(args.policy.as_deref());
    let text = match args.format {
        BenchFormat::Text => bench.text(),
        BenchFormat::Json => serde_json::to_string_pretty(&bench)? + "\n",
        BenchFormat::Html => html::of(&bench),
    };
    Ok((text, Verdict::Clean))
}

/// One policy's costs of some workloads, in one boot where there is something to boot.
///
/// # Errors
/// As [`run`].
pub(crate) fn costs(on: MeasuredOn, workloads: &[&str], policy: Policy) -> Result<(Measured, Vec<Row>)> {
    let words = format!("{} {}", policy.name(), workloads.join(" "));
    let (measured, lines) = match on {
        MeasuredOn::Mock => {
            let workloads: Vec<_> = workloads.iter().filter_map(|name| Workload::named(name)).collect();
            on_mock(false, &workloads, &[policy])?
        }
        MeasuredOn::Xen => in_kernel(false, "xen", &words)?,
        MeasuredOn::Null => in_kernel(false, "null", &format!("null {words}"))?,
    };
    Ok((measured, Row::read_all(&lines)?))
}

fn in_kernel(wall: bool, name: &'static str, payload: &str) -> Result<(Measured, Vec<String>)> {
    let (clock, unit) = match wall {
        true => (Clock::Host, "ticks of the time-stamp counter"),
        false => (Clock::Instructions, measured::UNIT),
    };
    let (setup, lines) = measured::run_by(clock, "bench", payload)?;
    Ok((Measured { name, setup: Some(setup), unit }, lines))
}

/// The workload of this name, or all.
fn named(workload: &str) -> Vec<Workload> {
    Workload::named(workload).map_or_else(|| Workload::ALL.to_vec(), |workload| vec![workload])
}

fn on_mock(wall: bool, workloads: &[Workload], policies: &[Policy]) -> Result<(Measured, Vec<String>)> {
    let (clock, unit) = match wall {
        true => (mock::Unit::Nanoseconds, "ns"),
        false => (mock::Unit::Hypercalls, "hypercalls"),
    };
    let mut lines = Vec::new();
    for &workload in workloads {
        for &policy in policies {
            let cost = mock::measure(policy, workload, clock);
            let cost = cost.with_context(|| format!("{} by {}", workload.name, policy.name()))?;
            let (name, policy, updates) = (workload.name, policy.name(), workload.updates());
            // What is masked here is the host's time, and says nothing.
            lines.push(format!("{name} {policy} {updates} {} {} 0", cost.hypercalls, cost.ticks));
        }
    }
    Ok((Measured { name: "mock", setup: None, unit }, lines))
}
