//! A guest kernel small enough to explore every interleaving of, and the explorer that does.
//!
//! A model is a few vCPUs, tasks that make short programs of [`Step`]s, handlers of events, locks, a
//! scheduler with hooks, on the mock hypervisor and judged by its referee. What does the regions is a
//! [`Policy`]: this library, called through its own traits, or one of Linux's designs since 2006 with its
//! internal steps written out. At every call of the library into the platform or the hypervisor, and
//! before every event the referee is told of, anything may happen that can: an interrupt, a preemption, a
//! move to another vCPU, another vCPU's turn. [`Policy::explore`] goes through all of it within a scenario's
//! [`Bounds`]; what it finds comes with the shortest [`Schedule`] to it, which [`Policy::replay`] shows.
//!
//! ```
//! use guest_model::{Policy, catalogue};
//!
//! let b13a = catalogue().into_iter().find(|exhibit| exhibit.scenario.name == "B13a").unwrap();
//! let linux = Policy::Linux70.explore(&b13a.scenario, |_| true).fault.unwrap();
//! assert_eq!(linux.schedule.to_string(), "3.p1");
//! let ours = Policy::PvMmu.explore(&b13a.scenario, |_| true);
//! assert!(ours.complete && ours.fault.is_none());
//! ```
#![forbid(unsafe_code)]

mod catalogue;
mod completion;
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
