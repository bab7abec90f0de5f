//! The comparison as one page: a table for each workload, with bars.

use std::fmt::Write as _;

use super::rows::{Bench, Row};
use crate::style::grouped;

/// Width of the longest bar.
const WIDTH: f64 = 360.0;

const STYLE: &str = "\
:root{color-scheme:light dark;--bar:#8aa;--own:#2a7;--line:#ccc}
@media(prefers-color-scheme:dark){:root{--bar:#577;--own:#3b8;--line:#444}}
body{font:15px/1.4 system-ui,sans-serif;margin:2rem auto;max-width:64rem;padding:0 1rem}
table{border-collapse:collapse;width:100%;margin-bottom:2rem}
th,td{text-align:right;padding:.2rem .6rem;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
td.bar{text-align:left}rect{fill:var(--bar)}tr.own rect{fill:var(--own)}tr.own{font-weight:600}";

/// The page. It needs nothing from anywhere.
pub(super) fn page(bench: &Bench) -> String {
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>pvmmu bench</title><style>{STYLE}</style>\
         <h1>Page-table work</h1><p>On {}; {}.</p>",
        bench.hypervisor, bench.unit
    );
    for rows in bench.rows.chunk_by(|one, next| one.workload == next.workload) {
        table(&mut page, rows, bench.unit);
    }
    page + "</html>\n"
}

fn table(page: &mut String, rows: &[Row], unit: &str) {
    let Some(first) = rows.first() else { return };
    let most = rows.iter().map(|row| row.cost).max().unwrap_or(0).max(1);
    let _infallible = write!(
        page,
        "<h2>{}</h2><table><tr><th>policy<th>hypercalls<th>{unit}<th>each<th>of raw<th>of linux<th>",
        first.workload
    );
    for row in rows {
        let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let each = row.cost_per_update.map_or_else(String::new, |cost| format!("{cost:.1}"));
        let width = row.cost as f64 / most as f64 * WIDTH;
        let own = if row.policy == "pv-mmu" { " class=own" } else { "" };
        let _infallible = write!(
            page,
            "<tr{own}><td>{}<td>{}<td>{}<td>{each}<td>{}<td>{}<td class=bar><svg width={WIDTH} height=12 role=img \
             aria-label=\"{} {unit}\"><rect width={width:.1} height=12 /></svg>",
            row.policy,
            grouped(row.hypercalls),
            grouped(row.cost),
            ratio(row.ratio_to_raw),
            ratio(row.ratio_to_linux),
            grouped(row.cost),
        );
    }
    page.push_str("</table>");
}
