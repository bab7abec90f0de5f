//! powerpc64 with a hashed page table on the mock of a PAPR hypervisor, by each way of removal; and with radix tables.
//!
//! A hash entry is made of the kernel's own when it is used, which is at once here: whenever an entry is valid and its place in the hash table is
//! free, it is entered and both processors have it in their TLBs.

use std::convert::Infallible;
use std::marker::PhantomData;

use mock_papr::abi::{EXACT, H_ENTER};
use mock_papr::{Dialect, Papr};
use pv_mmu::arch::Preemption;
use pv_mmu::arch::powerpc64::{Batch, Group, Pseries, Ptex, Radix, Refusal, Removal, Space, Way};

use crate::{
    cpu::Cpu,
    world::{Arch, ENTRIES, REFUSED},
};

/// A machine whose firmware removes one way.
pub(crate) trait Firmware: 'static {
    /// Which.
    const WAY: Way;
}

/// One entry at a time.
pub(crate) struct Single;
/// Four.
pub(crate) struct Bulk;
/// Blocks of eight pages.
pub(crate) struct Block;

impl Firmware for Single {
    const WAY: Way = Way::Single;
}

impl Firmware for Bulk {
    const WAY: Way = Way::Bulk;
}

impl Firmware for Block {
    const WAY: Way = Way::Block;
}

/// See the module.
pub(crate) struct Powerpc64<F>(PhantomData<F>);

/// Entries of the hash table.
const PLACES: u64 = 64;
const GROUP: Group = Group { space: Space(1), page_shift: 12, segment_shift: 28 };
/// First doubleword of all entries: one tag, because they lie within 8 MiB.
const FIRST: u64 = 0x20_0001;

/// The hypervisor, and what the kernel's own table holds.
pub(crate) struct Machine {
    papr: Papr,
    table: [u64; ENTRIES],
}

/// The refused one has no place in the table.
const fn place(entry: usize) -> u64 {
    if entry == REFUSED { 1 << 40 } else { entry as u64 }
}

const fn second(value: u64) -> u64 {
    (value << 12) | 0x10
}

impl Machine {
    /// Everything that may be used is.
    fn use_all(&mut self) {
        for (entry, value) in self.table.iter().enumerate().filter(|(entry, value)| *entry != REFUSED && **value != 0) {
            if self.papr.entry(place(entry)).0 & 1 == 0 {
                self.papr.call(H_ENTER, &mut [EXACT, place(entry), FIRST, second(*value), 0, 0, 0, 0, 0]);
            }
            (0..2).for_each(|processor| self.papr.touch(processor, place(entry)));
        }
    }
}

impl<F: Firmware> Arch for Powerpc64<F> {
    type Mock = Machine;
    type Work = Removal;
    type Refusal = Refusal;
    type Deferral = Batch<2>;
    const PREEMPTION: Preemption = Preemption::Disabled;
    const REFUSES: bool = true;
    const FIRST: u64 = 1;

    fn mock(vcpus: usize) -> Machine {
        Machine { papr: Papr::new(PLACES, 256 << 20, vcpus, Dialect::Papr), table: [0; ENTRIES] }
    }

    fn value(number: u64) -> u64 {
        number
    }

    fn store(mock: &mut Machine, _: usize, entry: usize, new: u64) {
        mock.table[entry] = new;
        mock.use_all();
    }

    fn work(entry: usize, old: u64, _: u64) -> Option<Removal> {
        let removal = Removal { group: GROUP, page: entry as u64, place: Ptex(place(entry)), tag: FIRST & !0x7f };
        (old != 0).then_some(removal)
    }

    fn is_stale(mock: &Machine, _: usize, entry: usize, value: u64) -> bool {
        mock.papr.may_use(place(entry)).iter().any(|(_, held)| value == 0 || held & !0xfff != second(value) & !0xfff)
    }

    fn is_full(waiting: &Batch<2>) -> bool {
        waiting.is_full()
    }
}

impl<F: Firmware> Pseries for Cpu<'_, Powerpc64<F>> {
    fn call(&self, number: u64, registers: &mut [u64; 9]) -> i64 {
        self.hardware("hypercall", |mock, _| {
            let answer = mock.papr.call(number, registers);
            mock.use_all();
            answer
        })
    }

    fn way(&self, _: Group) -> Way {
        F::WAY
    }
}

/// Radix tables: the kernel's own are the hardware's, and flushing is its callers'.
pub(crate) struct OnRadix;

impl Arch for OnRadix {
    type Mock = ();
    type Work = ();
    type Refusal = Infallible;
    type Deferral = Radix;
    const PREEMPTION: Preemption = Preemption::Allowed;
    const REFUSES: bool = false;
    const FIRST: u64 = 1;

    fn mock(_: usize) {}

    fn value(number: u64) -> u64 {
        number
    }

    fn store((): &mut (), _: usize, _: usize, _: u64) {}

    fn work(_: usize, _: u64, _: u64) -> Option<()> {
        Some(())
    }

    fn is_stale((): &(), _: usize, _: usize, _: u64) -> bool {
        false
    }

    fn is_full(_: &Radix) -> bool {
        false
    }
}
