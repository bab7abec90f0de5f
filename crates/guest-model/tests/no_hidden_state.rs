//! Merging equal states is complete only if the library keeps nothing that the explorer does not see: no
//! statics, cells or atomics. Everything it shares it reaches through its traits, and the rest lies on the
//! stack of the coroutine, where it follows from the answers that coroutine has had.

use std::fs;
use std::path::{Path, PathBuf};

/// Names by which state can hide from a signature.
const HIDING: [&str; 10] =
    ["Cell", "Atomic", "Mutex", "RwLock", "OnceLock", "LazyLock", "thread_local", "static ", "static mut", "unsafe"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the library's sources lie beside this crate");
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    paths.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
}

/// The lines, numbered from 1, in which state could hide.
fn hides(text: &str) -> Vec<(usize, &str)> {
    let code =
        |line: &str| line.split("//").next().unwrap_or("").replace("'static ", "").replace("forbid(unsafe_code)", "");
    let lines = text.lines().enumerate().filter(|(_, line)| HIDING.iter().any(|name| code(line).contains(name)));
    lines.map(|(number, line)| (number + 1, line)).collect()
}

#[test]
fn the_library_keeps_no_state_of_its_own() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pv-mmu/src");
    let files = sources(&folder);
    assert!(files.len() > 15, "only {} sources in {}", files.len(), folder.display());
    for file in files {
        let text = fs::read_to_string(&file).expect("readable");
        assert_eq!(hides(&text), [], "{} can keep what an explorer does not see", file.display());
    }
}

#[test]
fn what_hides_is_found() {
    for planted in ["static LAST: u64 = 0;", "    depth: Cell<u8>,", "use core::sync::atomic::AtomicU8;"] {
        assert_eq!(hides(planted), [(1, planted)]);
    }
    assert_eq!(hides("fn here() -> &'static Location<'static> { // a Cell\n}"), []);
}
