//! A page that is gone through from its first line to its last: files written, commands run, output compared.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Block, Page};

/// What a reader does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Writes a file, whole.
    Write {
        /// Where, from the folder the reader is in.
        path: PathBuf,
        /// What.
        text: String,
    },
    /// Runs a command and sees its output.
    Run {
        /// As typed.
        command: String,
        /// Lines of output, in order; other lines may come between them where the page says `...`.
        output: Vec<String>,
    },
}

/// The steps of a page, with the lines they are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walk(pub Vec<(usize, Step)>);

/// Where a walk ended that did not come to its end.
#[derive(Debug)]
#[non_exhaustive]
pub enum WalkError {
    /// A step could not be made.
    Step {
        /// The line of the page.
        line: usize,
        /// Why.
        error: io::Error,
    },
    /// A command failed.
    Failed {
        /// The line of the page's block.
        line: usize,
        /// The command.
        command: String,
        /// All that was printed.
        printed: String,
    },
    /// The output is not the page's.
    Output {
        /// The line of the page's block.
        line: usize,
        /// The command.
        command: String,
        /// The line that was not found, or not next.
        missing: String,
        /// All that was printed.
        printed: String,
    },
}

impl fmt::Display for WalkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step { line, error } => write!(f, "line {line}: {error}"),
            Self::Failed { line, command, printed } => write!(f, "line {line}: `{command}` fails:\n{printed}"),
            Self::Output { line, command, missing, printed } => {
                write!(f, "line {line}: `{command}` does not print\n{missing}\nwhere the page has it, but\n{printed}")
            }
        }
    }
}

impl std::error::Error for WalkError {}

impl Walk {
    /// The steps of `page`: its blocks that are marked as files or to be run.
    #[must_use]
    pub fn of(page: &Page) -> Self {
        Self(page.blocks.iter().flat_map(steps).collect())
    }

    /// Goes through it, from `folder` on; `cd` is the reader's, and `environment` what every command finds.
    ///
    /// # Errors
    /// [`WalkError`]: the first step that did not go as the page says.
    pub fn go(&self, folder: &Path, environment: &[(&str, String)]) -> Result<(), WalkError> {
        let mut here = folder.to_path_buf();
        for (line, step) in &self.0 {
            match step {
                Step::Write { path, text } => {
                    write(&here.join(path), text).map_err(|error| WalkError::Step { line: *line, error })?;
                }
                Step::Run { command, .. } if command.starts_with("cd ") => here.push(&command[3..]),
                Step::Run { command, output } => run(*line, command, output, &here, environment)?,
            }
        }
        Ok(())
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(path, text)
}

fn run(
    line: usize,
    command: &str,
    output: &[String],
    here: &Path,
    environment: &[(&str, String)],
) -> Result<(), WalkError> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("{command} 2>&1")])
        .current_dir(here)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let ran = shell.output().map_err(|error| WalkError::Step { line, error })?;
    let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
    match first_missing(output, &printed) {
        Some(missing) => Err(WalkError::Output { line, command: command.into(), missing, printed }),
        None if !ran.status.success() => Err(WalkError::Failed { line, command: command.into(), printed }),
        None => Ok(()),
    }
}

/// The first line of `output` that `printed` does not have where it should.
fn first_missing(output: &[String], printed: &str) -> Option<String> {
    let mut left = printed.lines().map(str::trim_end);
    // What a tool says before is not the page's.
    let mut may_skip = true;
    for wanted in output {
        if wanted == "..." {
            may_skip = true;
            continue;
        }
        let found = if may_skip { left.any(|line| line == wanted) } else { left.next() == Some(wanted) };
        if !found {
            return Some(wanted.clone());
        }
        may_skip = false;
    }
    None
}

fn steps(block: &Block) -> Vec<(usize, Step)> {
    if let Some(path) = block.marked("file") {
        return vec![(block.line, Step::Write { path: path.into(), text: block.code.clone() })];
    }
    let mut steps: Vec<(usize, Step)> = Vec::new();
    for line in block.code.lines().filter(|_| block.marked("run").is_some()) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((block.line, Step::Run { command: command.into(), output: Vec::new() })),
            (None, Some((_, Step::Run { output, .. }))) => output.push(line.trim_end().into()),
            (None, _) => {}
        }
    }
    steps
}
