//! arm64 on the mock of its processors: entries of kernel tables, made valid and invalid.

use std::convert::Infallible;

use mock_arm64::Arm64 as Mock;
use pv_mmu::arch::Preemption;
use pv_mmu::arch::arm64::{Barriers, Pending};

use crate::{
    cpu::Cpu,
    world::{Arch, ENTRIES},
};

/// See the module.
pub(crate) struct Arm64;

impl Arch for Arm64 {
    type Mock = Mock;
    type Work = ();
    type Refusal = Infallible;
    type Deferral = Pending;
    const PREEMPTION: Preemption = Preemption::Allowed;
    const REFUSES: bool = false;
    const FIRST: u64 = 0;

    fn mock(vcpus: usize) -> Mock {
        Mock::new(vcpus, ENTRIES)
    }

    /// Always the same page, so that nothing has to be broken before it is made.
    fn value(_: u64) -> u64 {
        1
    }

    fn store(mock: &mut Mock, vcpu: usize, entry: usize, new: u64) {
        mock.store(vcpu, entry, new);
    }

    fn work(_: usize, _: u64, new: u64) -> Option<()> {
        (new != 0).then_some(())
    }

    /// What was made valid may not fault. What was made invalid is not this mechanism's.
    fn is_stale(mock: &Mock, vcpu: usize, entry: usize, value: u64) -> bool {
        value != 0 && mock.may_use(vcpu, entry).fault
    }

    fn is_full(_: &Pending) -> bool {
        false
    }

    /// The switch code observes what others did under the scheduler's lock, and has a `dsb`.
    fn switched(mock: &mut Mock, vcpu: usize) {
        mock.observe(vcpu);
        mock.dsb_ish(vcpu);
    }
}

impl Barriers for Cpu<'_, Arm64> {
    fn dsb_ishst(&self) {
        self.hardware("dsb ishst", |mock, vcpu| mock.dsb_ishst(vcpu));
    }

    fn isb(&self) {
        self.hardware("isb", |mock, vcpu| mock.isb(vcpu));
    }
}
