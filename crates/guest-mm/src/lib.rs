//! The page-table code of a small guest kernel: what its system calls do to page tables, written for
//! `pv-mmu` on any [`Platform`](pv_mmu::Platform).
//!
//! One module per caller. Each says what its system call has to achieve, and does it by queued operations on
//! entries in use, plain stores to tables that are not, and the steps between the two. Nothing traps, and
//! no entry of a table that could be built or given back whole is updated by itself.
//!
//! Protocol. The caller holds the address space's lock for the length of the call, as Linux holds `mmap_lock`
//! for writing and the tables' locks: no other task changes the same entries, and who faults meanwhile waits. What
//! is asked for in a region is effective when that is left, unless a function says that it flushes. Pages are
//! given away only when nobody reaches them any more: the functions that empty entries flush every TLB behind them
//! before they tell which pages it were (R12).
//!
//! No module allocates: pages come from the caller, and go back to it.
#![no_std]
#![forbid(unsafe_code)]

mod exec;
mod exit;
mod fork;
mod mremap;
mod munmap;
mod space;

pub use exec::NotAttached;
pub use fork::ForkError;
pub use mremap::MoveError;
pub use space::{Page, Space, Span};
