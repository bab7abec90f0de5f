//! The documents of this repository hold what they say, and what would not is found.

use std::fs;
use std::path::Path;
use std::process::Command;

use pages::{BUILT, Page, doctests, faults, pages, root};

#[test]
fn every_block_is_tested_and_every_link_leads_somewhere() {
    let pages = pages(&root()).unwrap();
    let blocks: usize = pages.iter().map(|page| page.blocks.len()).sum();
    assert!(pages.len() > 30 && blocks > 20, "hardly a page found: {} with {blocks} blocks", pages.len());
    let faults: Vec<String> = faults(&root(), &pages).iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_doctests_are_those_of_the_documents_as_they_are_now() {
    assert_eq!(doctests(&pages(&root()).unwrap()), BUILT, "build the crate again: `touch crates/pages/build.rs`");
}

#[test]
fn every_page_is_in_the_index() {
    let pages = pages(&root()).unwrap();
    let index = pages.iter().find(|page| page.path == Path::new("docs/README.md")).unwrap();
    let in_docs = pages
        .iter()
        .filter_map(|page| page.path.strip_prefix("docs").ok())
        .filter(|path| *path != Path::new("README.md"));
    let missing: Vec<_> =
        in_docs.filter(|path| !index.links.iter().any(|link| Path::new(&link.text) == *path)).collect();
    assert!(missing.is_empty(), "docs/README.md has no link to {missing:?}");
}

/// Each with the words by which it is found.
const PLANTED: [(&str, &str); 19] = [
    ("```text\nx\n```", "nothing tests this `text` block"),
    ("    cargo run --release\n", "nothing tests this `` block"),
    ("<!-- untested -->\n```text\nx\n```", "gives no reason"),
    ("<!-- untested: a picture -->\n\nBetween them a paragraph.\n\n```text\nx\n```", "nothing tests this `text` block"),
    ("```rust,ignore\nx\n```", "an ignored block"),
    ("<!-- tested by ci/test.sh -->\n```c\nx\n```", "does not read this page"),
    ("```console\n$ cargo run --release\nfine\n```", "nobody compares `fine`"),
    ("```console\n$ ci/test.sh \"\n```", "no shell takes"),
    ("```sh\nmake\n```", "`make` is no program of this repository"),
    ("```console\n$ ci/bench.sh --instruction-counts\n```", "`ci/bench.sh` does not take `--instruction-counts`"),
    ("```console\n$ ci/test.sh | moore\n```", "`moore` is no program of this repository"),
    ("```console\n$ RUST_LOG=all ci/everything.sh\n```", "there is no `ci/everything.sh`"),
    ("```console\n$ ci/everything.sh\n```", "there is no `ci/everything.sh`"),
    ("`ci/everything.sh`", "there is no `ci/everything.sh`"),
    ("```console\n$ cargo run -p mock-xem\n```", "there is no package `mock-xem`"),
    ("`cargo test -p mock-xen --test nothing`", "package `mock-xen` has no target `nothing`"),
    ("```console\n$ (cd crates/nowhere && cargo build)\n```", "there is no `crates/nowhere`"),
    ("`crates/mock-xen/src/judge.rs`", "there is no `crates/mock-xen/src/judge.rs`"),
    ("[there](docs/nowhere.md)", "the link leads to `docs/nowhere.md`"),
];

#[test]
fn what_is_planted_is_found() {
    for (text, words) in PLANTED {
        let found = faults(&root(), &[Page::parse("planted.md", text)]);
        assert!(found.len() == 1 && found[0].to_string().contains(words), "{text}: {found:?}");
    }
}

#[test]
fn what_is_marked_is_taken_for_what_it_is() {
    let texts = [
        "<!-- untested: needs a kernel of Linux -->\n```sh\nmake\n```",
        "<!-- tested by ci/c-face.sh -->\n```c\nx\n```",
        "```console\n$ ci/bench.sh --instructions # counts\n```",
        "```console\n$ RUSTDOCFLAGS=all ci/bench.sh --instructions\n```",
        "```console\n$ ci/bench.sh --instructions > what-it-said.txt\n```",
        "```console\n$ ci/bench.sh \\\n    --instructions\n```",
        "<!-- file: src/lib.rs -->\n```rust\nx\n```",
    ];
    for text in texts {
        assert_eq!(faults(&root(), &[Page::parse("docs/c-face.md", text)]), [], "{text}");
    }
}

/// Whether rustdoc passes the doctests of a page.
fn passes(text: &str, folder: &Path) -> bool {
    let source = folder.join("planted.rs");
    fs::write(&source, doctests(&[Page::parse("planted.md", text)])).unwrap();
    let mut rustdoc = Command::new("rustdoc");
    rustdoc.args(["--test", "--edition", "2024"]).arg(&source).current_dir(folder).output().unwrap().status.success()
}

#[test]
fn a_rust_block_that_is_wrong_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let setup = "<!-- setup\nfn six() -> u32 {\n...\n}\nassert_eq!(six(), 6);\n-->\n";
    assert!(passes(&format!("{setup}```rust\n2 * 3\n```"), folder.path()));
    assert!(!passes(&format!("{setup}```rust\n2 * 4\n```"), folder.path()), "runs and is wrong");
    assert!(!passes("```rust\nlet six: u32 = \"\";\n```", folder.path()), "does not compile");
}
