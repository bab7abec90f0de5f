//! What a batcher may do: merges, TLB flushes that stand for others, commuting operations.

use hypercall::{
    DomId, Errno, Level, Mfn, MmuUpdate, MmuextOp, Operation, PteFlags, Subject, UpdateCommand, VcpuId, VcpuMask,
    VirtAddr,
};
use mock_xen::referee::{Asker, Profile, Referee, Rule, Settings, TaskId};

use crate::batcher::{flush_all, mmuext};
use crate::faults::slot;
use crate::hypervisor::update;

const C0: VcpuId = VcpuId::new(0);
const HERE: Asker = Asker::task(TaskId::new(0), C0);
const DONE: Option<Result<(), Errno>> = Some(Ok(()));

/// What the referee finds when `asked` are asked in one region and `arriving` arrive before its leave.
fn judge(asked: &[Operation], arriving: &[Operation]) -> Vec<Rule> {
    judged_by(Settings::new(Profile::Strict), asked, arriving)
}

fn judged_by(settings: Settings, asked: &[Operation], arriving: &[Operation]) -> Vec<Rule> {
    let referee = Referee::with_settings(settings);
    referee.enter(HERE, true);
    asked.iter().for_each(|operation| referee.answered(referee.ask(HERE, *operation)));
    referee.leave(HERE);
    arriving.iter().for_each(|operation| referee.arrived(C0, operation, DONE));
    referee.left(HERE, true);
    let counters = referee.counters();
    assert_eq!(counters.settled(), counters.asked, "every operation has one fate: {counters:?}");
    referee.violations().iter().map(|violation| violation.rule).collect()
}

fn preserve(index: usize, value: u64) -> Operation {
    update(slot(index).with_command(UpdateCommand::PreserveAd), value)
}

fn page(number: u64) -> Operation {
    mmuext(MmuextOp::InvlpgLocal { address: VirtAddr::unchecked(number << 12) })
}

const D: u64 = PteFlags::DIRTY.bits();
const A: u64 = PteFlags::ACCESSED.bits();

#[test]
fn writes_of_one_entry_may_be_merged_by_the_rules_of_preserve_ad() {
    let (n, p) = (|value| update(slot(1), value), |value| preserve(1, value));
    assert_eq!(judge(&[n(1), n(2), n(3)], &[n(3)]), []);
    assert_eq!(judge(&[n(8 | D), p(16)], &[n(16 | D)]), []);
    assert_eq!(judge(&[p(8 | A), p(16 | D)], &[p(16 | A | D)]), []);
    assert_eq!(judge(&[p(8 | D), n(16)], &[n(16)]), []);
    assert_eq!(judge(&[n(1), n(2), n(3)], &[n(1), n(3)]), []);
    assert_eq!(judge(&[n(8 | D), p(16)], &[n(16)]), [Rule::R3]);
    assert_eq!(judge(&[p(8), n(16)], &[p(16)]), [Rule::R3]);
}

#[test]
fn equal_writes_may_arrive_one_by_one_or_merged() {
    let write = update(slot(1), 1);
    for times in 1..=3 {
        assert_eq!(judge(&[write; 3], &vec![write; times]), [], "{times} times");
    }
    assert_eq!(judge(&[write; 3], &[write; 4]), [Rule::R13]);
    let back_and_forth = [update(slot(1), 1), update(slot(1), 2), update(slot(1), 1)];
    assert_eq!(judge(&back_and_forth, &back_and_forth), []);
    assert_eq!(judge(&back_and_forth, &back_and_forth[2..]), []);
}

#[test]
fn a_merged_write_may_take_any_place_in_its_run() {
    let (a1, a2, b) = (update(slot(1), 1), update(slot(1), 2), update(slot(2), 1));
    assert_eq!(judge(&[a1, b, a2], &[a2, b]), []);
    assert_eq!(judge(&[a1, b, a2], &[b, a2]), []);
    assert_eq!(judge(&[a1, b, a2], &[b, a1, a2]), []);
    assert_eq!(judge(&[a1, b, a2], &[b, a2, a1]), [Rule::R3]);
}

#[test]
fn a_change_of_subject_is_a_barrier() {
    let foreign = |index, value| Operation::Update {
        update: MmuUpdate { slot: slot(index), value },
        subject: Subject::frames_of(DomId::IO),
    };
    let (a1, a2, b) = (update(slot(1), 1), update(slot(1), 2), foreign(2, 1));
    assert_eq!(judge(&[a1, b, a2], &[a1, b, a2]), []);
    assert!(judge(&[a1, b, a2], &[a2, b]).contains(&Rule::R3));
    assert_eq!(judge(&[foreign(1, 1)], &[a1]), [Rule::R13, Rule::R2]);
}

#[test]
fn a_wider_tlb_flush_stands_for_others_beside_it() {
    let both = VcpuMask::EMPTY.with(C0).with(VcpuId::new(1));
    let multi = |vcpus| mmuext(MmuextOp::TlbFlushMulti { vcpus });
    let write = update(slot(1), 1);
    assert_eq!(judge(&[write, page(1), page(2), flush_all()], &[write, flush_all()]), []);
    assert_eq!(judge(&[write, page(1), page(1)], &[write, page(1)]), []);
    assert_eq!(judge(&[write, multi(VcpuMask::EMPTY.with(C0)), multi(both)], &[write, multi(both)]), []);
    assert_eq!(judge(&[write, flush_all(), page(1)], &[write, page(1)]), [Rule::R12]);
    assert_eq!(judge(&[write, multi(both)], &[write, multi(VcpuMask::EMPTY.with(C0))]), [Rule::R13, Rule::R12]);
}

#[test]
fn tlb_flushes_stay_on_their_side_of_every_write() {
    let (write, next) = (update(slot(1), 1), update(slot(2), 2));
    assert_eq!(judge(&[write, flush_all(), next], &[write, flush_all(), next]), []);
    assert_eq!(judge(&[write, flush_all(), next], &[write, next, flush_all()]), [Rule::R12]);
    assert_eq!(judge(&[write, flush_all(), next], &[flush_all(), write, next]), [Rule::R12]);
    assert_eq!(judge(&[write, page(1), next, flush_all()], &[write, next, flush_all()]), [Rule::R12]);
    assert_eq!(judge(&[write, flush_all(), next, flush_all()], &[write, flush_all(), next]), [Rule::R12]);
}

#[test]
fn a_tlb_flush_arrives_no_more_often_than_it_was_asked() {
    let write = update(slot(1), 1);
    assert_eq!(judge(&[flush_all(), flush_all()], &[flush_all(), flush_all()]), []);
    assert_eq!(judge(&[flush_all(), page(1), page(2)], &[flush_all(), page(1), page(2)]), []);
    assert_eq!(judge(&[flush_all(); 3], &[flush_all(); 3]), []);
    assert_eq!(judge(&[flush_all()], &[flush_all(); 5]), [Rule::R13; 4]);
    assert_eq!(judge(&[write, flush_all()], &[write, flush_all(), write, flush_all()]), [Rule::R13; 2]);
    assert_eq!(judge(&[flush_all(), write, flush_all()], &[flush_all(), flush_all(), write]), [Rule::R12]);
}

#[test]
fn a_tlb_flush_on_the_wrong_vcpu_is_r8_even_where_an_equal_one_has_been() {
    let (there, other) = (VcpuId::new(1), Asker::task(TaskId::new(1), VcpuId::new(1)));
    let referee = Referee::new(Profile::Strict);
    referee.enter(other, true);
    referee.ask(other, flush_all());
    referee.arrived(there, &flush_all(), DONE);
    referee.left(other, true);
    referee.enter(HERE, true);
    referee.ask(HERE, flush_all());
    referee.arrived(there, &flush_all(), DONE);
    referee.left(HERE, true);
    assert_eq!(referee.violations().iter().map(|found| found.rule).collect::<Vec<_>>(), [Rule::R8]);
}

#[test]
fn a_register_separates_no_writes_of_one_entry() {
    let stack = Operation::StackSwitch { ss: 0, sp: VirtAddr::unchecked(8) };
    let (first, last) = (update(slot(1), 1), update(slot(1), 2));
    assert_eq!(judge(&[first, stack, last], &[stack, last]), []);
    assert_eq!(judge(&[first, stack, last], &[last, stack]), []);
    assert_eq!(judge(&[first, stack, last], &[last]), [Rule::R2]);
}

#[test]
fn vcpus_that_are_offline_may_be_left_out() {
    let online = Settings::new(Profile::Strict).online(VcpuMask::EMPTY.with(C0));
    let multi = |vcpus| mmuext(MmuextOp::TlbFlushMulti { vcpus });
    let (first, second) = (VcpuMask::EMPTY.with(C0), VcpuMask::EMPTY.with(VcpuId::new(1)));
    assert_eq!(judged_by(online, &[multi(first.union(&second))], &[multi(first)]), []);
    assert_eq!(judged_by(online, &[multi(second)], &[]), []);
    assert_eq!(judged_by(online, &[multi(second)], &[multi(second)]), []);
    assert_eq!(judge(&[multi(second)], &[]), [Rule::R12]);
}

#[test]
fn what_commutes_may_change_places_and_nothing_else() {
    let pin = mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(3) });
    let base = mmuext(MmuextOp::NewBaseptr { table: Mfn::new(4) });
    let stack = Operation::StackSwitch { ss: 0, sp: VirtAddr::unchecked(8) };
    let (a, b) = (update(slot(1), 1), update(slot(2), 1));
    for (first, second) in [(a, b), (a, stack), (page(1), pin), (page(1), stack), (page(1), page(2))] {
        assert_eq!(judge(&[first, second], &[second, first]), [], "{first:?} and {second:?}");
    }
    for (first, second) in [(a, pin), (pin, a), (pin, stack), (base, stack), (base, a)] {
        assert_eq!(judge(&[first, second], &[second, first]), [Rule::R3], "{first:?} and {second:?}");
    }
    assert_eq!(judge(&[base, page(1)], &[page(1), base]), [Rule::R12]);
}

#[test]
fn an_operation_for_another_value_of_its_entry_is_r13() {
    assert_eq!(judge(&[update(slot(1), 1)], &[update(slot(1), 2)]), [Rule::R13]);
    assert_eq!(judge(&[preserve(1, 1)], &[update(slot(1), 1)]), [Rule::R13]);
}
