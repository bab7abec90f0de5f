//! Pages that readers type along with are gone through as they would be, in an empty folder.

use std::fs;
use std::os::unix::fs::symlink;

use pages::{Page, Step, Walk, WalkError, root};

/// Goes through `page` with the repository beside the folder the reader is in, at the versions it is built with.
fn go(page: &Page) -> Result<(), WalkError> {
    let folder = tempfile::tempdir().unwrap();
    let root = root().canonicalize().unwrap();
    symlink(&root, folder.path().join("pv-mmu")).unwrap();
    let mut walk = Walk::of(page);
    // No network, and no versions of dependencies that nothing was tested with.
    let lock = Step::Write { path: "Cargo.lock".into(), text: fs::read_to_string(root.join("Cargo.lock")).unwrap() };
    let in_package =
        walk.0.iter().position(|(_, step)| matches!(step, Step::Run { command, .. } if command.starts_with("cd ")));
    if let Some(at) = in_package {
        walk.0.insert(at + 1, (0, lock));
    }
    let target = root.join("target/walks").display().to_string();
    walk.go(
        folder.path(),
        &[
            ("CARGO_TARGET_DIR", target),
            ("CARGO_NET_OFFLINE", "true".into()),
            ("CARGO_TERM_COLOR", "never".into()),
            ("RUST_TEST_THREADS", "2".into()),
        ],
    )
}

#[test]
fn the_tutorial() {
    let text = fs::read_to_string(root().join("docs/tutorial.md")).unwrap();
    let page = Page::parse("docs/tutorial.md", &text);
    assert!(Walk::of(&page).0.len() > 8, "hardly a step: {:?}", Walk::of(&page));
    go(&page).unwrap_or_else(|error| panic!("docs/tutorial.md, {error}"));
}

#[test]
fn what_a_page_says_wrongly_is_found() {
    let output = "<!-- run -->\n```console\n$ echo one; echo two\none\ntwo\n```";
    let cut = "<!-- run -->\n```console\n$ echo one; echo two; echo three\none\n...\nthree\n```";
    for right in [output, cut] {
        go(&Page::parse("planted.md", right)).unwrap();
    }
    for wrong in
        [output.replace("\none\n", "\none \\o/\n"), output.replace("\ntwo\n", "\nthree\n"), cut.replace("\n...", "")]
    {
        let found = go(&Page::parse("planted.md", &wrong)).unwrap_err();
        assert!(matches!(found, WalkError::Output { line: 2, .. }), "{found}");
    }
    let failing = go(&Page::parse("planted.md", &output.replace("echo two", "echo two; false"))).unwrap_err();
    assert!(matches!(failing, WalkError::Failed { .. }), "{failing}");
    let files =
        "<!-- file: one/two.txt -->\n```text\nthree\n```\n\n<!-- run -->\n```console\n$ cat one/two.txt\nthree\n```";
    go(&Page::parse("planted.md", files)).unwrap();
}
