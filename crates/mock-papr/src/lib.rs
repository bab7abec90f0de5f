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

/// Numbers, flags and answers.
pub(crate) mod abi {
    pub(crate) const H_REMOVE: u64 = 0x04;
    pub(crate) const H_ENTER: u64 = 0x08;
    pub(crate) const H_READ: u64 = 0x0c;
    pub(crate) const H_PROTECT: u64 = 0x18;
    pub(crate) const H_BULK_REMOVE: u64 = 0x124;
    pub(crate) const H_BLOCK_REMOVE: u64 = 0x328;

    pub(crate) const EXACT: u64 = 1 << 39;
    pub(crate) const READ_4: u64 = 1 << 37;
    pub(crate) const AVPN: u64 = 1 << 31;
    pub(crate) const ANDCOND: u64 = 1 << 30;

    pub(crate) const SUCCESS: i64 = 0;
    pub(crate) const PARTIAL: i64 = 5;
    pub(crate) const FUNCTION: i64 = -2;
    pub(crate) const PARAMETER: i64 = -4;
    pub(crate) const PTEG_FULL: i64 = -6;
    pub(crate) const NOT_FOUND: i64 = -7;

    /// First doubleword: valid, large, bolted, and QEMU's own mark.
    pub(crate) const VALID: u64 = 1;
    pub(crate) const LARGE: u64 = 4;
    pub(crate) const BOLTED: u64 = 0x10;
    pub(crate) const MARK: u64 = 0x40;
    /// Second doubleword: referenced and changed.
    pub(crate) const REFERENCED: u64 = 0x100;
    pub(crate) const CHANGED: u64 = 0x80;
}
