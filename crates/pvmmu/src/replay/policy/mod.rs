//! Batchers a trace can be led through.
//!
//! A policy takes steps in the order of the trace, each on the vCPU and in the task it names, and makes whatever
//! hypercalls it sees fit. It never sees what the guest does beside it ([`Act::Guest`](super::program::Act::Guest)) nor
//! the looks at memory: those steps are taken by the replay itself.

mod linux;
mod pv_mmu;
mod single;

pub(crate) use linux::Linux;
pub(crate) use pv_mmu::{Kernel, Memory, PvMmu, library_act};
pub(crate) use single::Single;

use hypercall::{Errno, Operation, VcpuId};

use super::program::Step;

/// What the guest is told when a step has been taken.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Whether an enter or a leave was taken; meaningless for other steps.
    pub(crate) accepted: bool,
    /// Operations that are not effective, with the refusal; `None` for one that was not attempted.
    pub(crate) failures: Vec<(Operation, Option<Errno>)>,
    /// What else the guest is told.
    pub(crate) complaints: Vec<String>,
}

impl Answer {
    /// Taken, and nothing to tell.
    pub(crate) fn accepted() -> Self {
        Self { accepted: true, ..Self::default() }
    }
}

/// Something that turns what is asked for into hypercalls.
pub(crate) trait Policy {
    /// Takes one step.
    fn act(&mut self, step: &Step) -> Answer;

    /// How many operations wait on the vCPU.
    fn queued(&self, vcpu: VcpuId) -> u64;
}
