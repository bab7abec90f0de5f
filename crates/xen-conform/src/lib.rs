//! The mock held against real Xen: the same programs on both, and what they answer differently.
#![forbid(unsafe_code)]

mod cases;
mod compare;
mod conform;
mod executor;
pub mod generate;
mod mock;
mod running;
mod shrink;
mod table;
mod unmodelled;

pub use cases::{CaseVerdict, CasesReport, Verdict, cases, run_cases};
pub use compare::{Difference, Pair};
pub use conform::{ConformReport, Divergence, Settings, conform, program};
pub use executor::{ExecuteError, Executor, Xen};
pub use mock::{Mock, MockMachine};
pub use running::RunningError;
pub use table::Outcomes;
