//! A guest kernel small enough to explore every interleaving of, and the explorer that does.
#![forbid(unsafe_code)]

mod cpu;
mod design;
mod explore;
mod fixture;
mod found;
mod guest;
mod machine;
mod picture;
mod point;
mod scenario;

pub use explore::{Bounds, Choice, Dice, Fault, Misfit, Outcome, Schedule, ScheduleError, Seen, Tally};
pub use found::Found;
pub use picture::{Moment, text, who};
pub use point::What;
pub use scenario::{Handler, Profile, Program, Scenario, Step};

/// Explores a scenario on this library.
pub fn explore(scenario: &std::sync::Arc<Scenario>, observe: impl FnMut(&Seen) -> bool) -> Outcome {
    explore::explore::<design::PvMmu>(scenario, observe)
}
