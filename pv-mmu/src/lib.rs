//! Batches a paravirtualised guest kernel's page-table operations and hands them to the hypervisor
//! when its contract says so, right under preemption, interrupts and migration by construction.
//!
//! The rules it keeps, R1 to R18, are those of `docs/contract.md`. How it keeps them:
//!
//! - *Laziness is task state, only the queue is per vCPU.* [`TaskState`] knows a depth and nothing of
//!   queues; a [`VcpuQueue`] knows nothing of tasks. No change of one has to go together with a
//!   change of the other, so there is no window between the two (R9).
//! - *One step at a time.* The queue is reached only through [`Platform::with_vcpu`], which pins the
//!   caller and masks upcalls for the length of one step. Before another task runs on a vCPU, the
//!   switch hook ([`Mmu::switch`]) hands over whatever is queued there (R7, R8).
//! - *What must not be written does not compile.* [`Region`] borrows the task mutably, wants a token
//!   of task context and stays on its thread: a nested region, a region in an interrupt handler and
//!   a region sent elsewhere are compile errors (R4, R6). A write outside a region ([`Outside`])
//!   answers with a token that insists on an answer to the TLB question.
//! - *Nothing fails silently.* Every operation that is not effective is named, with the refusal and,
//!   with the feature `caller-location`, the line that asked for it (R2, R14).
//!
//! A kernel implements [`Platform`], keeps a [`VcpuQueue`] per vCPU and a [`TaskState`] per task, and
//! goes through [`Mmu`]:
//!
//! ```
//! # mod kernel { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/kernel.rs")); }
//! # use mock_xen::{referee::Profile as Rules, testing::TestGuest};
//! # let guest = TestGuest::new(Rules::Strict);
//! # let kernel = kernel::Kernel::new(&guest);
//! # let entries = (0..8).map(|n| (guest.slot(n), guest.pte(n)));
//! use hypercall::{MmuextOp, TaskContext};
//! use pv_mmu::{Mmu, Operations, TaskState};
//!
//! let (mmu, context, mut task) = (Mmu::new(&kernel), TaskContext::in_user_space(), TaskState::new());
//! let mut region = mmu.enter(&mut task, &context); // a second one does not compile
//! for (slot, pte) in entries {
//!     region.set_pte(slot, pte);
//! }
//! region.mmuext(MmuextOp::TlbFlushAll);
//! region.leave()?; // one hypercall, in the order asked; what was refused is named
//! # assert_eq!(mmu.stats().flushes, 1);
//! # Ok::<(), pv_mmu::Failures>(())
//! ```
//!
//! The crate allocates nothing, keeps no statics, has no `unsafe` and does not panic in release builds.
#![no_std]
#![forbid(unsafe_code)]

pub mod arch;
mod caller;
mod dynamic;
mod failure;
mod interrupt;
mod mmu;
mod operations;
mod outside;
mod planted;
mod platform;
mod queue;
mod region;
mod rewrite;
mod stats;
mod switch;
pub mod table;
mod task;

pub use dynamic::{Context, Dynamic};
pub use failure::{Failure, FailurePolicy, Failures, Report, Status};
pub use interrupt::Interrupt;
pub use mmu::{Mmu, RangeError};
pub use operations::Operations;
pub use outside::{FlushOwed, Outside, SetRangeError};
pub use planted::Fault;
pub use platform::Platform;
pub use queue::{Callback, Queue, VcpuQueue};
pub use region::{Paused, Region};
pub use rewrite::{
    Asks, Harvest, HarvestError, Held, HeldBuffer, Known, Modification, NotCleared, ReadModifyWrite, Young,
};
pub use stats::{FlushReason, Stats};
pub use switch::ContextSwitch;
pub use task::{EnterError, LeaveError, PauseError, Profile, ResumeError, TaskState};
