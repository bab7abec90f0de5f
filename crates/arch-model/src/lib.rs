//! The callers and scenarios of [`guest_model`], run on the architectures where invalidations or barriers wait.
//!
//! A model is two vCPUs, tasks with the same short programs, handlers, locks and a scheduler, on the mock of an architecture. At every call
//! of the library into the machine or the hardware anything may happen that can: an interrupt, a preemption, another vCPU's
//! turn, and a task that waits may go on anywhere. [`Model::explore`] goes through all of it up to a number of such deviations,
//! by repetition from the beginning; nothing is sampled and nothing is merged. What is judged is what translations
//! may still be used, by the mock's own account, when a rule says that they may not:
//!
//! | rule | judged |
//! |---|---|
//! | R1, R5 | outside regions and in pauses, when the write returns |
//! | R2 | at every leave |
//! | R4 | a write in a region does nothing at once, after an inner leave too |
//! | R6 | when a handler ends; and what waits for others is what it was |
//! | R7, R8 | at a switch, where what waits is the vCPU's |
//! | R9 | a step on what waits within another |
//! | R12 | at a flush |
//! | R14 | what is refused is told once, and the rest is done |
#![forbid(unsafe_code)]

mod arm64;
mod bugs;
mod cpu;
mod design;
mod explore;
mod figures;
mod powerpc64;
mod program;
mod run;
mod sparc64;
mod world;

use std::sync::Arc;

use guest_model::Scenario;
use pv_mmu::arch::Preemption;

pub use bugs::{Bug, bugs};
pub use design::{Design, Plant};
pub use explore::Outcome;
pub use figures::{Load, Row, figures, fill_rates, loads};
pub use world::Found;

macro_rules! models {
    ($($(#[$doc:meta])* $name:ident, $called:literal, $arch:path;)*) => {
        /// An architecture.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Model {
            $($(#[$doc])* $name,)*
        }

        impl Model {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it is called.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $called,)*
                }
            }

            /// What its regions do to preemption.
            #[must_use]
            pub const fn preemption(self) -> Preemption {
                match self {
                    $(Self::$name => <$arch as world::Arch>::PREEMPTION,)*
                }
            }

            /// Goes through every interleaving of at most `deviations`, with fewer first; ends at the first that breaks a rule.
            #[must_use]
            pub fn explore(self, design: Design, scenario: &Arc<Scenario>, deviations: usize) -> Outcome {
                match self {
                    $(Self::$name => explore::explore::<$arch>(design, scenario, deviations),)*
                }
            }
        }
    };
}

models! {
    /// arm64, tables of the kernel's own.
    Arm64, "arm64", arm64::Arm64;
    /// powerpc64, entries of the hash table removed one by one.
    Powerpc64, "powerpc64", powerpc64::Powerpc64<powerpc64::Single>;
    /// The same, removed by fours.
    Powerpc64Bulk, "powerpc64-bulk", powerpc64::Powerpc64<powerpc64::Bulk>;
    /// The same, removed by blocks of eight pages.
    Powerpc64Block, "powerpc64-block", powerpc64::Powerpc64<powerpc64::Block>;
    /// powerpc64 with radix tables: nothing waits.
    Radix, "powerpc64-radix", powerpc64::OnRadix;
    /// sparc64 on sun4v.
    Sparc64, "sparc64", sparc64::Sparc64;
}
