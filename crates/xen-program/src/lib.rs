//! A small language of hypercalls, stores and probes, and the one interpreter that runs it on every
//! Xen.
//!
//! A program names pages instead of frame numbers and lies, on every machine, at the same addresses
//! (see [`arena`]). It travels as bytes in a list ([`list`]); a machine that implements [`Machine`]
//! runs the list ([`run_list`]) and answers, for each program, with everything a guest can observe:
//! what each call returned and left in registers and arguments, every word of memory it changed, and
//! at the end what probes tell of hidden counts. Answers hold names again, so that those of two
//! machines can be compared byte by byte.
//!
//! The interpreter allocates nothing and runs in a kernel. With the feature `std` there are programs
//! as values ([`Program`]), their text form ([`parse`]), decoded answers ([`Outcome`]) and what a
//! program is expected to answer.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "std"))]
extern crate std;

pub mod arena;
mod code;
#[cfg(feature = "std")]
pub mod expect;
mod frame;
pub mod list;
mod machine;
pub mod numbers;
#[cfg(feature = "std")]
pub mod outcome;
#[cfg(feature = "std")]
mod program;
mod record;
mod run;
#[cfg(feature = "std")]
pub mod text;
mod wire;

pub use frame::{FRAMES, Frame, OBSERVED, PAGES, PageId, Special, Table};
pub use list::{ListError, Mode, Report};
pub use machine::{Answer, Arm, Interrupt, Interruption, Machine, PageFault};
#[cfg(feature = "std")]
pub use outcome::Outcome;
#[cfg(feature = "std")]
pub use program::{Buffer, Program, Step, Value};
pub use record::{Refusal, Word};
pub use run::{Scratch, run_list};
#[cfg(feature = "std")]
pub use text::{Case, CaseStep, Cases, parse};
pub use wire::{Fault, Malformed};
