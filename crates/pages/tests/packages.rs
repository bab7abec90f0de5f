//! Dependencies are what they are said to be, and no manifest names one that its crate does not use.

use std::fs;
use std::path::{Path, PathBuf};

use pages::{BUILT, dependencies::packages, root};

/// Every Rust file below `folder` that belongs to its package.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut found = Vec::new();
    for path in entries.filter(|path| !path.ends_with("target")) {
        if path.is_dir() && !path.join("Cargo.toml").exists() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found
}

/// Whether `code` names something of the library that it calls `library`.
fn uses(code: &str, library: &str) -> bool {
    let path = format!("{library}::");
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(&path).any(|(at, _)| !code[..at].ends_with(is_part))
}

/// The code of a file, with that of modules that live elsewhere.
fn code(path: &Path) -> String {
    let own = fs::read_to_string(path).unwrap();
    let elsewhere = own.lines().filter_map(|line| line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]"));
    let others: String = elsewhere.map(|other| code(&path.with_file_name(other))).collect();
    own + &others
}

/// What is not used of `libraries` by the package whose code is in `folders`.
fn unused(folders: &[PathBuf], libraries: &[String]) -> Vec<String> {
    let sources = folders.iter().flat_map(|folder| sources(folder));
    let code: String = sources.map(|path| code(&path)).collect();
    // The code of the documents is this crate's.
    let code = if folders[0].ends_with("pages") { code + BUILT } else { code };
    libraries.iter().filter(|library| !uses(&code, library)).cloned().collect()
}

#[test]
fn no_manifest_names_what_its_crate_does_not_use() {
    let packages = packages(&root()).unwrap();
    assert!(packages.len() > 20, "hardly a package found: {packages:?}");
    let library = |name: &String| {
        let own = packages.iter().find(|package| package.name == *name);
        own.map_or_else(|| name.replace('-', "_"), |package| package.library.clone())
    };
    for package in &packages {
        let others = package.dependencies.iter().map(|edge| &edge.to).filter(|name| **name != package.name);
        let others: Vec<String> = others.map(library).collect();
        assert_eq!(unused(&package.folders, &others), [""; 0], "dependencies of `{}`", package.name);
    }
}

#[test]
fn a_dependency_that_is_not_used_is_found() {
    let named = ["pulldown_cmark", "shlex", "parking_lot", "clap"].map(String::from);
    assert_eq!(unused(&[root().join("crates/pages")], &named), ["parking_lot", "clap"]);
}

/// What `docs/decisions/libraries.md` says: a package, and a file that uses it.
fn roles() -> Vec<(String, String)> {
    let text = fs::read_to_string(root().join("docs/decisions/libraries.md")).unwrap();
    let codes = |line: &str| line.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows = text.lines().filter(|line| line.starts_with("| `")).map(codes);
    rows.flat_map(|codes| {
        codes[1..]
            .iter()
            .filter(|code| code.ends_with(".rs"))
            .map(|path| (codes[0].clone(), path.clone()))
            .collect::<Vec<_>>()
    })
    .collect()
}

#[test]
fn packages_are_used_where_they_are_said_to_be() {
    let roles = roles();
    assert!(roles.len() >= 8, "{roles:?}");
    for (package, path) in roles {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        assert!(uses(&text, &package.replace('-', "_")), "`{path}` does not use `{package}`");
        assert!(!uses(&text, "clap"), "`{path}` is found to use what it does not");
    }
}
