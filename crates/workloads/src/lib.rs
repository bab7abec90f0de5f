//! What is measured, and the ways of doing it.
//!
//! A [`Workload`] says what a table holds before and what it holds after: page-table work that kernels do.
//! A [`Policy`] is a way of doing it: this library's, a peer's, or the limit that no way gets below. A
//! [`Ground`] is what both stand on: a kernel on a real hypervisor, or a test on a mock. [`Grounds::measure`] puts
//! the table into its first state, lets the policy do the work with the clock running, and reads the table
//! back: a policy that does not do all of the work has no cost but an [`Error`].
//!
//! A policy is measured on three [`Grounds`]. On the bare one there is nothing but the policy between caller and
//! hypervisor, and the clock tells the cost. On another every hypercall is counted, on the third every stretch
//! with upcalls masked is timed: both cost time of their own.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(test, feature = "mock"))]
extern crate std;

mod error;
mod ground;
mod measure;
#[cfg(any(test, feature = "mock"))]
pub mod mock;
mod policy;
#[cfg(test)]
mod tests;
mod timed;
mod workload;

pub use error::Error;
pub use ground::{At, Ground};
pub use measure::{Cost, Counted, Grounds, once_by};
pub use policy::{LinuxBuffer, Policy, Visit, Way};
pub use timed::Timed;
pub use workload::{Gathered, Job, Wish, Workload};
