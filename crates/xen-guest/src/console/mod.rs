//! The console: of domain 0, `console_io`, whole lines, each in one hypercall, so that Xen puts nothing of its own in between; of
//! another domain, the ring that domain 0 reads.

mod ring;

use core::fmt::{Arguments, Write as _};

use hypercall::VirtAddr;
use xen_wire::TextLine;

use self::ring::Ring;
use crate::{calls, start_info};

/// Writes one line of at most [`xen_wire::LINE_BYTES`], line end included, as it is.
pub fn write_line(line: &[u8]) {
    match start_info::console() {
        None => calls::console_write(line),
        Some((page, port)) => write_to_ring(page, port, line),
    }
}

/// Waits for the daemon where the ring is full: one that never reads stops the kernel, as a serial line would.
fn write_to_ring(page: VirtAddr, port: u32, mut line: &[u8]) {
    // SAFETY: 1. The domain's builder has mapped the page there, for the life of the domain, and uses it for nothing else.
    // 2. A ring consists of atomics. 3. The address is a page's, so it is aligned.
    let ring: &Ring = unsafe { &*core::ptr::with_exposed_provenance(page.value() as usize) };
    loop {
        line = ring.put(line);
        // A port that is not there is a console that nobody reads.
        if calls::send(port).is_err() || line.is_empty() {
            return;
        }
        calls::sched_yield();
    }
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
