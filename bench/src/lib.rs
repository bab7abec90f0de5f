//! What the benchmarks run on: pages, and a hypervisor that accepts everything at once and does nothing, so that what
//! is measured is the policy.
//!
//! One thread only: a [`Desk`] belongs to the benchmark that made it. Workloads that look at what has come of
//! them have nothing to see here; `pvmmu bench` measures those, on the real Xen.

#![forbid(unsafe_code)]

mod apart;
mod desk;

pub use apart::Apart;
pub use desk::{Desk, Sheet};
use workloads::{Policy, Workload};

/// What can be measured here: each workload that needs no effects, by each policy.
pub fn cases() -> impl Iterator<Item = (Workload, Policy)> {
    let workloads = Workload::ALL.into_iter().filter(|workload| !workload.looks_at_effects());
    workloads.flat_map(|workload| Policy::ALL.into_iter().map(move |policy| (workload, policy)))
}

/// Those of few tables: a run under valgrind is slow, and more tables tell nothing new.
pub fn small_cases() -> impl Iterator<Item = (Workload, Policy)> {
    cases().filter(|(workload, _)| workload.tables <= SMALL)
}

/// Tables of a small case, at most.
pub const SMALL: usize = 2;
