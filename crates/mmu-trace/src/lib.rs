//! Recorded page-table work of a paravirtualised kernel: read, kept, judged.
//!
//! [`EventReader`] takes a trace of any form, the [text] that Linux's tracer, trace-cmd or perf print or the
//! [native format](native), plain or packed by gzip, and yields [`Event`]s in the order in which they happened. It holds one line or one block at a time:
//! memory does not grow with the trace. It stops at the first place that it cannot read, and its [`Summary`] says what
//! became of every line; after `None` the account is complete.
//!
//! [`check`] judges what the recorded kernel did by the rules of the lazy-region contract, from the events alone. The
//! crate knows no hypervisor and no batcher, so that what judges shares nothing with what is judged.
//!
//! ```
//! use mmu_trace::{BUNDLED, EventReader, check};
//!
//! let mut trace = EventReader::new(BUNDLED[0].gzip)?;
//! let report = check::check(&mut trace)?;
//! assert_eq!((report.regions, report.violations_total), (391, 0));
//! assert_eq!(trace.summary().unknown_lines, 0);
//! # Ok::<(), mmu_trace::ReadError>(())
//! ```
#![forbid(unsafe_code)]

pub mod bundled;
pub mod check;
pub mod error;
pub mod event;
pub mod native;
pub mod open;
pub mod summary;
pub mod text;

pub use bundled::{BUNDLED, Bundled};
pub use error::{NativeFault, ReadError, TextFault};
pub use event::{CallbackKind, EntryFlags, Event, EventKind, ExtendResult, FlushCause, LazyMode, Level, PrevState};
pub use open::{EventReader, open};
pub use summary::{Summary, UnknownLine};
pub use text::TextReader;
