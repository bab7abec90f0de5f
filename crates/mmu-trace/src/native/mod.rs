//! The native format: every event of a trace, whole and compact.
//!
//! ```text
//! trace  = magic version block* end
//! block  = records:u32 bytes:u32 crc32:u32 payload        little endian; records > 0; crc32 of the payload
//! end    = 0:u32       bytes:u32 crc32:u32 account        nothing may follow
//! record = head (line stamp)? (vcpu task flags)? fields
//! head   = tag + 0x40 if vcpu, task and flags are those of the record before + 0x80 if line and stamp are one more
//! ```
//!
//! Numbers are LEB128 varints of at most ten bytes; numbers that tend to repeat or count are zigzag differences to the
//! last number of their lane. Lanes start at 0 in every block, so a block stands alone. The fields of each kind are the
//! table in `fields.rs`. The account is the [`Summary`](crate::Summary) of what the events were read from.
//!
//! The bundled traces take 6.2 to 6.8 bytes an event, 18 times less than their text.
//!
//! A block is checked before its first event is handed out: a reader yields no event of a damaged block. A trace without
//! its end was cut.

mod coder;
mod fields;
mod pass;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use reader::Reader;
pub use writer::{WriteError, Writer};

/// The first bytes of every native trace; no text and no gzip stream begins so.
pub const MAGIC: [u8; 7] = *b"\x89pvmmu\n";

/// The version written and read; it follows the magic.
pub const VERSION: u8 = 2;

/// The longest text of a mark or callback, in bytes. Four times what a line of text can hold, because text that is not
/// UTF-8 grows when it is made so.
pub const MAX_TEXT: usize = 64 * 1024;

/// A block is closed when it is this long, in bytes.
const BLOCK_TARGET: usize = 64 * 1024;

/// No block is longer: one record beyond the target, which holds at most one text.
const BLOCK_LIMIT: usize = BLOCK_TARGET + MAX_TEXT + 256;
