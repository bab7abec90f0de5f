//! What is wrong with pages.

use std::fmt;
use std::fs;
use std::path::Path;

use crate::{Block, Page, command::commands};

/// A place where a page promises what is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The page, from the root of the repository.
    pub page: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// A block that nothing tests.
    Untested(String),
    /// A Rust block that says `ignore`.
    Ignored,
    /// A mark of a block that gives no reason.
    NoReason,
    /// The script that is said to test a block does not name the page.
    NotReadBy(String),
    /// Output in a block that is not run.
    UncomparedOutput(String),
    /// Not to be taken apart by a shell.
    NotAShellCommand(String),
    /// A program that this repository does not have.
    UnknownProgram(String),
    /// An option that its program does not take.
    UnknownOption {
        /// The program.
        program: String,
        /// The option, or what the program says of it.
        option: String,
    },
    /// A file or folder that is not there.
    NoSuchFile(String),
    /// A script that cannot be executed.
    NotExecutable(String),
    /// A package that is not there.
    NoSuchPackage(String),
    /// A target that its package does not have.
    NoSuchTarget {
        /// The package.
        package: String,
        /// The target.
        target: String,
    },
    /// A link that leads nowhere.
    DeadLink(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.page, self.line, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untested(info) => {
                write!(f, "nothing tests this `{info}` block; say why in front of it, `<!-- untested: REASON -->`")
            }
            Self::Ignored => write!(f, "an ignored block is not tested; set up what it needs by `<!-- setup ... -->`"),
            Self::NoReason => write!(f, "the mark gives no reason"),
            Self::NotReadBy(script) => write!(f, "`{script}` does not read this page"),
            Self::UncomparedOutput(line) => {
                write!(f, "nobody compares `{line}`; mark the block `<!-- run -->` or leave it out")
            }
            Self::NotAShellCommand(line) => write!(f, "no shell takes `{line}`"),
            Self::UnknownProgram(program) => {
                write!(f, "`{program}` is no program of this repository; mark the block untested")
            }
            Self::UnknownOption { program, option } => write!(f, "`{program}` does not take `{option}`"),
            Self::NoSuchFile(path) => write!(f, "there is no `{path}`"),
            Self::NotExecutable(path) => write!(f, "`{path}` is not executable"),
            Self::NoSuchPackage(package) => write!(f, "there is no package `{package}`"),
            Self::NoSuchTarget { package, target } => write!(f, "package `{package}` has no target `{target}`"),
            Self::DeadLink(link) => write!(f, "the link leads to `{link}`, which is not there"),
        }
    }
}

/// Everything that is wrong with `pages` of the repository at `root`, but for what rustdoc and `pvmmu` find themselves.
#[must_use]
pub fn faults(root: &Path, pages: &[Page]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = pages.iter().flat_map(|page| of_page(root, page)).collect();
    match commands(pages) {
        Ok(commands) => faults.extend(commands.iter().filter_map(|command| command.faults(root))),
        Err(unreadable) => faults.extend(unreadable),
    }
    faults
}

fn of_page(root: &Path, page: &Page) -> Vec<Fault> {
    let fault = |line, problem| Fault { page: page.path.display().to_string(), line, problem };
    let blocks = page.blocks.iter().filter_map(|block| Some(fault(block.line, of_block(root, page, block)?)));
    let links = page.links.iter().filter(|link| is_dead(root, page, &link.text));
    let links = links.map(|link| fault(link.line, Problem::DeadLink(link.text.clone())));
    let spans = page.spans.iter().filter(|span| is_lost(root, &span.text));
    blocks.chain(links).chain(spans.map(|span| fault(span.line, Problem::NoSuchFile(span.text.clone())))).collect()
}

fn of_block(root: &Path, page: &Page, block: &Block) -> Option<Problem> {
    if let Some(reason) = block.marked("untested") {
        return (reason.split(' ').count() < 2).then_some(Problem::NoReason);
    }
    if let Some(script) = block.marked("tested by") {
        let reads =
            fs::read_to_string(root.join(script)).is_ok_and(|text| text.contains(&*page.path.to_string_lossy()));
        return (!reads).then(|| Problem::NotReadBy(script.into()));
    }
    match block.language() {
        _ if block.marked("file").is_some() => None,
        "rust" => block.info.contains("ignore").then_some(Problem::Ignored),
        "console" if block.marked("run").is_none() => {
            let output = block.joined().lines().find(|line| !line.starts_with("$ "))?.to_owned();
            Some(Problem::UncomparedOutput(output))
        }
        "console" | "sh" => None,
        _ => Some(Problem::Untested(block.info.clone())),
    }
}

/// Links of this repository only: what is elsewhere is not ours to watch.
fn is_dead(root: &Path, page: &Page, link: &str) -> bool {
    let path = link.split('#').next().unwrap_or_default();
    let folder = root.join(&page.path).parent().map(Path::to_path_buf).unwrap_or_default();
    !path.is_empty() && !path.contains(':') && !folder.join(path).exists()
}

/// Folders of this repository that a path begins with.
const TOP: [&str; 8] = ["bench/", "ci/", "crates/", "docs/", "examples/", "fuzz/", "hypercall/", "pv-mmu/"];

/// Whether code within a text is a path of this repository that is not there; an `X` in it stands for something.
fn is_lost(root: &Path, code: &str) -> bool {
    let is_path = TOP.iter().any(|top| code.starts_with(top)) && !code.contains([' ', '*', ':', '{', 'X']);
    let is_command = [".sh", ".py"].iter().any(|end| code.ends_with(end));
    is_path && !is_command && !root.join(code).exists()
}
