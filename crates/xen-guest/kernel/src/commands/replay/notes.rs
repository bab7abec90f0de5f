//! What is noted while steps are taken: hypercalls of each, what was refused, what was found.

use core::fmt::Display;

use hypercall::{Operation, Record, VcpuId};
use mmu_replay::{Called, Refusal, Refused};
use xen_guest::current_vcpu;

/// Steps there is room for.
pub(super) const STEPS: usize = 1 << 17;
/// Refusals there is room for. What has no room is complained of.
const REFUSALS: usize = 1 << 10;
/// Looks at entries there is room for. What has no room is complained of.
const LOOKS: usize = 1 << 15;

pub(super) struct Notes {
    step: u32,
    called: [Called; STEPS],
    refused: Noted<Refusal, REFUSALS>,
    found: Noted<u64, LOOKS>,
    complaints: u32,
}

impl Notes {
    pub(super) const fn new() -> Self {
        Self {
            step: 0,
            called: [Called { hypercalls: 0, updates: 0, largest: 0 }; STEPS],
            refused: Noted { items: [Refusal { step: 0, vcpu: 0, what: Refused::Beside }; REFUSALS], used: 0 },
            found: Noted { items: [0; LOOKS], used: 0 },
            complaints: 0,
        }
    }

    /// What comes from now on belongs to this step.
    pub(super) const fn begin(&mut self, step: u32) {
        self.step = step;
    }

    /// Something passes to the hypervisor.
    pub(super) fn record(&mut self, vcpu: VcpuId, record: Record) {
        let called = &mut self.called[self.step as usize];
        match record {
            Record::Hypercall { operations, .. } => {
                called.hypercalls += 1;
                called.largest = called.largest.max(operations);
            }
            Record::Operation { operation, result } => {
                called.updates += u32::from(matches!(operation, Operation::Update { .. }));
                if let Some(Err(errno)) = result {
                    self.refuse(vcpu, Refused::Operation(operation, errno));
                }
            }
            Record::Refused(errno) => self.refuse(vcpu, Refused::Multicall(errno)),
        }
    }

    /// The step's own access faulted.
    pub(super) fn beside(&mut self) {
        self.refuse(current_vcpu(), Refused::Beside);
    }

    fn refuse(&mut self, vcpu: VcpuId, what: Refused) {
        if !self.refused.add(Refusal { step: self.step, vcpu: vcpu.number(), what }) {
            self.complain(&format_args!("more than {REFUSALS} refusals"));
        }
    }

    /// The trace looks at an entry, which holds `word`.
    pub(super) fn found(&mut self, word: u64) {
        if !self.found.add(word) {
            self.complain(&format_args!("more than {LOOKS} looks at entries"));
        }
    }

    pub(super) fn complain(&mut self, what: &dyn Display) {
        self.complaints += 1;
        xen_guest::log!("step {}: {what}", self.step);
    }

    /// The hypercalls of the first `steps` steps.
    pub(super) fn called(&self, steps: u32) -> &[Called] {
        &self.called[..steps as usize]
    }

    pub(super) fn refused(&mut self) -> &mut [Refusal] {
        &mut self.refused.items[..self.refused.used]
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.found.items[..self.found.used]
    }

    pub(super) const fn complaints(&self) -> u32 {
        self.complaints
    }
}

/// As many as there is room for.
struct Noted<T, const N: usize> {
    items: [T; N],
    used: usize,
}

impl<T, const N: usize> Noted<T, N> {
    /// Whether there was room.
    fn add(&mut self, item: T) -> bool {
        let Some(place) = self.items.get_mut(self.used) else { return false };
        *place = item;
        self.used += 1;
        true
    }
}
