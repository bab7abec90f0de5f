//! Typed calls, and what a witness hears of calls of either kind.

use std::sync::Arc;

use hypercall::{
    Batch, DomId, Errno, FlushScope, Hypervisor, Level, Mfn, MmuUpdate, MmuextOp, Operation, Outcome, Pte, PteFlags,
    PteSlot, RawCall, Subject, VaFlush, VcpuId, VcpuMask, VirtAddr, abi,
};
use mock_xen::{GuestBuilder, MockXen, Witness};
use parking_lot::Mutex;

const CPU: VcpuId = VcpuId::new(1);

#[derive(Clone, Debug, PartialEq)]
enum Heard {
    Begins,
    Ends,
    Arrived(Operation, Option<Result<(), Errno>>),
}

#[derive(Default)]
struct Listener(Mutex<Vec<Heard>>);

impl Witness for Listener {
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>) {
        assert_eq!(vcpu, CPU);
        self.0.lock().push(Heard::Arrived(*operation, result));
    }

    fn hypercall_begins(&self, _vcpu: VcpuId) {
        self.0.lock().push(Heard::Begins);
    }

    fn hypercall_ends(&self, _vcpu: VcpuId) {
        self.0.lock().push(Heard::Ends);
    }
}

struct Lab {
    xen: MockXen,
    listener: Arc<Listener>,
    frames: [Mfn; 4],
}

impl Lab {
    fn new() -> Self {
        let listener = Arc::new(Listener::default());
        let mut builder = GuestBuilder::new(2);
        builder.witness(listener.clone());
        let frames = std::array::from_fn(|_| builder.new_frame());
        Self { xen: builder.build().unwrap(), listener, frames }
    }

    fn slot(&self, frame: Mfn) -> PteSlot {
        self.xen.slot_of(CPU, self.xen.direct_map(frame).unwrap(), Level::L1).unwrap()
    }

    fn update(&self, frame: Mfn, flags: u64) -> MmuUpdate {
        MmuUpdate::new(self.slot(frame), Pte::new(frame, PteFlags::from_bits_truncate(flags)))
    }

    /// An update that Xen refuses with `-EBUSY`.
    fn refused(&self) -> MmuUpdate {
        let root = self.xen.processor(CPU).base;
        MmuUpdate::new(self.slot(self.frames[0]), Pte::new(root, PteFlags::from_bits_truncate(0x63)))
    }

    fn heard(&self) -> Vec<Heard> {
        std::mem::take(&mut self.listener.0.lock())
    }
}

fn update(update: MmuUpdate) -> Operation {
    Operation::Update { update, subject: Subject::SELF }
}

#[test]
fn an_array_is_cut_at_the_refused_update_and_the_rest_is_heard_as_not_looked_at() {
    let lab = Lab::new();
    let updates = [lab.update(lab.frames[1], 0x61), lab.refused(), lab.update(lab.frames[2], 0x61)];
    let outcome = lab.xen.vcpu(CPU).mmu_update(&updates, Subject::SELF);
    assert_eq!(outcome, Outcome::refused(1, Errno::BUSY));
    let [first, second, third] = updates.map(update);
    assert_eq!(
        lab.heard(),
        [
            Heard::Begins,
            Heard::Arrived(first, Some(Ok(()))),
            Heard::Arrived(second, Some(Err(Errno::BUSY))),
            Heard::Arrived(third, None),
            Heard::Ends,
        ]
    );
}

#[test]
fn nothing_of_an_array_about_an_unknown_domain_is_looked_at() {
    let lab = Lab::new();
    let (subject, one) = (Subject::frames_of(DomId::new(9)), lab.update(lab.frames[1], 0x61));
    assert_eq!(lab.xen.vcpu(CPU).mmu_update(&[one], subject), Outcome::refused(0, Errno::SRCH));
    let operation = Operation::Update { update: one, subject };
    assert_eq!(lab.heard(), [Heard::Begins, Heard::Arrived(operation, None), Heard::Ends]);
}

/// One operation of every kind, all accepted.
fn of_every_kind(lab: &Lab) -> Vec<Operation> {
    let own = |op| Operation::Mmuext { op, domain: DomId::SELF };
    let [a, b, _, d] = lab.frames;
    let vcpus = VcpuMask::EMPTY.with(CPU);
    let address = lab.xen.direct_map(a).unwrap();
    let read_only = Pte::new(a, PteFlags::from_bits_truncate(0x61));
    vec![
        Operation::UpdateVaMapping { va: address, pte: read_only, flush: VaFlush::Tlb(FlushScope::Vcpus(vcpus)) },
        own(MmuextOp::Pin { level: Level::L1, table: a }),
        own(MmuextOp::InvlpgMulti { address, vcpus }),
        own(MmuextOp::TlbFlushMulti { vcpus }),
        update(lab.update(b, 0x61)),
        own(MmuextOp::CopyPage { destination: d, source: b }),
        own(MmuextOp::ClearPage { frame: d }),
        own(MmuextOp::SetLdt { base: address, entries: 4 }),
        own(MmuextOp::NewUserBaseptr { table: lab.xen.processor(CPU).base }),
        own(MmuextOp::NewBaseptr { table: lab.xen.processor(CPU).base }),
        Operation::SetGdt(hypercall::GdtFrames::new(&[b], 3).unwrap()),
        Operation::UpdateDescriptor { address: b.base().unwrap(), descriptor: 0 },
        Operation::UpdateVaMappingOtherdomain {
            va: address,
            pte: read_only,
            flush: VaFlush::Invlpg(FlushScope::All),
            domain: DomId::SELF,
        },
        Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0x7000) },
        Operation::FpuTaskswitch { set: true },
        Operation::SetSegmentBase { which: hypercall::SegmentBase::GsUserSelector, base: 0x2b },
        own(MmuextOp::Unpin { table: a }),
        own(MmuextOp::TlbFlushAll),
    ]
}

#[test]
fn every_operation_comes_out_of_the_words_as_it_went_in() {
    let lab = Lab::new();
    let operations = of_every_kind(&lab);
    let mut batch = Batch::<4, 32, 256>::new();
    operations.iter().for_each(|operation| batch.push(operation).unwrap());
    let mut calls = batch.prepare();
    assert_eq!(lab.xen.vcpu(CPU).multicall(&mut calls), Ok(()));
    let refused: Vec<_> =
        (0..calls.len()).filter_map(|index| calls.outcome(index)).filter(|o| o.result.is_err()).collect();
    assert_eq!(refused, []);
    let arrived = operations.into_iter().map(|operation| Heard::Arrived(operation, Some(Ok(()))));
    let expected: Vec<_> = [Heard::Begins].into_iter().chain(arrived).chain([Heard::Ends]).collect();
    assert_eq!(lab.heard(), expected);
    lab.xen.audit().unwrap();
}

#[test]
fn refused_calls_of_a_multicall_are_named_and_the_others_done() {
    let lab = Lab::new();
    let mut batch = Batch::<8, 8, 64>::new();
    for operation in
        [update(lab.refused()), Operation::FpuTaskswitch { set: true }, update(lab.update(lab.frames[1], 0x61))]
    {
        batch.push(&operation).unwrap();
    }
    lab.xen.vcpu(CPU).multicall(&mut batch.prepare()).unwrap();
    let outcomes: Vec<_> = (0..3).map(|index| batch.outcome(index).unwrap()).collect();
    assert_eq!(outcomes, [Outcome::refused(0, Errno::BUSY), Outcome::all(1), Outcome::all(1)]);
    assert!(lab.xen.processor(CPU).task_switched && !lab.xen.processor(VcpuId::new(0)).task_switched);
}

#[test]
fn a_table_taken_out_of_the_tree_counts_its_operations_once() {
    let lab = Lab::new();
    let (root, table) = (lab.xen.processor(CPU).base, lab.frames[0]);
    assert_eq!(lab.xen.vcpu(CPU).mmu_update(&[lab.update(table, 0x61)], Subject::SELF), Outcome::all(1));
    let entry = PteSlot::of(root, 300);
    let link = MmuUpdate::new(entry, Pte::new(table, PteFlags::from_bits_truncate(0x67)));
    let cut = MmuUpdate::new(entry, Pte::EMPTY);
    lab.heard();
    let outcome = lab.xen.vcpu(CPU).mmu_update(&[link, cut, link, cut], Subject::SELF);
    assert_eq!(outcome, Outcome::all(4), "each removal continues the call once more");
    assert_eq!(lab.heard().len(), 4 + 2);
    let mut batch = Batch::<4, 4, 8>::new();
    for one in [link, cut] {
        batch.push(&update(one)).unwrap();
    }
    let outcome = lab.xen.vcpu(CPU).call(&mut batch.prepare_call(0, 0).unwrap());
    assert_eq!(outcome, Outcome::all(2));
    lab.xen.audit().unwrap();
}

#[test]
fn a_raw_call_is_heard_like_a_typed_one() {
    let lab = Lab::new();
    let mut call = RawCall { number: abi::HYPERCALL_STACK_SWITCH, args: [0xe02b, 0x7000, 0, 0, 0] };
    assert_eq!(lab.xen.hypercall(CPU, &mut call), 0);
    let operation = Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked(0x7000) };
    assert_eq!(lab.heard(), [Heard::Begins, Heard::Arrived(operation, Some(Ok(()))), Heard::Ends]);
}

#[test]
#[should_panic(expected = "the guest has 2 vCPUs and no vcpu 2")]
fn a_vcpu_that_is_not_there_cannot_call() {
    let _vcpu = Lab::new().xen.vcpu(VcpuId::new(2));
}
