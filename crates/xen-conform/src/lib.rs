//! The mock held against real Xen: the same programs on both, and what they answer differently.
#![forbid(unsafe_code)]

mod cases;
mod compare;
mod conform;
mod executor;
pub mod generate;
mod mock;
mod named;
mod running;
mod shrink;
mod table;
mod unmodelled;

pub use cases::{CaseVerdict, Verdict, cases, run_cases};
pub use compare::{Difference, Pair, Times};
pub use conform::{ConformReport, Divergence, Settings, conform, differences, program};
pub use executor::{ExecuteError, Executor, Xen};
pub use mock::{Mock, MockMachine};
pub use named::{Named, named};
pub use running::RunningError;
pub use table::Outcomes;
