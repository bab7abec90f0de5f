//! Linux 6.1's batcher: the yardstick, which must reproduce what was recorded.
//!
//! Per vCPU a buffer ([`LinuxBuffer`]), to whose last entry some callers append and others do not: TLB flushes, remappings
//! and stack switches always open one. It leaves when it is full, when a
//! region is left or a switch ends, and at the end of each caller's bracket that the mode does not defer. Between the
//! hooks of a context switch the mode is the processor's, whatever region the task is in. A pte set outside a region
//! does not pass the buffer at all.

use hypercall::{Hypervisor, Operation, VcpuId, issue_operation};
use workloads::LinuxBuffer;

use super::{Answer, Policy};
use crate::replay::lazy::Laziness;
use crate::replay::program::{Act, Step};
use crate::replay::request::Source;

/// Linux's buffers, one for each vCPU.
pub(crate) struct Linux<H> {
    vcpus: Vec<(LinuxBuffer, H)>,
    laziness: Laziness,
}

impl<H: Hypervisor> Linux<H> {
    /// On these vCPUs, in the order of their numbers.
    pub(crate) fn new(vcpus: Vec<H>) -> Self {
        let vcpus = vcpus.into_iter().map(|hypervisor| (LinuxBuffer::default(), hypervisor)).collect();
        Self { vcpus, laziness: Laziness::default() }
    }

    fn work(&mut self, step: &Step, source: Source, operations: &[Operation]) {
        let defers = self.defers(step, source);
        let mask = 8 * self.vcpus.len().div_ceil(64);
        let (buffer, hypervisor) = self.vcpu(step.vcpu);
        let direct = sets_directly(source) && !defers;
        for operation in operations {
            if direct && matches!(operation, Operation::Update { .. }) {
                // A refusal is seen and counted by the recorder around the hypervisor.
                let _ = issue_operation(hypervisor, operation);
            } else {
                buffer.queue(operation, mask, extends(source, operation), hypervisor);
                if direct {
                    buffer.flush(hypervisor);
                }
            }
        }
        if !defers && !direct {
            buffer.flush(hypervisor);
        }
    }

    /// Each caller names the mode in which its operations may wait.
    fn defers(&self, step: &Step, source: Source) -> bool {
        let switching = self.laziness.is_switching(step.vcpu);
        match source {
            Source::PinWalk | Source::UnpinWalk => false,
            Source::BasePointer | Source::StackSwitch => switching && !step.interrupt,
            _ => self.laziness.in_region(step.task) && !switching && !step.interrupt,
        }
    }

    fn flush(&mut self, vcpu: VcpuId) {
        let (buffer, hypervisor) = self.vcpu(vcpu);
        buffer.flush(hypervisor);
    }

    fn vcpu(&mut self, vcpu: VcpuId) -> &mut (LinuxBuffer, H) {
        &mut self.vcpus[vcpu.number() as usize]
    }
}

impl<H: Hypervisor> Policy for Linux<H> {
    fn act(&mut self, step: &Step) -> Answer {
        match &step.act {
            Act::Enter => self.laziness.enter(step.task),
            Act::Leave => {
                self.flush(step.vcpu);
                self.laziness.leave(step.task);
            }
            Act::Flush => self.flush(step.vcpu),
            Act::SwitchOut => {
                // A region that is switched away from is left first.
                if self.laziness.in_region(step.task) {
                    self.flush(step.vcpu);
                }
                self.laziness.switch_out(step.vcpu);
            }
            Act::SwitchIn { .. } => {
                self.flush(step.vcpu);
                self.laziness.switch_in(step.vcpu);
            }
            Act::Work { source, operations } => self.work(step, *source, operations),
            Act::Guest(_) | Act::Compare { .. } => {}
        }
        Answer::accepted()
    }

    fn queued(&self, vcpu: VcpuId) -> u64 {
        self.vcpus[vcpu.number() as usize].0.queued() as u64
    }
}

/// Who sets ptes past the buffer outside a region, and without looking at what it holds.
const fn sets_directly(source: Source) -> bool {
    matches!(source, Source::PteWrite | Source::Range | Source::CopyOnWrite)
}

/// Whether the caller tries to append to the last entry.
const fn extends(source: Source, operation: &Operation) -> bool {
    match operation {
        Operation::Update { .. } => true,
        Operation::Mmuext { .. } => matches!(source, Source::PinWalk | Source::UnpinWalk | Source::BasePointer),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use hypercall::MmuextOp;

    use super::*;
    use crate::replay::testing::{Bench, mmuext, remap, step, update, work};

    fn lead(linux: &mut impl Policy, steps: impl IntoIterator<Item = Step>) {
        steps.into_iter().for_each(|step| assert!(linux.act(&step).accepted));
    }

    #[test]
    fn the_thirty_second_update_of_a_region_finds_the_buffer_full() {
        let (bench, vcpus) = Bench::new(1);
        let mut linux = Linux::new(vcpus);
        lead(&mut linux, [step(Act::Enter)]);
        lead(&mut linux, (0..31).map(|index| work(Source::PteWrite, [update(index)])));
        assert_eq!(bench.calls().0, 0);
        lead(&mut linux, [work(Source::PteWrite, [update(31)])]);
        assert_eq!(bench.calls(), (1, 31));
        lead(&mut linux, [step(Act::Leave)]);
        assert_eq!(bench.calls().0, 2);
    }

    #[test]
    fn only_the_very_last_entry_grows_and_32_entries_fit() {
        let (bench, vcpus) = Bench::new(1);
        let mut linux = Linux::new(vcpus);
        lead(&mut linux, [step(Act::Enter)]);
        let pair = |index| [work(Source::PteWrite, [update(index)]), work(Source::Table, [remap()])];
        lead(&mut linux, (0..16).flat_map(pair));
        assert_eq!(bench.calls().0, 0);
        lead(&mut linux, [work(Source::Table, [remap()])]);
        assert_eq!(bench.calls(), (1, 32));
    }

    #[test]
    fn tlb_flushes_never_grow_an_entry_and_walks_do() {
        let flush = || mmuext(MmuextOp::TlbFlushLocal);
        let entries = |source| {
            let (bench, vcpus) = Bench::new(1);
            let mut linux = Linux::new(vcpus);
            lead(&mut linux, [step(Act::Enter)]);
            // 21 of 24 bytes each fill the arguments either way; what differs is what a walk does at its end.
            lead(&mut linux, [work(source, (0..21).map(|_| flush()))]);
            bench.calls()
        };
        assert_eq!(entries(Source::Tlb), (0, 0));
        assert_eq!(entries(Source::PinWalk), (1, 21));
    }

    #[test]
    fn a_set_of_vcpus_takes_a_bit_for_each() {
        // 15 flushes of 32 bytes fit, and 12 of 40.
        for (vcpus, fit) in [(2, 15), (64, 15), (65, 12)] {
            let (bench, hypervisors) = Bench::new(vcpus);
            let mut linux = Linux::new(hypervisors);
            let flush = || mmuext(MmuextOp::TlbFlushMulti { vcpus: [VcpuId::new(0)].into_iter().collect() });
            lead(&mut linux, [step(Act::Enter)]);
            lead(&mut linux, (0..fit).map(|_| work(Source::Tlb, [flush()])));
            assert_eq!(bench.calls().0, 0, "{vcpus} vCPUs");
            lead(&mut linux, [work(Source::Tlb, [flush()])]);
            assert_eq!(bench.calls(), (1, fit), "{vcpus} vCPUs");
        }
    }

    #[test]
    fn a_pte_set_within_a_switch_goes_past_the_buffer_even_in_a_region() {
        let (bench, vcpus) = Bench::new(1);
        let mut linux = Linux::new(vcpus);
        lead(&mut linux, [step(Act::Enter), step(Act::SwitchOut), work(Source::PteWrite, [update(1)])]);
        assert_eq!(bench.calls(), (1, 1));
    }

    #[test]
    fn a_pte_outside_a_region_goes_past_the_buffer() {
        let (bench, vcpus) = Bench::new(1);
        let mut linux = Linux::new(vcpus);
        lead(&mut linux, [step(Act::Enter), work(Source::PteWrite, [update(1)])]);
        lead(&mut linux, [Step { interrupt: true, ..work(Source::PteWrite, [update(2)]) }]);
        assert_eq!(bench.calls(), (1, 1), "and overtakes what is in it");
        lead(&mut linux, [step(Act::Leave)]);
        assert_eq!(bench.calls(), (2, 1));
    }

    #[test]
    fn a_switch_defers_the_processors_operations_and_flushes_a_region_first() {
        let (bench, vcpus) = Bench::new(1);
        let mut linux = Linux::new(vcpus);
        lead(&mut linux, [step(Act::Enter), work(Source::PteWrite, [update(1)]), step(Act::SwitchOut)]);
        assert_eq!(bench.calls().0, 1);
        lead(&mut linux, [work(Source::BasePointer, [mmuext(MmuextOp::TlbFlushLocal)])]);
        assert_eq!(bench.calls().0, 1);
        let next = crate::replay::request::TaskKey::new(8, 0);
        lead(&mut linux, [step(Act::SwitchIn { next })]);
        assert_eq!(bench.calls().0, 2);
    }
}
