//! The real Xen on any Linux host: boots our own PV kernel as its domain 0 in QEMU, hands it one command
//! with a payload, and brings the answer back.
//!
//! Three things are needed, and [`Lab::find`] gets what is missing: a QEMU (a Debian package, installed
//! where the caller is root), Debian's own Xen 4.17 (unpacked below `target/`, never installed: a host
//! must not boot it by accident), and the kernel (built from `crates/xen-guest/kernel`).
//!
//! A run ([`Lab::run`]) is one boot of a second or two. It ends in an [`Answer`] whose every byte has
//! passed a checksum, or in a [`RunError`] that says what went wrong and what the console said last.
//! It is bounded in time at every stage. Whatever happens, and even if this process is killed, no QEMU
//! is left behind.
#![forbid(unsafe_code)]

mod answer;
mod error;
mod kernel;
mod lab;
mod machine;
mod process;
mod qemu;
mod testing;
mod tools;
mod watch;
mod xen;

pub use answer::Answer;
pub use error::{FindError, Lines, RunError};
pub use kernel::build_kernel;
pub use lab::{Lab, Sources};
pub use machine::{Clock, Machine};
pub use qemu::CPU_MODEL;
