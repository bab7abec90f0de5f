//! The rows, and what they are when compared.

use std::fmt::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;
use workloads::Policy;

use crate::measured::{self, Setup};
use crate::style::grouped;

/// What was measured on, and in what.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// `None` where nothing was booted.
    pub(super) setup: Option<Setup>,
    pub(crate) unit: &'static str,
}

/// What was measured, and on what.
#[derive(Debug, Serialize)]
pub(super) struct Bench {
    pub(super) hypervisor: Hypervisor,
    pub(super) unit: &'static str,
    pub(super) rows: Vec<Row>,
}

/// A hypervisor, and the machine under it.
#[derive(Debug, Serialize)]
pub(super) struct Hypervisor {
    name: &'static str,
    #[serde(flatten)]
    setup: Option<Setup>,
}

impl fmt::Display for Hypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.setup {
            Some(setup) if self.name == "xen" => setup.fmt(f),
            Some(setup) => write!(f, "{}, in a kernel on {setup}", self.name),
            None => f.write_str(self.name),
        }
    }
}

/// One policy's cost of one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(super) workload: String,
    pub(super) policy: String,
    pub(crate) updates: u64,
    pub(crate) hypercalls: u64,
    pub(crate) cost: u64,
    /// `None` where nothing is updated.
    pub(crate) cost_per_update: Option<f64>,
    pub(super) ratio_to_raw: Option<f64>,
    pub(super) ratio_to_linux: Option<f64>,
    pub(super) longest_masked: u64,
}

impl Bench {
    /// The rows of the kernel's answer.
    ///
    /// # Errors
    /// A line that is no row.
    pub(super) fn read(measured: Measured, lines: &[String]) -> Result<Self> {
        let mut rows = Row::read_all(lines)?;
        for policy in [Policy::Raw, Policy::Linux] {
            let costs: Vec<_> = rows.iter().map(|row| cost_of(&rows, &row.workload, policy)).collect();
            for (row, cost) in rows.iter_mut().zip(costs) {
                let ratio = cost.filter(|cost| *cost > 0).map(|cost| row.cost as f64 / cost as f64);
                match policy {
                    Policy::Raw => row.ratio_to_raw = ratio,
                    _ => row.ratio_to_linux = ratio,
                }
            }
        }
        let Measured { name, setup, unit } = measured;
        Ok(Self { hypervisor: Hypervisor { name, setup }, unit, rows })
    }

    /// Drops the rows of all policies but one.
    pub(super) fn keep(&mut self, policy: Option<&str>) {
        self.rows.retain(|row| policy.is_none_or(|policy| policy == row.policy));
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("{}; {}\n", self.hypervisor, self.unit);
        let mut workload = "";
        for row in &self.rows {
            if row.workload != workload {
                workload = &row.workload;
                let head = ["calls", "cost", "each", "of raw", "of linux", "masked"];
                let _ = writeln!(text, "\n{workload:<14}{}", head.map(|cell| format!("{cell:>11}")).concat());
            }
            let _ = writeln!(text, "  {:<12}{}", row.policy, row.cells().map(|cell| format!("{cell:>11}")).concat());
        }
        text
    }
}

fn cost_of(rows: &[Row], workload: &str, policy: Policy) -> Option<u64> {
    rows.iter().find(|row| row.workload == workload && row.policy == policy.name()).map(|row| row.cost)
}

impl Row {
    /// The rows of these lines, compared with none.
    ///
    /// # Errors
    /// A line that is no row.
    pub(super) fn read_all(lines: &[String]) -> Result<Vec<Self>> {
        lines.iter().map(|line| Self::read(line)).collect()
    }

    fn read(line: &str) -> Result<Self> {
        let [workload, policy, numbers @ ..] = measured::words::<6>(line)?;
        let number = |word: &str| word.parse().with_context(|| format!("`{line}` has no number where one is due"));
        let [updates, hypercalls, cost, longest_masked] = numbers.map(number);
        let (updates, cost) = (updates?, cost?);
        Ok(Self {
            workload: workload.to_owned(),
            policy: policy.to_owned(),
            updates,
            hypercalls: hypercalls?,
            cost,
            cost_per_update: (updates > 0).then(|| cost as f64 / updates as f64),
            ratio_to_raw: None,
            ratio_to_linux: None,
            longest_masked: longest_masked?,
        })
    }

    fn cells(&self) -> [String; 6] {
        let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        [
            grouped(self.hypercalls),
            grouped(self.cost),
            self.cost_per_update.map_or_else(String::new, |cost| format!("{cost:.1}")),
            ratio(self.ratio_to_raw),
            ratio(self.ratio_to_linux),
            grouped(self.longest_masked),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bench() -> Bench {
        let setup = Some(Setup { xen: "4.17".to_owned(), qemu: "7.2".to_owned(), processor: "any" });
        let measured = Measured { name: "xen", setup, unit: "instructions" };
        let lines = ["zap pv-mmu 512 1 3000 2500", "zap linux 512 0 8000 0", "zap raw 512 1 2000 0"];
        Bench::read(measured, &lines.map(str::to_owned)).unwrap()
    }

    #[test]
    fn rows_are_compared_within_their_workload() {
        let row = &bench().rows[0];
        assert_eq!((row.ratio_to_raw, row.ratio_to_linux), (Some(1.5), Some(0.375)));
        assert_eq!((row.hypercalls, row.longest_masked), (1, 2500));
    }

    #[test]
    fn what_is_shown_is_compared_with_what_is_not() {
        let mut bench = bench();
        bench.keep(Some("pv-mmu"));
        assert_eq!((bench.rows.len(), bench.rows[0].ratio_to_linux), (1, Some(0.375)));
        assert!(bench.text().contains("0.375"), "{}", bench.text());
    }

    #[test]
    fn what_updates_nothing_has_no_cost_for_each() {
        let row = Row::read("empty pv-mmu 0 0 60 0").unwrap();
        assert_eq!((row.cost, row.cost_per_update, &*row.cells()[2]), (60, None, ""));
    }

    #[test]
    fn a_page_has_every_row_and_nothing_from_elsewhere() {
        let page = super::super::html::of(&bench());
        let rows = ["zap", "pv-mmu", "linux", "raw", "3,000", "0.375", "prefers-color-scheme"];
        assert!(rows.iter().all(|part| page.contains(part)), "{page}");
        assert!(!page.contains("http") && !page.contains("<script"), "{page}");
    }

    #[test]
    fn what_is_no_row_is_an_error_that_shows_it() {
        for line in ["zap pv-mmu 512 1 3000", "zap pv-mmu 512 one 3000 0"] {
            let error = Row::read(line).unwrap_err();
            assert!(format!("{error:#}").contains(line), "{error:#}");
        }
    }
}
