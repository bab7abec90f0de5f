//! Who may leave operations queued at this moment: the contract's words for it, for everything here that asks.

use std::collections::{HashMap, HashSet};

use hypercall::VcpuId;

use super::request::TaskKey;

/// Follows regions and context switches.
#[derive(Debug, Default)]
pub(crate) struct Laziness {
    depth: HashMap<TaskKey, u32>,
    switching: HashSet<VcpuId>,
}

impl Laziness {
    /// The task enters a region.
    pub(crate) fn enter(&mut self, task: TaskKey) {
        *self.depth.entry(task).or_default() += 1;
    }

    /// The task leaves a region; without effect outside one.
    pub(crate) fn leave(&mut self, task: TaskKey) {
        let depth = self.depth.entry(task).or_default();
        *depth = depth.saturating_sub(1);
    }

    /// A context switch begins.
    pub(crate) fn switch_out(&mut self, vcpu: VcpuId) {
        self.switching.insert(vcpu);
    }

    /// It ends.
    pub(crate) fn switch_in(&mut self, vcpu: VcpuId) {
        self.switching.remove(&vcpu);
    }

    /// Whether the task is in a region, whatever has interrupted it.
    pub(crate) fn in_region(&self, task: TaskKey) -> bool {
        self.depth.get(&task).is_some_and(|depth| *depth > 0)
    }

    /// Whether the vCPU is between the two hooks of a context switch.
    pub(crate) fn is_switching(&self, vcpu: VcpuId) -> bool {
        self.switching.contains(&vcpu)
    }

    /// Whether an operation asked now may wait (R1, R6).
    pub(crate) fn may_wait(&self, task: TaskKey, vcpu: VcpuId, interrupt: bool) -> bool {
        (self.in_region(task) || self.is_switching(vcpu)) && !interrupt
    }
}
