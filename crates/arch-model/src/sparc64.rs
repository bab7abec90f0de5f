//! sparc64 on the mock of a sun4v hypervisor.

use hypercall::VirtAddr;
use mock_sun4v::{Page, Sun4v as Mock, Trap};
use pv_mmu::arch::Preemption;
use pv_mmu::arch::sparc64::{Batch, Call, ContextNumber, Invalidation, PageShift, Refusal, Sun4v};

use crate::{
    cpu::Cpu,
    world::{Arch, REFUSED},
};

/// The one address space.
const SPACE: ContextNumber = ContextNumber(5);
const VALID: u64 = 1 << 63;

/// See the module.
pub(crate) struct Sparc64;

/// Where an entry maps: the refused one where no address can be.
const fn address(entry: usize) -> u64 {
    if entry == REFUSED { 1 << 47 } else { (entry as u64 + 1) << 13 }
}

const fn page(entry: usize) -> Page {
    Page { context: SPACE.0, address: address(entry) }
}

impl Arch for Sparc64 {
    type Mock = Mock;
    type Work = Invalidation;
    type Refusal = Refusal;
    type Deferral = Batch<2>;
    const PREEMPTION: Preemption = Preemption::Disabled;
    const REFUSES: bool = true;
    const FIRST: u64 = 1;

    fn mock(vcpus: usize) -> Mock {
        Mock::new(vcpus, 1 << 40)
    }

    fn value(number: u64) -> u64 {
        number
    }

    fn store(mock: &mut Mock, _: usize, entry: usize, new: u64) {
        mock.store(page(entry), if new == 0 { 0 } else { VALID | (new << 13) });
    }

    fn work(entry: usize, old: u64, _: u64) -> Option<Invalidation> {
        let address = VirtAddr::unchecked(address(entry));
        (old != 0).then_some(Invalidation::Page { context: SPACE, address, shift: PageShift::BASE })
    }

    fn is_stale(mock: &Mock, _: usize, entry: usize, _: u64) -> bool {
        mock.stale(page(entry)).is_some()
    }

    fn is_full(waiting: &Batch<2>) -> bool {
        waiting.is_full()
    }
}

impl Sun4v for Cpu<'_, Sparc64> {
    fn call(&self, call: Call, arguments: [u64; 4]) -> u64 {
        self.hardware("trap", |mock, vcpu| trap(mock, vcpu, call, arguments))
    }

    /// A cross call: its work runs on the others as their interrupt, at some moment until all have answered.
    fn on_every_vcpu(&self, _: ContextNumber, work: &dyn Fn(&Self) -> u64) -> u64 {
        let answers = (0..self.world.vcpus.len()).map(|vcpu| {
            self.point("cross call");
            // Outside a region the task may have been moved meanwhile.
            let own = self.vcpu_number();
            self.task().vcpu.set(vcpu);
            let answer = self.undisturbed(|| work(self));
            self.task().vcpu.set(own);
            answer
        });
        answers.fold(0, |first, status| if first == 0 { status } else { first })
    }

    fn invalidate_tsb(&self, context: ContextNumber, address: VirtAddr, _: PageShift) {
        let page = Page { context: context.0, address: address.value() };
        self.hardware("TSB", |mock, _| mock.invalidate_tsb(page));
    }

    fn invalidate_tsb_of(&self, context: ContextNumber) {
        self.hardware("TSB of all", |mock, _| mock.invalidate_tsb_of(context.0));
    }
}

fn trap(mock: &mut Mock, vcpu: usize, call: Call, [first, second, third, fourth]: [u64; 4]) -> u64 {
    let arguments = [first, second, third, fourth, 0];
    let trap = match call {
        Call::UnmapAddress => Trap { number: 0x84, function: 0, arguments },
        Call::DemapContext => Trap { number: 0x80, function: 0x23, arguments },
    };
    mock.trap(vcpu, trap).map_or(u64::MAX, |status| status.0)
}
