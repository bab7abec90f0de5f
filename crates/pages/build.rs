//! Makes a doctest of every Rust block of the documents.

#[path = "src/block.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library, which uses all of it")]
mod block;

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let pages = block::pages(&root).unwrap_or_else(|error| panic!("cannot read the documents: {error}"));
    for page in &pages {
        println!("cargo::rerun-if-changed={}", root.join(&page.path).display());
    }
    println!("cargo::rerun-if-changed={}", root.join("docs").display());
    println!("cargo::rerun-if-changed=src/block.rs");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    fs::write(out.join("doctests.rs"), block::doctests(&pages)).expect("the build folder can be written");
}
