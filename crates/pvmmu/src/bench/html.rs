//! The comparison as one page: a table for each workload, with bars.

use maud::{Markup, html};

use super::rows::{Bench, Row};
use crate::page::{bar, columns, heading, page};
use crate::style::grouped;

/// The page.
pub(super) fn of(bench: &Bench) -> String {
    let facts = [format!("on {}", bench.hypervisor), format!("in {}", bench.unit)];
    let body = html! {
        (heading("Ways of doing page-table work", "Page-table work", None, &facts))
        @for rows in bench.rows.chunk_by(|one, next| one.workload == next.workload) { (table(rows, bench.unit)) }
    };
    page("pvmmu bench", &body)
}

fn table(rows: &[Row], unit: &str) -> Markup {
    let most = rows.iter().map(|row| row.cost).max().unwrap_or(0).max(1);
    html! {
        h2 { (rows[0].workload) }
        div.scroll { table.bars {
            (columns(&["policy", unit, "hypercalls", "each", "of raw", "of linux"]))
            tbody { @for row in rows {
                tr.own[row.policy == "pv-mmu"] {
                    th scope="row" { (row.policy) }
                    td { (bar(row.cost, most, if row.policy == "pv-mmu" { 2 } else { 0 })) }
                    td { (grouped(row.hypercalls)) }
                    td { (row.cost_per_update.map_or_else(String::new, |cost| format!("{cost:.1}"))) }
                    td { (ratio(row.ratio_to_raw)) }
                    td { (ratio(row.ratio_to_linux)) }
                }
            } }
        } }
    }
}

fn ratio(ratio: Option<f64>) -> String {
    ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"))
}
