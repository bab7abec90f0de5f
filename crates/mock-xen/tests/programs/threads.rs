//! Several vCPUs at once.

use std::sync::Barrier;
use std::thread;

use hypercall::{Hypervisor, MmuUpdate, Pte, PteFlags, PteSlot, Subject, VcpuId};
use mock_xen::Seeded;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::guest::Guest;
use crate::wish::{Wish, wish};

const VCPUS: u32 = 4;

/// Runs `step` on every vCPU at once, `rounds` times each.
fn at_once(rounds: usize, step: impl Fn(VcpuId, usize) + Sync) {
    let start = Barrier::new(VCPUS as usize);
    thread::scope(|scope| {
        for vcpu in (0..VCPUS).map(VcpuId::new) {
            let (start, step) = (&start, &step);
            scope.spawn(move || {
                start.wait();
                (0..rounds).for_each(|round| step(vcpu, round));
            });
        }
    });
}

#[test]
fn random_programs_on_all_vcpus_leave_the_counts_right() {
    let mut runner = TestRunner::deterministic();
    for round in 0..20 {
        let guest = Guest::new(VCPUS);
        if round % 2 == 1 {
            (0..VCPUS).for_each(|vcpu| guest.xen.set_schedule(VcpuId::new(vcpu), Seeded::new(vcpu.into(), 50)));
        }
        let mut program = || -> Vec<Wish> {
            prop::collection::vec(wish(true), 600).new_tree(&mut runner).expect("nothing is filtered").current()
        };
        let programs: Vec<_> = (0..VCPUS).map(|_| program()).collect();
        at_once(600, |vcpu, round| {
            let _either_answer = guest.run(vcpu, &programs[vcpu.number() as usize][round]);
        });
        guest.xen.audit().unwrap_or_else(|failure| panic!("{failure}"));
    }
}

#[test]
fn vcpus_that_write_the_same_entries_count_each_entry_once() {
    let guest = Guest::new(VCPUS);
    let (table, targets) = (guest.slots[0].table(), &guest.frames[1..]);
    at_once(4000, |vcpu, round| {
        let seed = round * 7 + vcpu.number() as usize * 3;
        let flags = PteFlags::from_bits_truncate(if seed.is_multiple_of(3) { 0x61 } else { 0x63 });
        let pte = if seed.is_multiple_of(5) { Pte::EMPTY } else { Pte::new(targets[seed % targets.len()], flags) };
        let update = |index| MmuUpdate::new(PteSlot::of(table, index), pte);
        let outcome = guest.xen.vcpu(vcpu).mmu_update(&[update(500), update(501)], Subject::SELF);
        assert_eq!((outcome.done, outcome.result), (2, Ok(())));
    });
    guest.xen.audit().unwrap_or_else(|failure| panic!("{failure}"));
}
