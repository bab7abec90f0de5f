//! Recorded requests, led through `pv-mmu` wherever its kernel runs: before a mock in user space, or in the kernel that
//! the lab boots on the real Xen.
//!
//! [`lead`] is the one way a request reaches the library, so what differs between two replays is the hypervisor's doing.
//! For the way to a kernel that shares no memory with whoever has the trace there is a [`List`] of steps, and an
//! [`Answer`] back. Both speak of frames by *names*, because the two guests have different machine frames: in a list and
//! in an answer every [`Mfn`](hypercall::Mfn) is a name ([`Names`]). Whoever reads bytes of the wire gets what was
//! written or a [`WireError`]; a checksum over the whole is the transport's.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

mod answer;
mod bases;
mod bytes;
pub mod lead;
mod list;
mod names;
mod operation;

pub use answer::{Answer, Called, FrameState, OWN, Refusal, Refused, Writer as AnswerWriter};
pub use bases::Bases;
pub use bytes::{Sink, WireError};
pub use list::{Deed, Head, List, MOST_OPERATIONS, Older, OperationBuffer, Step, Steps, Writer as ListWriter};
pub use names::{DEVICE, DIRECT_MAP_PAGE, KERNEL_ENTRIES, Names, OWN_ENTRY, XEN_ENTRIES, rename, rename_word};
