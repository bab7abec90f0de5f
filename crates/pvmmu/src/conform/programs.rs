//! Programs of a file, on both.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use xen_conform::{Difference, differences};
use xen_program::{Case, Mode, Program};

use super::{page, with_pair};
use crate::cli::{ReportFormat, command};
use crate::programs::read;
use crate::suites::{self, Suite, junit};
use crate::verdict::Verdict;

/// Runs the programs of a file on both.
///
/// # Errors
/// The file cannot be read or holds no program; real Xen cannot be had or does not run.
pub(super) fn run(path: &Path, mode: Mode, format: ReportFormat) -> Result<(String, Verdict)> {
    let programs: Vec<Program> = read(path)?.iter().map(Case::program).collect();
    let differences = with_pair(|pair| Ok(differences(pair, mode, &programs)?))?;
    let clean = differences.is_empty();
    let text = match format {
        ReportFormat::Text if clean => format!("{} programs, answered alike\n", programs.len()),
        ReportFormat::Text => {
            differences.iter().map(|(place, found)| format!("program {}\n{found}\n", place + 1)).collect()
        }
        ReportFormat::Json => {
            let found: Vec<_> = differences.iter().map(|(_, found)| found).collect();
            format!("{:#}\n", json!({ "programs": programs.len(), "divergences": found }))
        }
        ReportFormat::Junit => {
            junit(&[Suite { name: path.display().to_string(), cases: cases(programs.len(), &differences) }])?
        }
        ReportFormat::Html => {
            let facts = [format!("{} programs", programs.len())];
            let found = differences.iter().map(|(place, found)| (format!("Program {}", place + 1), found.to_string()));
            page::of(&path.display().to_string(), Verdict::of(clean), &facts, &command(), &found.collect::<Vec<_>>())
        }
    };
    Ok((text, Verdict::of(clean)))
}

/// A case for each program.
fn cases(programs: usize, differences: &[(usize, Difference)]) -> Vec<suites::Case> {
    let found = |place| differences.iter().filter(move |found| found.0 == place).map(|(_, found)| found.to_string());
    let case = |place: usize| {
        suites::Case::of(&format!("program {}", place + 1), "divergence", &found(place).collect::<Vec<_>>())
    };
    (0..programs).map(case).collect()
}
