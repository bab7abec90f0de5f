//! What values are drawn from.

use fastrand::Rng;
use hypercall::DomId;
use xen_program::arena::{HOLE, NONCANONICAL, UNMAPPED, address_under};
use xen_program::{Special, Table, Value};

/// Marks the `n`-th of these as chosen with the weight beside it.
pub(super) fn weighted<T: Copy>(rng: &mut Rng, choices: &[(u32, T)]) -> T {
    let mut left = rng.u32(0..choices.iter().map(|(weight, _)| weight).sum());
    for (weight, choice) in choices {
        if left < *weight {
            return *choice;
        }
        left -= weight;
    }
    choices[0].1
}

pub(super) fn one_of<T: Copy>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.usize(0..choices.len())]
}

/// Whether something happens that happens `percent` times in a hundred.
pub(super) fn chance(rng: &mut Rng, percent: u32) -> bool {
    rng.u32(0..100) < percent
}

/// Bit 52: a kernel's own.
pub(super) const KERNEL: u64 = 1 << 52;
const NX: u64 = 1 << 63;

/// Flags of a present L1 entry that map a page as usual; read-only ones last.
pub(super) const WRITABLE: [u64; 4] = [0x63, KERNEL | 0x67, 0x67, NX | 0x63];
pub(super) const READ_ONLY: [u64; 4] = [0x61, KERNEL | 0x65, 0x65, NX | 0x61];

/// Flags of an L1 entry.
pub(super) fn l1_flags(rng: &mut Rng) -> u64 {
    match rng.u32(0..100) {
        0..40 => one_of(rng, &WRITABLE),
        40..65 => one_of(rng, &READ_ONLY),
        65..75 => one_of(rng, &[0x03, 0x01, 0x23, 0x21, 0x43, 0x05]),
        75..85 => one_of(rng, &[0x6b, 0x73, 0x7b, 0xe3, 0xeb, 0xf3, 0xfb, 0x71, 0xe1]),
        85..90 => one_of(rng, &[0x163, 0x167, 0xe67, 0xe61, 0x7ff0_0000_0000_0067, KERNEL | 0x163]),
        90..97 => one_of(rng, &[0, 0x60, 0x62, 0x66, 0x40, NX]),
        _ => rng.u64(..) & (0xfff | 0xfff << 52),
    }
}

/// Flags of an entry of an upper table that Xen takes.
pub(super) const UPPER: [u64; 6] = [0x67, 0x65, 0x63, 0x61, 0x27, 0xe67];
/// Flags that it does not.
const UPPER_BAD: [u64; 5] = [0x6f, 0x77, 0xe7, 0x167, 0x1ff];

/// Flags of an entry of an upper table.
pub(super) fn upper_flags(rng: &mut Rng) -> u64 {
    match rng.u32(0..100) {
        0..70 => one_of(rng, &UPPER),
        70..84 => one_of(rng, &[0x65, 0x61, 0x25, 0xe65, NX | 0x65]),
        84..94 => one_of(rng, &UPPER_BAD),
        _ => one_of(rng, &[0, 0x60, 0x66, 0x40]),
    }
}

/// A frame that is not the program's.
pub(super) fn special(rng: &mut Rng) -> Special {
    one_of(rng, &Special::ALL)
}

/// A number where a frame or an entry is meant.
pub(super) fn junk(rng: &mut Rng) -> u64 {
    one_of(rng, &[0, 1, 0xdea_dbee_f00e, 0xdea_dbee_f00c, u64::MAX, u64::MAX - 1, 0x7000, 0x4242, 1 << 51])
}

/// Addresses at which nothing can be read or written.
pub(super) fn bad_address(rng: &mut Rng) -> Value {
    let nowhere = address_under(Table::L2, 500);
    one_of(rng, &[HOLE, NONCANONICAL, UNMAPPED, nowhere, 1 << 63, HOLE + 0x1000]).into()
}

/// The frame owner of a call.
pub(super) fn domain(rng: &mut Rng) -> u64 {
    let named = |domain: DomId| u64::from(domain.number());
    match rng.u32(0..100) {
        0..82 => named(DomId::SELF),
        82..90 => named(DomId::IO),
        90..95 => named(DomId::XEN),
        _ => one_of(rng, &[0, 5, 9, 1, 0x7ff3, 0x7ff4, 0x7fff, 0xffff]),
    }
}

/// The fourth register of `mmu_update`: as [`domain`], with a table owner in the upper half.
pub(super) fn subject(rng: &mut Rng) -> u64 {
    let tables = match rng.u32(0..100) {
        0..93 => 0,
        93..97 => 0x1_0000,
        _ => one_of(rng, &[0x2_0000, 0x6_0000, 0x7ff1_0000, 0x7ff2_0000, 0xffff_0000]),
    };
    tables | domain(rng)
}

/// A segment descriptor.
pub(super) fn descriptor(rng: &mut Rng) -> u64 {
    const CODE: u64 = 0x00af_9b00_0000_ffff;
    const DATA: u64 = 0x00cf_9300_0000_ffff;
    const TASK: u64 = 0x0000_8900_0000_0067;
    const LOCAL: u64 = 0x0000_8200_0000_0067;
    const LEVEL_3: u64 = 3 << 45;
    one_of(rng, &[0, CODE, DATA, CODE | LEVEL_3, DATA | LEVEL_3, TASK, LOCAL, CODE & !(1 << 47)])
}
