//! What the first steps share.
#![forbid(unsafe_code)]

/// A kernel of two vCPUs on the mock hypervisor: that of `pv-mmu`'s own examples.
#[path = "../../pv-mmu/doc/kernel.rs"]
pub mod kernel;
