//! Where traces come from: a file, or the ones that are built in.
//!
//! A bar shows how far a long file has been read, where standard error is a terminal.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use mmu_trace::{BUNDLED, Bundled, Summary};

/// Files shorter than this, in bytes, are read before a bar could be seen.
const LONG: u64 = 16 << 20;

/// The trace at `path`; where no file is there, the bundled trace of that name.
///
/// # Errors
/// The file cannot be opened.
pub(crate) fn file(path: &Path) -> io::Result<Box<dyn Read>> {
    match File::open(path) {
        Ok(file) => {
            let length = file.metadata()?.len();
            Ok(Box::new(bar(length, LONG, "reading").wrap_read(file)))
        }
        Err(error) => match BUNDLED.iter().find(|bundled| path.as_os_str() == bundled.name) {
            Some(Bundled { gzip, .. }) => Ok(Box::new(*gzip)),
            None => Err(no_trace(error)),
        },
    }
}

/// The error, and which traces need no file.
fn no_trace(error: io::Error) -> io::Error {
    let names = BUNDLED.map(|bundled| bundled.name).join(", ");
    io::Error::new(error.kind(), format!("{error}, nor is it a bundled trace: {names}"))
}

/// Nothing in a trace means anything here.
#[derive(Debug, thiserror::Error)]
#[error(
    "no event that is known, in {lines} lines ({unknown} of unknown events): record the xen events, as docs/record-linux.md says"
)]
pub(crate) struct NoEvents {
    lines: u64,
    unknown: u64,
}

/// That there was anything to read in what has been read.
///
/// # Errors
/// [`NoEvents`] where there was not: such a trace shows nothing, least of all that nothing is wrong.
pub(crate) fn not_blank(summary: &Summary) -> Result<(), NoEvents> {
    if summary.events > 0 { Ok(()) } else { Err(NoEvents { lines: summary.lines, unknown: summary.unknown_lines }) }
}

/// A bar over `length` units that shows only from `long` units on, and only on a terminal.
pub(crate) fn bar(length: u64, long: u64, what: &'static str) -> ProgressBar {
    if length < long {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}%").expect("the template is well formed");
    ProgressBar::new(length).with_style(style).with_message(what).with_finish(ProgressFinish::AndClear)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_shows_no_bar() {
        assert!(bar(LONG - 1, LONG, "reading").is_hidden());
        assert_eq!(bar(LONG, LONG, "reading").length(), Some(LONG));
    }

    #[test]
    fn a_bundled_trace_goes_by_its_name() {
        let mut magic = [0; 2];
        file(Path::new(BUNDLED[1].name)).unwrap().read_exact(&mut magic).unwrap();
        assert_eq!(magic, [0x1f, 0x8b]);
        assert_eq!(file(Path::new("no such trace")).err().unwrap().kind(), io::ErrorKind::NotFound);
    }
}
