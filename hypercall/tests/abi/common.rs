//! Any operation, and a hypervisor that takes everything.

use hypercall::{
    DomId, Errno, FlushScope, GdtFrames, Hypervisor, Level, MachAddr, Mfn, MmuUpdate, MmuextOp, Operation, Outcome,
    PreparedCall, PreparedCalls, Pte, PteSlot, SegmentBase, Subject, VaFlush, VcpuMask, VirtAddr,
};
use proptest::prelude::*;

fn mfn() -> impl Strategy<Value = Mfn> {
    any::<u64>().prop_map(Mfn::new)
}

fn va() -> impl Strategy<Value = VirtAddr> {
    any::<u64>().prop_map(VirtAddr::unchecked)
}

fn vcpus() -> impl Strategy<Value = VcpuMask> {
    any::<[u64; 2]>().prop_map(VcpuMask::from_words)
}

fn domain() -> impl Strategy<Value = DomId> {
    any::<u16>().prop_map(DomId::new)
}

pub(crate) fn mmuext() -> impl Strategy<Value = MmuextOp> {
    prop_oneof![
        (0..4_usize, mfn()).prop_map(|(level, table)| MmuextOp::Pin { level: Level::ALL[level], table }),
        mfn().prop_map(|table| MmuextOp::Unpin { table }),
        mfn().prop_map(|table| MmuextOp::NewBaseptr { table }),
        mfn().prop_map(|table| MmuextOp::NewUserBaseptr { table }),
        Just(MmuextOp::TlbFlushLocal),
        va().prop_map(|address| MmuextOp::InvlpgLocal { address }),
        vcpus().prop_map(|vcpus| MmuextOp::TlbFlushMulti { vcpus }),
        (va(), vcpus()).prop_map(|(address, vcpus)| MmuextOp::InvlpgMulti { address, vcpus }),
        Just(MmuextOp::TlbFlushAll),
        va().prop_map(|address| MmuextOp::InvlpgAll { address }),
        Just(MmuextOp::FlushCache),
        Just(MmuextOp::FlushCacheGlobal),
        (va(), any::<u64>()).prop_map(|(base, entries)| MmuextOp::SetLdt { base, entries }),
        mfn().prop_map(|frame| MmuextOp::ClearPage { frame }),
        (mfn(), mfn()).prop_map(|(destination, source)| MmuextOp::CopyPage { destination, source }),
        mfn().prop_map(|frame| MmuextOp::MarkSuper { frame }),
        mfn().prop_map(|frame| MmuextOp::UnmarkSuper { frame }),
    ]
}

fn flush() -> impl Strategy<Value = VaFlush> {
    let scope = prop_oneof![Just(FlushScope::Local), Just(FlushScope::All), vcpus().prop_map(FlushScope::Vcpus)];
    prop_oneof![Just(VaFlush::None), scope.clone().prop_map(VaFlush::Tlb), scope.prop_map(VaFlush::Invlpg)]
}

fn update() -> impl Strategy<Value = MmuUpdate> {
    any::<(u64, u64)>().prop_map(|(slot, value)| MmuUpdate { slot: PteSlot::from_bits(slot), value })
}

fn gdt() -> impl Strategy<Value = GdtFrames> {
    (0..=8192_u32, prop::collection::vec(mfn(), 16)).prop_map(|(entries, frames)| {
        let used = entries.div_ceil(GdtFrames::PER_FRAME) as usize;
        GdtFrames::new(&frames[..used], entries).expect("as many frames as the entries need")
    })
}

/// Any operation that words can express.
pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let pte = any::<u64>().prop_map(Pte::from_bits);
    let bases = [SegmentBase::Fs, SegmentBase::GsUser, SegmentBase::GsKernel, SegmentBase::GsUserSelector];
    prop_oneof![
        4 => (update(), any::<u32>())
            .prop_map(|(update, subject)| Operation::Update { update, subject: Subject::from_bits(subject % 2) }),
        4 => (mmuext(), domain()).prop_map(|(op, domain)| Operation::Mmuext { op, domain }),
        1 => (va(), pte.clone(), flush()).prop_map(|(va, pte, flush)| Operation::UpdateVaMapping { va, pte, flush }),
        1 => (va(), pte, flush(), domain())
            .prop_map(|(va, pte, flush, domain)| Operation::UpdateVaMappingOtherdomain { va, pte, flush, domain }),
        1 => gdt().prop_map(Operation::SetGdt),
        1 => (0..1_u64 << 52, any::<u64>()).prop_map(|(address, descriptor)| Operation::UpdateDescriptor {
            address: MachAddr::new(address).expect("below 2^52"),
            descriptor
        }),
        1 => (any::<u64>(), va()).prop_map(|(ss, sp)| Operation::StackSwitch { ss, sp }),
        1 => any::<bool>().prop_map(|set| Operation::FpuTaskswitch { set }),
        1 => (0..4_usize, any::<u64>())
            .prop_map(move |(which, base)| Operation::SetSegmentBase { which: bases[which], base }),
    ]
}

/// Takes everything and keeps what it took, call by call, as read back from the words.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    pub(crate) hypercalls: Vec<Vec<Operation>>,
}

fn read(call: &PreparedCall<'_>) -> Vec<Operation> {
    (0..call.count()).map(|item| call.operation(item).expect("words lead into the call's memory")).collect()
}

impl Hypervisor for Keeper {
    fn mmu_update(&mut self, updates: &[MmuUpdate], subject: Subject) -> Outcome {
        self.hypercalls.push(updates.iter().map(|update| Operation::Update { update: *update, subject }).collect());
        Outcome::all(updates.len() as u32)
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        self.hypercalls.push(read(call));
        let count = call.count();
        call.set_done(count);
        call.outcome(0)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        let mut all = Vec::new();
        for index in 0..calls.len() {
            let mut call = calls.call(index).expect("within the multicall");
            all.extend(read(&call));
            let count = call.count();
            call.set_done(count);
            calls.set_result(index, 0);
        }
        self.hypercalls.push(all);
        Ok(())
    }
}
