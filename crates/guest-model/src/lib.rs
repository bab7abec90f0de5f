//! A guest kernel small enough to explore every interleaving of, and the explorer that does.
#![forbid(unsafe_code)]

mod catalogue;
mod cpu;
mod design;
mod explore;
mod fixture;
mod found;
mod guest;
mod machine;
mod picture;
mod point;
mod policy;
mod scenario;

pub use catalogue::{Exhibit, catalogue, every_program};
pub use explore::{Bounds, Choice, Dice, Fault, Misfit, Outcome, Schedule, ScheduleError, Seen, Tally};
pub use found::Found;
pub use picture::{Moment, text, who};
pub use point::What;
pub use policy::Policy;
pub use scenario::{Handler, Profile, Program, Scenario, Step};
