//! What manifests say of one another, and the table of `docs/architecture.md` it is held against.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A crate depends on another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edge {
    /// Who.
    pub from: String,
    /// On whom.
    pub to: String,
    /// For its own tests only.
    pub is_for_tests: bool,
}

/// A package of one of the repository's workspaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// What code calls its library.
    pub library: String,
    /// The folders its code is in: that of its manifest, and others that its targets lie in.
    pub folders: Vec<PathBuf>,
    /// What it depends on.
    pub dependencies: Vec<Edge>,
}

/// Manifests of all workspaces there are.
const WORKSPACES: [&str; 5] = ["", "ci/guest-archive", "crates/pv-mmu-c", "crates/xen-guest/kernel", "fuzz"];

/// The packages of every workspace of the repository at `root`.
///
/// # Errors
/// Cargo cannot be run, or does not understand a manifest.
pub fn packages(root: &Path) -> io::Result<Vec<Package>> {
    let mut found = Vec::new();
    for workspace in WORKSPACES {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root.join(workspace));
        let told: Value = serde_json::from_slice(&cargo.output()?.stdout)?;
        found.extend(told["packages"].as_array().into_iter().flatten().map(package));
    }
    Ok(found)
}

fn package(told: &Value) -> Package {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let folder = |value: &Value| Path::new(value.as_str()?).parent()?.canonicalize().ok();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (name, targets) = (text(&told["name"]), list(&told["targets"]));
    let edge = |on: &Value| Edge { from: name.clone(), to: text(&on["name"]), is_for_tests: on["kind"] == "dev" };
    let is_library = |target: &&Value| list(&target["kind"]).iter().any(|kind| kind == "lib" || kind == "staticlib");
    let library =
        targets.iter().find(is_library).map_or_else(|| name.replace('-', "_"), |target| text(&target["name"]));
    let own = folder(&told["manifest_path"]).unwrap_or_default();
    let elsewhere =
        targets.iter().filter_map(|target| folder(&target["src_path"])).filter(|path| !path.starts_with(&own));
    let mut folders: Vec<PathBuf> = elsewhere.collect();
    folders.insert(0, own.clone());
    Package {
        library,
        folders,
        dependencies: list(&told["dependencies"]).iter().map(edge).collect(),
        name: name.clone(),
    }
}

/// The rows of the table in the section `Layers` of a page, from the top: the crates that each names.
#[must_use]
pub fn rows(text: &str) -> Vec<Vec<String>> {
    let section = text.split_once("\n## Layers\n").map_or("", |(_, behind)| behind);
    let section = section.split("\n## ").next().unwrap_or_default();
    let names = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    section.lines().filter(|line| line.starts_with('|')).map(names).filter(|names| !names.is_empty()).collect()
}

/// What is wrong with `edges` among `crates`, by the rows; as sentences.
#[must_use]
pub fn violations(rows: &[Vec<String>], crates: &[String], edges: &[Edge]) -> Vec<String> {
    let row = |name: &String| rows.iter().position(|row| row.contains(name));
    let unplaced = crates.iter().filter(|name| row(name).is_none());
    let mut found: Vec<String> = unplaced
        .map(|name| format!("`{name}` is in no row of docs/architecture.md; place it above what it depends on"))
        .collect();
    let gone = rows.iter().flatten().filter(|name| !crates.contains(name));
    found.extend(gone.map(|name| format!("docs/architecture.md has `{name}`, which is no crate")));
    for Edge { from, to, is_for_tests } in edges {
        let is_upward = row(from) >= row(to) && !is_for_tests;
        // A judge that is tested by the judged would learn from it.
        let is_taught = from.starts_with("mock-") && to == "pv-mmu";
        if is_upward || is_taught {
            found.push(format!("`{from}` depends on `{to}`, which is not below it"));
        }
    }
    found
}
