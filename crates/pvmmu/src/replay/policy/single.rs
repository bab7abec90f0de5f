//! No batching at all: every operation is a hypercall of its own.

use hypercall::{Hypervisor, VcpuId, issue_operation};

use super::{Answer, Policy};
use crate::replay::program::{Act, Step};

/// Issues each operation at once.
pub(crate) struct Single<H> {
    vcpus: Vec<H>,
}

impl<H: Hypervisor> Single<H> {
    /// On these vCPUs, in the order of their numbers.
    pub(crate) fn new(vcpus: Vec<H>) -> Self {
        Self { vcpus }
    }
}

impl<H: Hypervisor> Policy for Single<H> {
    fn act(&mut self, step: &Step) -> Answer {
        let Act::Work { operations, .. } = &step.act else { return Answer::accepted() };
        let hypervisor = &mut self.vcpus[step.vcpu.number() as usize];
        for operation in operations {
            // A refusal is seen and counted by the recorder around the hypervisor.
            let _ = issue_operation(hypervisor, operation);
        }
        Answer::accepted()
    }

    fn queued(&self, _vcpu: VcpuId) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::request::Source;
    use crate::replay::testing::{Bench, step, update, work};

    #[test]
    fn every_operation_is_a_hypercall() {
        let (bench, vcpus) = Bench::new(1);
        let mut single = Single::new(vcpus);
        let steps = [step(Act::Enter), work(Source::PteWrite, (0..3).map(update)), step(Act::Leave)];
        assert!(steps.iter().all(|step| single.act(step).accepted));
        assert_eq!(bench.calls(), (3, 1));
    }
}
