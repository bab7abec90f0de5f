//! The wire between the lab on the host and the kernel it boots.
//!
//! To the kernel: the boot module is one [`Request`], a command's name and its payload, under a
//! checksum. From the kernel: its console, line by line. A line is at most [`LINE_BYTES`] long, which is
//! what Xen writes without letting go of its console, so lines of the kernel and of Xen itself never
//! mix. The first character tells what a line is:
//!
//! | line | meaning |
//! |---|---|
//! | `@` | a [`Frame`]: a piece of the answer, with its own checksum |
//! | `> ` | the kernel's log |
//! | `! ` | the kernel's last words: it has crashed and says why |
//! | `(XEN) ` | the hypervisor |
//!
//! Anything else is the firmware, or debris. The answer is the data frames in the order of their
//! numbers, from 0 without a gap, between a [`FrameKind::Ready`] and a [`FrameKind::End`] that tells its
//! length and checksum. So whatever a broken console loses, repeats or garbles is noticed.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod frame;
mod line;
mod request;

pub use frame::{Frame, FrameError, FrameKind, PAYLOAD_BYTES, Total};
pub use line::{LAST_LINE, LINE_BYTES, Line, TEXT_END, TextLine};
pub use request::{HEADER_BYTES, Request, RequestError};
