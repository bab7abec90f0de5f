//! A hypervisor that stores what it is told, refuses marked values, and tells the referee.

use std::cmp::Ordering;
use std::collections::HashMap;

use hypercall::{Errno, MmuUpdate, Operation, Pte, PteFlags, PteSlot, Subject, UpdateCommand, VcpuId};
use mock_xen::referee::Referee;

/// An update to a value with this bit is refused.
pub(crate) const REFUSED: u64 = 1 << 9;

/// A table's worth of memory behind hypercalls.
#[derive(Default)]
pub(crate) struct Hypervisor {
    pub(crate) memory: HashMap<u64, u64>,
}

/// What became of one call: how many operations were done, and why the next was not.
pub(crate) struct Answer {
    pub(crate) done: usize,
    pub(crate) refusal: Option<Errno>,
}

impl Hypervisor {
    pub(crate) fn read(&self, slot: PteSlot) -> Pte {
        Pte::from_bits(self.memory.get(&slot.address()).copied().unwrap_or(0))
    }

    /// One hypercall with one array: in order up to the first refusal.
    pub(crate) fn call(&mut self, referee: &Referee, vcpu: VcpuId, operations: &[Operation]) -> Answer {
        let refused = operations.iter().position(is_refused);
        let done = refused.unwrap_or(operations.len());
        for (index, operation) in operations.iter().enumerate() {
            let result = match index.cmp(&done) {
                Ordering::Less => Some(Ok(())),
                Ordering::Equal => Some(Err(Errno::BUSY)),
                Ordering::Greater => None,
            };
            if index < done {
                self.apply(operation);
            }
            referee.arrived(vcpu, operation, result);
        }
        Answer { done, refusal: refused.map(|_| Errno::BUSY) }
    }

    fn apply(&mut self, operation: &Operation) {
        let Operation::Update { update, .. } = operation else { return };
        let held = self.memory.entry(update.slot.address()).or_default();
        let kept = match update.slot.command() {
            Some(UpdateCommand::PreserveAd) => *held & PteFlags::ACCESSED_DIRTY.bits(),
            _ => 0,
        };
        *held = update.value | kept;
    }
}

fn is_refused(operation: &Operation) -> bool {
    matches!(operation, Operation::Update { update, .. } if update.value & REFUSED != 0)
}

/// Operations of one kind that can share a hypercall.
pub(crate) fn share_a_call(a: &Operation, b: &Operation) -> bool {
    match (a, b) {
        (Operation::Update { subject: a, .. }, Operation::Update { subject: b, .. }) => a == b,
        (Operation::Mmuext { domain: a, .. }, Operation::Mmuext { domain: b, .. }) => a == b,
        _ => false,
    }
}

pub(crate) fn update(slot: PteSlot, value: u64) -> Operation {
    Operation::Update { update: MmuUpdate { slot, value }, subject: Subject::SELF }
}
