//! `pvmmu bench --arch`: calls, where invalidations or barriers wait.

use anyhow::{Result, bail};
use arch_model::{Row, figures};
use serde_json::json;

use crate::cli::BenchFormat;
use crate::verdict::Verdict;

/// Counts, and renders.
///
/// # Errors
/// There is no page of it.
pub(super) fn run(format: BenchFormat) -> Result<(String, Verdict)> {
    let rows = figures();
    let text = match format {
        BenchFormat::Text => text(&rows),
        BenchFormat::Json => serde_json::to_string_pretty(&json(&rows))? + "\n",
        BenchFormat::Html => {
            bail!("the counts of other architectures are text or json; bars are drawn of costs on Xen")
        }
    };
    Ok((text, Verdict::Clean))
}

fn text(rows: &[Row]) -> String {
    let mut text =
        "| arch | work | counted | pages | pv-mmu | linux | no regions |\n|---|---|---|---|---|---|---|\n".to_owned();
    for Row { arch, load, unit, pages, ours, linux, single } in rows {
        text += &format!("| {arch} | {load} | {unit} | {pages} | {ours} | {linux} | {single} |\n");
    }
    text
}

fn json(rows: &[Row]) -> serde_json::Value {
    let row = |row: &Row| {
        json!({
            "arch": row.arch, "workload": row.load, "unit": row.unit, "pages": row.pages,
            "pv-mmu": row.ours, "linux": row.linux, "single": row.single,
        })
    };
    json!({ "rows": rows.iter().map(row).collect::<Vec<_>>() })
}
