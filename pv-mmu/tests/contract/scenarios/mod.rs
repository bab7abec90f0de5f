//! The numbered scenarios, each on the mock hypervisor under the referee's eyes.

mod basics;
mod failures;
mod interrupts;
mod limits;
mod nesting;
mod ordering;
mod preemption;
mod rewriting;
