//! The mock of a PAPR hypervisor's hashed page table, held against QEMU's pseries machine.
//!
//! A guest of its own, which is the machine's firmware, makes the hypercalls that it is given and answers with r3 to r12. [`Machine`] boots it,
//! [`Calls`] makes up hypercalls from a seed, without looking at any answer, and [`compare`] gives the same ones to
//! the machine and to the mock, up to the first that they answer differently. Both begin with an empty table.
//!
//! Two kinds of sequences ([`Kind`]): of hypercalls about entries that nothing uses, and of hypercalls with loads through the entries between
//! them, which show what the machine has kept of entries that are gone.
#![forbid(unsafe_code)]

mod calls;
mod compare;
mod machine;
mod pages;
mod tools;

pub use calls::{Call, Calls, Kind};
pub use compare::{Compared, Divergence, compare, mock};
pub use machine::{Answer, LabError, MEMORY, Machine, TABLE};
