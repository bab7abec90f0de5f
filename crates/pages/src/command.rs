//! Commands that a page shows, and whether this repository has what they name.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::check::{Fault, Problem};
use crate::{Block, Page};

/// A command of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The page, from the root of the repository.
    pub page: String,
    /// The line it is on, from 1.
    pub line: usize,
    /// Its words, as a shell would have them.
    pub words: Vec<String>,
    /// Whether the page's text only mentions it: then what it needs besides may be left out, and `WORD`s stand for something.
    pub is_mentioned: bool,
}

/// The ways in which `pvmmu` is called.
const PVMMU: [&[&str]; 3] = [&["cargo", "run", "--release", "--"], &["cargo", "run", "--release"], &["pvmmu"]];

impl Command {
    /// The arguments, where it is a call of `pvmmu`. Whether they can be had only `pvmmu` knows.
    #[must_use]
    pub fn pvmmu(&self) -> Option<&[String]> {
        let is_called = |way: &&&[&str]| {
            self.words.len() >= way.len() && self.words.iter().zip(**way).all(|(word, part)| word == part)
        };
        let way = PVMMU.iter().find(is_called)?;
        let arguments = &self.words[way.len()..];
        let is_another = arguments.first().is_some_and(|word| word == "-p") && way[0] == "cargo";
        (!is_another).then_some(arguments)
    }

    fn fault(&self, problem: Problem) -> Fault {
        Fault { page: self.page.clone(), line: self.line, problem }
    }

    /// What it names and `root` does not have.
    pub(crate) fn faults(&self, root: &Path) -> Option<Fault> {
        if self.pvmmu().is_some() {
            return None;
        }
        let (program, arguments) = self.words.split_first()?;
        let wrong = match &**program {
            "cargo" => missing_target(root, arguments),
            "cd" => arguments
                .first()
                .filter(|folder| !root.join(folder).is_dir())
                .map(|folder| Problem::NoSuchFile(folder.clone())),
            path if path.contains('/') => missing_script(root, path, arguments),
            other => Some(Problem::UnknownProgram(other.into())),
        };
        wrong.map(|problem| self.fault(problem))
    }
}

/// A script is there, can be executed, and mentions each option it is called with.
fn missing_script(root: &Path, path: &str, arguments: &[String]) -> Option<Problem> {
    let file = root.join(path);
    let Ok(text) = fs::read_to_string(&file) else { return Some(Problem::NoSuchFile(path.into())) };
    let is_executable = fs::metadata(&file).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
    let is_code = [".sh", ".py"].iter().any(|end| path.ends_with(end));
    let unknown = arguments.iter().find(|word| word.starts_with("--") && !text.contains(&**word));
    match unknown {
        _ if is_code && !is_executable => Some(Problem::NotExecutable(path.into())),
        Some(option) => Some(Problem::UnknownOption { program: path.into(), option: option.clone() }),
        None => None,
    }
}

/// The package that `-p` names is there, and what `--bin`, `--test` and `--bench` name is in it.
fn missing_target(root: &Path, arguments: &[String]) -> Option<Problem> {
    let named = |option: &str| arguments.iter().skip_while(|word| *word != option).nth(1);
    let package = named("-p")?;
    let Some(manifest) = manifests(root).into_iter().find(|text| text.contains(&format!("name = \"{package}\"")))
    else {
        return Some(Problem::NoSuchPackage(package.clone()));
    };
    ["--bin", "--test", "--bench"].into_iter().find_map(|kind| {
        let target = named(kind)?;
        let is_there = manifest.contains(&format!("name = \"{target}\"")) || has_file(&manifest, kind, target);
        (!is_there).then(|| Problem::NoSuchTarget { package: package.clone(), target: target.clone() })
    })
}

/// Whether cargo finds the target by its place; the manifest ends with its folder.
fn has_file(manifest: &str, kind: &str, target: &str) -> bool {
    let folder = Path::new(manifest.rsplit('\n').next().unwrap_or_default());
    let homes = match kind {
        "--bin" => "src/bin",
        "--test" => "tests",
        _ => "benches",
    };
    folder.join(homes).join(format!("{target}.rs")).exists() || folder.join(homes).join(target).join("main.rs").exists()
}

/// The text of each package's manifest, with its folder for a last line.
fn manifests(root: &Path) -> Vec<String> {
    let crates = fs::read_dir(root.join("crates")).into_iter().flatten().flatten().map(|entry| entry.path());
    let others = ["hypercall", "pv-mmu", "bench", "examples", "fuzz"].map(|name| root.join(name));
    let read = |folder: std::path::PathBuf| {
        let text = fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        Some(format!("{text}\n{}", folder.display()))
    };
    crates.chain(others).filter_map(read).collect()
}

/// Every command that `pages` show or mention.
///
/// # Errors
/// Lines that no shell could take apart.
pub fn commands(pages: &[Page]) -> Result<Vec<Command>, Vec<Fault>> {
    let (mut found, mut faults) = (Vec::new(), Vec::new());
    for page in pages {
        let shown = page.blocks.iter().filter(|block| is_shell(block)).flat_map(lines);
        let mentioned =
            page.spans.iter().filter(|span| is_command(&span.text)).map(|span| (span.line, span.text.clone(), true));
        for (line, text, is_mentioned) in shown.chain(mentioned) {
            let page = page.path.display().to_string();
            match split(&text) {
                Some(parts) => {
                    let command = |words| Command { page: page.clone(), line, words, is_mentioned };
                    found.extend(parts.into_iter().map(command));
                }
                None => faults.push(Fault { page, line, problem: Problem::NotAShellCommand(text) }),
            }
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// A block of commands of this repository, no walk's: what that runs need not be parsed.
fn is_shell(block: &Block) -> bool {
    let is_shell = matches!(block.language(), "console" | "sh");
    is_shell && ["untested", "tested by", "run"].iter().all(|mark| block.marked(mark).is_none())
}

fn lines(block: &Block) -> Vec<(usize, String, bool)> {
    let prompt = if block.language() == "console" { "$ " } else { "" };
    let code = block.joined();
    let numbered = code.lines().enumerate().filter_map(|(number, text)| Some((number, text.strip_prefix(prompt)?)));
    numbered.map(|(number, text)| (block.line + 1 + number, text.into(), false)).collect()
}

/// Whether code within a text is a command.
fn is_command(text: &str) -> bool {
    let is_script = |text: &str| {
        text.starts_with("ci/") && [".sh", ".py"].iter().any(|end| text.split(' ').any(|word| word.ends_with(end)))
    };
    text.starts_with("pvmmu ") || text.starts_with("cargo run ") || text.starts_with("cargo test -p") || is_script(text)
}

/// The words of each of the commands that a line joins, without variables set for them and what becomes of their output.
fn split(line: &str) -> Option<Vec<Vec<String>>> {
    let plain = line.replace(['(', ')'], " ");
    let words = shlex::split(&plain)?;
    let is_joint = |word: &String| ["&&", "||", "|", ";"].contains(&&**word);
    let is_said = |word: &&String| ![">", ">>", "2>", "<"].contains(&&***word);
    let sets = |word: &&String| {
        word.split_once('=').is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
    };
    let said = |words: &[String]| words.iter().skip_while(sets).take_while(is_said).cloned().collect::<Vec<_>>();
    let parts = words.split(is_joint).map(said);
    Some(parts.filter(|words| !words.is_empty()).collect())
}
