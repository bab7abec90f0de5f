//! The memory that a hypercall's arguments lie in.
//!
//! Three places, one trait: the guest's own memory, reached as the processor would through the
//! page tables the vCPU runs on ([`GuestMemory`]); the memory of a prepared call
//! ([`hypercall::ArgumentMemory`]); a slice of updates ([`SliceMemory`]). Hypercalls are decoded over the trait alone.

mod guest;
mod host;
mod walk;

pub(crate) use guest::GuestMemory;
pub(crate) use host::SliceMemory;
pub(crate) use walk::{index_at, is_guest_address};

/// Memory addressed as the hypercall's arguments address it.
pub(crate) trait ArgumentSource {
    /// Whether an array may start at `address`. Whether it can be read shows when it is.
    fn may_start_at(&self, address: u64) -> bool;

    /// The `N` consecutive 8-byte words at `address`; `None` where one of them cannot be read.
    fn read<const N: usize>(&self, address: u64) -> Option<[u64; N]>;

    /// The done count at `address`.
    fn read_done(&self, address: u64) -> Option<u32>;

    /// Stores a done count; `None` where that cannot be.
    fn write_done(&mut self, address: u64, done: u32) -> Option<()>;

    /// Stores consecutive words; `None`, and nothing is stored, where one of them cannot be.
    fn write(&mut self, address: u64, words: &[u64]) -> Option<()>;
}
