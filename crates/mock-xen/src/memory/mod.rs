//! Memory: how addresses lead to it, and what a hypercall's arguments lie in.
//!
//! Arguments lie in one of four places, behind one trait: the guest's own memory, reached as the
//! processor would through the TLB and the page tables of the vCPU ([`GuestMemory`]); the memory of
//! a prepared call ([`hypercall::ArgumentMemory`]); a slice of updates ([`SliceMemory`]); a program's own
//! memory ([`HostMemory`]). Hypercalls are decoded over the trait alone.

mod guest;
mod host;
mod translate;
mod walk;

use crate::not_modelled::NotModelled;

pub(crate) use guest::GuestMemory;
pub use host::HostMemory;
pub(crate) use host::{Lent, SliceMemory};
pub(crate) use translate::{Access, Fault, Processor, Translated};
pub(crate) use walk::{index_at, is_guest_address};

/// Memory addressed as the hypercall's arguments address it.
pub(crate) trait ArgumentSource {
    /// Whether an array may start at `address`. Whether it can be read shows when it is.
    fn may_start_at(&self, address: u64) -> bool;

    /// The `N` consecutive 8-byte words at `address`; `None` where one of them cannot be read.
    fn read<const N: usize>(&self, address: u64) -> Option<[u64; N]>;

    /// Whether all of the `bytes` bytes at `address` can be read.
    fn can_read(&self, address: u64, bytes: u64) -> bool;

    /// The done count at `address`.
    fn read_done(&self, address: u64) -> Option<u32>;

    /// Stores a done count; `None` where that cannot be.
    fn write_done(&mut self, address: u64, done: u32) -> Option<()>;

    /// Stores consecutive words; `None` where one of them cannot be, with those bytes stored that
    /// lie before it.
    fn write(&mut self, address: u64, words: &[u64]) -> Option<()>;

    /// What an access since the start needed that is not modelled.
    fn not_modelled(&self) -> Option<NotModelled> {
        None
    }
}
