//! The hashed page table of a PAPR hypervisor: the hypercalls that enter, read, change and remove its entries.
//!
//! Calls are raw: a number and r4 to r12, which hold the results afterwards; the answer is r3. What they answer is what QEMU's
//! pseries machine answers ([`Dialect::QemuTcg`]), or what the standard says ([`Dialect::Papr`]) where the two differ: QEMU marks entries
//! with a bit of its own (0x40), puts the bits for "referenced" and "changed" of a bulk removal elsewhere, forgets to flush when a bulk
//! removal ends in an error, and has no block removal. On an error nothing but what is said has changed, and registers
//! that a call does not answer in keep what they held.
//!
//! TLBs: a processor that has used an entry ([`Papr::touch`]) may go on using it as it was until a call flushes.
#![forbid(unsafe_code)]

mod remove;
mod table;

pub use table::{Dialect, Fault, Papr};

/// Numbers, flags, words and answers, as PAPR has them.
pub mod abi {
    macro_rules! numbers {
        ($($(#[$doc:meta])* $name:ident: $kind:ty = $value:expr;)*) => {
            $($(#[$doc])* pub const $name: $kind = $value;)*
        };
    }

    numbers! {
        /// Removes one entry.
        H_REMOVE: u64 = 0x04;
        /// Enters one.
        H_ENTER: u64 = 0x08;
        /// Reads one, or four.
        H_READ: u64 = 0x0c;
        /// Changes one's rights.
        H_PROTECT: u64 = 0x18;
        /// Removes four.
        H_BULK_REMOVE: u64 = 0x124;
        /// Removes those of a block of eight pages.
        H_BLOCK_REMOVE: u64 = 0x328;
        /// The place itself, and no other of its group.
        EXACT: u64 = 1 << 39;
        /// Four entries.
        READ_4: u64 = 1 << 37;
        /// Only an entry of this tag.
        AVPN: u64 = 1 << 31;
        /// Only an entry that has none of these bits.
        ANDCOND: u64 = 1 << 30;
        /// Which a word of several removals is.
        TYPE: u64 = 3 << 62;
        /// A request.
        REQUEST: u64 = 1 << 62;
        /// A response.
        RESPONSE: u64 = 2 << 62;
        /// No more of them.
        END: u64 = 3 << 62;
        /// Done.
        SUCCESS: i64 = 0;
        /// Some of it is.
        PARTIAL: i64 = 5;
        /// There is no such call.
        FUNCTION: i64 = -2;
        /// An argument is bad.
        PARAMETER: i64 = -4;
        /// No place is free.
        PTEG_FULL: i64 = -6;
        /// There is no such entry.
        NOT_FOUND: i64 = -7;
        /// First doubleword: the entry is valid.
        VALID: u64 = 1;
        /// Its page is large.
        LARGE: u64 = 4;
        /// It is not to be evicted.
        BOLTED: u64 = 0x10;
        /// QEMU's own mark.
        MARK: u64 = 0x40;
        /// Second doubleword: the page was referenced.
        REFERENCED: u64 = 0x100;
        /// It was changed.
        CHANGED: u64 = 0x80;
    }
}
