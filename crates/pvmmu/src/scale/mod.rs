//! `pvmmu scale`: how the library's cost grows, with the size of a region and with the number of vCPUs.

mod page;
mod sharing;
mod updates;
mod vcpus;

use anyhow::Result;
use serde::Serialize;

use crate::cli::{BenchFormat, ScaleArgs};
use crate::style::grouped;
use crate::verdict::Verdict;

use self::{sharing::Sharing, updates::Size, vcpus::Busy};

/// All that was measured.
#[derive(Debug, Serialize)]
struct Growth {
    /// What a region of each size costs.
    on: &'static str,
    unit: &'static str,
    updates: Vec<Size>,
    /// Threads of this machine, each a vCPU: on the mock, and on a hypervisor that does nothing.
    processors: usize,
    vcpus: Vec<Busy>,
    sharing: Vec<Sharing>,
}

/// Measures, and renders.
///
/// # Errors
/// There is no lab where one is asked for, or something is refused that may not be.
pub(crate) fn run(args: &ScaleArgs) -> Result<(String, Verdict)> {
    let (on, unit, updates) = updates::measure(args.on)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let growth = Growth { on, unit, updates, processors, vcpus: vcpus::measure()?, sharing: sharing::measure() };
    let text = match args.format {
        BenchFormat::Text => growth.text(),
        BenchFormat::Json => serde_json::to_string_pretty(&growth)? + "\n",
        BenchFormat::Html => page::of(&growth)?,
    };
    Ok((text, Verdict::Clean))
}

impl Growth {
    fn text(&self) -> String {
        let mut text =
            format!("one region, on {}; {}\n   updates  hypercalls         cost      each\n", self.on, self.unit);
        for Size { updates, hypercalls, cost, cost_per_update } in &self.updates {
            let (updates, hypercalls, cost) = (grouped(*updates), grouped(*hypercalls), grouped(*cost));
            text += &format!("{updates:>10}{hypercalls:>12}{cost:>13}{cost_per_update:>10.3}\n");
        }
        text += &format!("\nvCPUs as threads on {} processors; updates a second, in millions\n", self.processors);
        text += "     vCPUs        mock        null\n";
        for Busy { vcpus, mock, null } in &self.vcpus {
            text += &format!("{vcpus:>10}{:>12.3}{:>12.1}\n", mock / 1e6, null / 1e6);
        }
        text += "\ntwo vCPUs at once, their data side by side or apart; ns an update\n";
        for Sharing { what, side_by_side, apart, ratio } in &self.sharing {
            text += &format!("{what:>30}{side_by_side:>10.2}{apart:>10.2}{ratio:>8.2}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth() -> Growth {
        let size = |updates: u64| Size { updates, hypercalls: 1, cost: 50 * updates, cost_per_update: 50.0 };
        let busy = |vcpus| Busy { vcpus, mock: 2e5, null: 3e7 };
        let sharing = Sharing { what: "queues", side_by_side: 12.0, apart: 11.0, ratio: 12.0 / 11.0 };
        Growth {
            on: "null",
            unit: "instructions",
            updates: [1, 1000].map(size).into(),
            processors: 2,
            vcpus: [1, 64].map(busy).into(),
            sharing: vec![sharing],
        }
    }

    #[test]
    fn every_row_is_told() {
        let text = growth().text();
        assert!(["50,000", "64", "0.200", "30.0", "queues", "1.09"].iter().all(|part| text.contains(part)), "{text}");
    }

    #[test]
    fn a_page_has_its_plots_and_nothing_from_elsewhere() {
        let page = page::of(&growth()).unwrap();
        assert_eq!(
            (page.matches("<svg").count(), page.matches("<circle").count()),
            (3, 6),
            "a point for each row: {page}"
        );
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http") && !page.contains("<script"), "{page}");
    }
}
