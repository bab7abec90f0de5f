//! Guests as declared: what they start with, and what is no guest.

use hypercall::{Errno, Level, Mfn, Pfn, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};
use mock_xen::{BuildError, FrameType, GuestBuilder, Owner};

const CPU: VcpuId = VcpuId::new(0);
const TABLE: PteFlags = PteFlags::from_bits_truncate(0x67);

fn counts(builder: GuestBuilder, mfn: Mfn) -> (FrameType, u64, u64) {
    let view = builder.build().unwrap().frame(mfn).unwrap();
    (view.kind, view.type_count, view.general_count)
}

#[test]
fn frames_start_with_the_counts_xen_gives_them() {
    let mut builder = GuestBuilder::new(1);
    let data = builder.new_frame();
    assert_eq!(counts(builder, data), (FrameType::Writable, 1, 2));

    let xen = GuestBuilder::new(1).build().unwrap();
    let root = xen.frame(xen.processor(CPU).base).unwrap();
    assert_eq!((root.kind, root.type_count, root.general_count), (FrameType::Table(Level::L4), 2, 4));
    assert!(root.pinned && root.validated && root.owner == Owner::Domain);
    let address = xen.direct_map(xen.processor(CPU).base).unwrap();
    for level in [Level::L1, Level::L2, Level::L3] {
        let table = xen.frame(xen.slot_of(CPU, address, level).unwrap().table()).unwrap();
        assert_eq!((table.kind, table.type_count, table.general_count), (FrameType::Table(level), 1, 3));
    }
    assert_eq!(xen.frame(xen.layout().heap()).unwrap().owner, Owner::Nobody);
    assert_eq!(xen.frame(xen.layout().end()), None);
}

#[test]
fn numbers_may_lie_far_apart_and_in_any_order() {
    let pairs = [(0, 0x3000), (0x5_0000, 0xff_fff0), (0x4_1234, 0x100), (7, 0xf_ebff), (0x2_0000, 0x10_0000)];
    let mut builder = GuestBuilder::new(2);
    for (pfn, mfn) in pairs {
        builder.ram(Pfn::new(pfn), Mfn::new(mfn));
    }
    let xen = builder.build().unwrap();
    for (pfn, mfn) in pairs {
        let (mfn, address) = (Mfn::new(mfn), VirtAddr::unchecked(0xffff_8880_0000_0000 + (pfn << 12)));
        assert_eq!((xen.direct_map(mfn), xen.read_m2p(mfn)), (Some(address), Some(pfn)));
        let entry = xen.read_entry(xen.slot_of(CPU, address, Level::L1).unwrap()).unwrap();
        assert_eq!((entry.frame(), entry.flags().contains(PteFlags::RW)), (mfn, true));
        xen.write_plain(mfn, 511, pfn).unwrap();
        assert_eq!(xen.read_entry(PteSlot::of(mfn, 511)).map(Pte::bits), Some(pfn));
    }
    assert_eq!(xen.audit(), Ok(()));
}

#[test]
fn a_hundred_thousand_frames_are_a_guest_too() {
    let mut builder = GuestBuilder::new(4);
    builder.ram_range(Pfn::new(0), Mfn::new(0x2_0000), 100_000);
    let xen = builder.build().unwrap();
    assert_eq!(xen.snapshot().len(), 1 + 1 + 1 + 196, "an L4, an L3, an L2 and the L1s of the direct map");
    assert_eq!(xen.audit(), Ok(()));
}

#[test]
fn declared_tables_are_in_use_once_something_refers_to_them() {
    let mut builder = GuestBuilder::new(2);
    let [l4, l3, l2, l1, user, pinned, idle, data] = std::array::from_fn(|_| builder.new_frame());
    let levels = [(l4, Level::L4), (l3, Level::L3), (l2, Level::L2), (l1, Level::L1)];
    for (table, level) in levels.into_iter().chain([(user, Level::L4), (pinned, Level::L1), (idle, Level::L1)]) {
        builder.table(table, level);
    }
    for (parent, child) in [(l4, l3), (l3, l2), (l2, l1), (user, l3)] {
        builder.word(parent, 1, Pte::new(child, TABLE).bits());
    }
    builder.word(l1, 1, Pte::new(data, PteFlags::from_bits_truncate(0x63)).bits());
    builder.pin(pinned).base_pointer(CPU, l4).user_base_pointer(CPU, user).direct_map_at(VirtAddr::unchecked(1 << 40));
    let xen = builder.build().unwrap();

    assert_eq!(xen.audit(), Ok(()));
    let kernel = PteFlags::GUEST_KERNEL.bits();
    assert_eq!(xen.read_entry(PteSlot::of(l1, 1)).map(Pte::bits), Some(Pte::new(data, TABLE).bits() | kernel));
    assert_eq!(xen.slot_of(CPU, VirtAddr::unchecked(0x80_4020_1000), Level::L1), Some(PteSlot::of(l1, 1)));
    assert_eq!(xen.frame(l3).unwrap().type_count, 2);
    assert_eq!(xen.frame(data).unwrap().type_count, 2, "the direct map's mapping and the table's");
    let (pinned, idle_view) = (xen.frame(pinned).unwrap(), xen.frame(idle).unwrap());
    assert!(pinned.pinned && pinned.validated);
    assert_eq!((idle_view.kind, idle_view.general_count), (FrameType::None, 2), "mapped read-only and nothing more");
    assert_eq!(xen.processor(CPU).user_base, Some(user));
    let other = VcpuId::new(1);
    assert_ne!(xen.processor(other).base, l4, "a vCPU of which nothing was said runs on a table of the mock's own");
    let address = xen.direct_map(data).unwrap();
    assert_eq!(address.value() >> 40, 1);
    assert_eq!(xen.slot_of(CPU, address, Level::L1), xen.slot_of(other, address, Level::L1));
}

#[test]
fn spare_frames_are_handed_out_once_lowest_first() {
    let mut builder = GuestBuilder::new(1);
    builder.spare(2).spare(1);
    let xen = builder.build().unwrap();
    let frames: Vec<_> = std::iter::from_fn(|| xen.alloc_frame()).collect();
    assert!(frames.len() == 3 && frames.is_sorted(), "{frames:?}");
}

type Declare = fn(&mut GuestBuilder, Mfn) -> &mut GuestBuilder;

fn with_vcpus(builder: &mut GuestBuilder, vcpus: u32) -> &mut GuestBuilder {
    *builder = GuestBuilder::new(vcpus);
    builder
}

#[test]
fn contradictions_are_named() {
    let (low, high) = (Mfn::new(0x2000), Mfn::new(0x3000));
    let cases: [(Declare, BuildError); 12] = [
        (|b, _| with_vcpus(b, 0), BuildError::VcpuCount(0)),
        (|b, _| with_vcpus(b, 129), BuildError::VcpuCount(129)),
        (|b, m| b.base_pointer(VcpuId::new(1), m), BuildError::NoSuchVcpu(VcpuId::new(1))),
        (|b, m| b.ram(Pfn::new(9), m), BuildError::MfnTwice(low)),
        (|b, _| b.ram(Pfn::new(0), Mfn::new(0x3000)), BuildError::PfnTwice(Pfn::new(0))),
        (|b, _| b.ram(Pfn::new(9), Mfn::new(0xb8)), BuildError::NotMemory(Mfn::new(0xb8))),
        (|b, _| b.ram(Pfn::new(9), Mfn::new(1 << 28)), BuildError::NotMemory(Mfn::new(1 << 28))),
        (|b, _| b.word(Mfn::new(0x3000), 0, 1), BuildError::NotDeclared(high)),
        (|b, m| b.word(m, 512, 1), BuildError::NoSuchWord { mfn: low, index: 512 }),
        (|b, m| b.pin(m), BuildError::NotATable { mfn: low, wanted: None, declared: None }),
        (
            |b, m| b.table(m, Level::L1).base_pointer(CPU, m),
            BuildError::NotATable { mfn: low, wanted: Some(Level::L4), declared: Some(Level::L1) },
        ),
        (
            |b, m| b.table(m, Level::L2).word(m, 0, 0x2063).pin(m),
            BuildError::Refused { table: low, errno: Errno::INVAL },
        ),
    ];
    for (declare, expected) in cases {
        let mut builder = GuestBuilder::new(1);
        builder.ram(Pfn::new(0), low);
        declare(&mut builder, low);
        assert_eq!(builder.build().map(drop), Err(expected));
    }
    for address in [0xffff_8000_0000_0000, 0x7fff_ffff_f000, 1 << 63, u64::MAX << 12] {
        let mut builder = GuestBuilder::new(1);
        builder.direct_map_at(VirtAddr::unchecked(address)).spare(2);
        assert_eq!(builder.build().map(drop), Err(BuildError::DirectMap(VirtAddr::unchecked(address))));
    }
}
