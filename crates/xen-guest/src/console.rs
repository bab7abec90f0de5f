//! The console, by `console_io`: whole lines, each in one hypercall, so that Xen puts nothing of its
//! own in between.

use core::fmt::{Arguments, Write as _};

use xen_wire::TextLine;

use crate::calls;

/// Writes one line of at most [`xen_wire::LINE_BYTES`], line end included, as it is.
pub fn write_line(line: &[u8]) {
    calls::console_write(line);
}

/// Writes text to the kernel's log; [`log!`](crate::log) calls it.
pub fn log_line(text: Arguments<'_>) {
    let mut line = TextLine::log(write_line);
    // A `TextLine` takes everything; an error is the formatted value's own.
    let _ = line.write_fmt(text);
    line.end();
}

/// Writes text as the kernel's last words.
pub(crate) fn last_words(text: Arguments<'_>) {
    let mut line = TextLine::last_words(write_line);
    let _ = line.write_fmt(text);
    line.end();
}
