//! The lab against the real Xen, and against what can go wrong on the way.
//!
//! Where QEMU or Xen cannot be had, the tests that need them say so on standard error and pass, unless
//! `CI=true`: then they fail.

mod bench;
mod c_guest;
mod failures;
mod programs;
mod pv_mmu;
mod runtime;
mod transport;
