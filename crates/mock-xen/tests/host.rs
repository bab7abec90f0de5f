//! Hypercalls whose arguments lie in the memory of the program that plays the guest.

use std::collections::BTreeMap;

use hypercall::{Errno, PteSlot, RawCall, Subject, VcpuId, abi};
use mock_xen::HostMemory;
use mock_xen::referee::{Profile, Rule};
use mock_xen::testing::TestGuest;

const CPU: VcpuId = VcpuId::new(0);
const UPDATES: u64 = 0x1000;
const DONE: u64 = 0x2004;
const ENTRIES: u64 = 0x3000;

/// Words by address; what is not there cannot be read or written.
#[derive(Default)]
struct Words(BTreeMap<u64, u64>);

impl Words {
    fn with(words: &[(u64, u64)]) -> Self {
        Self(words.iter().copied().collect())
    }
}

impl HostMemory for Words {
    fn load(&self, address: u64) -> Option<u64> {
        assert!(address.is_multiple_of(8), "{address:#x}");
        self.0.get(&address).copied()
    }

    fn store(&mut self, address: u64, word: u64) -> Option<()> {
        assert!(address.is_multiple_of(8), "{address:#x}");
        self.0.get_mut(&address).map(|place| *place = word)
    }

    fn load_count(&self, address: u64) -> Option<u32> {
        let word = self.0.get(&(address & !7))?;
        Some((word >> (8 * (address % 8))) as u32)
    }

    fn store_count(&mut self, address: u64, count: u32) -> Option<()> {
        let shift = 8 * (address % 8);
        let word = self.0.get_mut(&(address & !7))?;
        *word = *word & !(0xffff_ffff << shift) | u64::from(count) << shift;
        Some(())
    }
}

/// Two updates, of which Xen refuses the second.
fn two_updates(guest: &TestGuest) -> Words {
    Words::with(&[
        (UPDATES, guest.slot(0).bits()),
        (UPDATES + 8, guest.pte(0).bits()),
        (UPDATES + 16, guest.slot(1).bits()),
        (UPDATES + 24, guest.refused_pte().bits()),
        (DONE & !7, u64::MAX),
    ])
}

fn mmu_update(array: u64, count: u64, done: u64) -> RawCall {
    RawCall { number: abi::HYPERCALL_MMU_UPDATE, args: [array, count, done, Subject::SELF.bits().into(), 0] }
}

fn is_set(guest: &TestGuest, slot: PteSlot) -> bool {
    guest.xen().read_entry(slot).is_some_and(|pte| pte.is_present())
}

#[test]
fn an_array_is_read_where_it_lies_and_the_done_count_is_stored_there() {
    let guest = TestGuest::new(Profile::Strict);
    let mut words = two_updates(&guest);
    let answer = guest.xen().hypercall_from(CPU, &mut mmu_update(UPDATES, 2, DONE), &mut words);
    assert_eq!(answer, Errno::BUSY.as_return());
    assert_eq!(words.0[&(DONE & !7)], 0x1_ffff_ffff, "the count and nothing beside it");
    assert!(is_set(&guest, guest.slot(0)) && !is_set(&guest, guest.slot(1)));
    guest.assert_violates(Rule::R13);
}

#[test]
fn what_cannot_be_read_or_is_no_multiple_is_refused() {
    let guest = TestGuest::new(Profile::Strict);
    let mut words = two_updates(&guest);
    let mut call = |array, done| guest.xen().hypercall_from(CPU, &mut mmu_update(array, 1, done), &mut words);
    let fault = Errno::FAULT.as_return();
    assert_eq!([call(0, DONE), call(UPDATES + 4, DONE), call(0x9000, DONE)], [fault; 3]);
    assert!(!is_set(&guest, guest.slot(0)));
}

#[test]
fn a_multicall_leaves_its_results_in_its_entries() {
    let guest = TestGuest::new(Profile::Strict);
    let mut words = two_updates(&guest);
    let call = mmu_update(UPDATES, 1, DONE);
    let entry = [call.number.into(), 7, call.args[0], call.args[1], call.args[2], call.args[3], 0, 0];
    words.0.extend((ENTRIES..).step_by(8).zip(entry));
    let mut multicall = RawCall { number: abi::HYPERCALL_MULTICALL, args: [ENTRIES, 1, 0, 0, 0] };
    assert_eq!(guest.xen().hypercall_from(CPU, &mut multicall, &mut words), 0);
    assert_eq!((words.0[&(ENTRIES + 8)], words.0[&ENTRIES]), (0, call.number.into()));
    assert!(is_set(&guest, guest.slot(0)));
}
