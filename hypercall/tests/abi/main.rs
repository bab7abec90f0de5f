//! The ABI, seen from outside the crate.

mod adapters;
mod batch;
mod common;
mod kinds;
