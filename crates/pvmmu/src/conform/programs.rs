//! Programs of a file, on both.

use std::path::Path;

use anyhow::Result;
use serde_json::json;
use xen_conform::differences;
use xen_program::{Case, Mode, Program};

use super::with_pair;
use crate::cli::Format;
use crate::programs::read;
use crate::verdict::Verdict;

/// Runs the programs of a file on both.
///
/// # Errors
/// The file cannot be read or holds no program; real Xen cannot be had or does not run.
pub(super) fn run(path: &Path, mode: Mode, format: Format) -> Result<(String, Verdict)> {
    let programs: Vec<Program> = read(path)?.iter().map(Case::program).collect();
    let differences = with_pair(|pair| Ok(differences(pair, mode, &programs)?))?;
    let clean = differences.is_empty();
    let text = match format {
        Format::Text if clean => format!("{} programs, answered alike\n", programs.len()),
        Format::Text => differences.iter().map(|(place, found)| format!("program {}\n{found}\n", place + 1)).collect(),
        Format::Json => {
            let found: Vec<_> = differences.iter().map(|(_, found)| found).collect();
            format!("{:#}\n", json!({ "programs": programs.len(), "divergences": found }))
        }
    };
    Ok((text, Verdict::of(clean)))
}
