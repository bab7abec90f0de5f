//! The referee finds the faults it exists for, and nothing else: small honest batchers are clean, and
//! each with one fault switched on is reported under that fault's rule.

mod batcher;
mod doubt;
mod failures;
mod faults;
mod guest;
mod hardware;
mod hypervisor;
mod programs;
mod regions;
mod tolerance;
