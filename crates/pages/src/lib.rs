//! Holds the documents to what they say.
//!
//! Every block of code of every page is one of these, or an error:
//! - Rust: a doctest of this crate, named by page and line. What the reader need not see stands in an HTML comment
//!   right in front of it, `<!-- setup ... -->`; a line `...` in it is the block's place.
//! - `console` and `sh`: commands of this repository, each parsed as the program would ([`Command`]), and run where the
//!   page is a walk ([`Walk`]): there output is compared, word for word.
//! - `<!-- file: PATH -->`: a file of a walk, written before its next command.
//! - `<!-- tested by SCRIPT -->`: what that script reads.
//! - `<!-- untested: REASON -->`: anything else, with a reason.
//!
//! Commands within the text are parsed too, and links lead to something that is there.
#![forbid(unsafe_code)]

mod block;
mod check;
mod command;
pub mod dependencies;
mod walk;

/// What the build script made, to see that it is what the documents say now.
pub const BUILT: &str = include_str!(concat!(env!("OUT_DIR"), "/doctests.rs"));

#[cfg(doctest)]
include!(concat!(env!("OUT_DIR"), "/doctests.rs"));

pub use block::{Block, Page, Span, doctests, pages};
pub use check::{Fault, faults};
pub use command::{Command, commands};
pub use walk::{Step, Walk, WalkError};

/// The root of the repository.
#[must_use]
pub fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
