//! Random programs: an honest batcher of any style is never reported, and each fault is found.

use hypercall::{
    DomId, Level, Mfn, MmuUpdate, MmuextOp, Operation, PteFlags, PteSlot, Subject, UpdateCommand, VirtAddr,
};
use mock_xen::referee::Profile;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use proptest::{collection, proptest, sample};

use crate::batcher::{Fault, PLAIN, Style, World, flush_all, mmuext};
use crate::faults::slot;
use crate::hypervisor::{REFUSED, update};

#[derive(Clone, Copy, Debug)]
enum Step {
    Set(PteSlot, u64),
    Upper(u64),
    Ask(Operation),
    Immediate(Operation),
    Interrupt(Operation),
    Read(PteSlot),
    Enter,
    Leave,
    Pause,
    Resume,
    Flush,
    Switch(u64, bool),
}

fn slots() -> impl Strategy<Value = PteSlot> {
    (0usize..4, any::<bool>()).prop_map(|(index, preserves)| {
        if preserves { slot(index).with_command(UpdateCommand::PreserveAd) } else { slot(index) }
    })
}

fn values() -> impl Strategy<Value = u64> {
    let flags = sample::select(vec![0, PteFlags::ACCESSED.bits(), PteFlags::DIRTY.bits(), REFUSED]);
    (0u64..3, flags).prop_map(|(frame, flags)| frame << 12 | flags)
}

fn operations() -> impl Strategy<Value = Operation> {
    let page = (0u64..3).prop_map(|page| mmuext(MmuextOp::InvlpgLocal { address: VirtAddr::unchecked(page << 12) }));
    let pin = (0u64..3).prop_map(|table| mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(table) }));
    let stack = (0u64..3).prop_map(|sp| Operation::StackSwitch { ss: 0, sp: VirtAddr::unchecked(sp << 12) });
    let base = (0u64..2).prop_map(|table| mmuext(MmuextOp::NewBaseptr { table: Mfn::new(table) }));
    let foreign = (0usize..2, 0u64..2).prop_map(|(index, value)| Operation::Update {
        update: MmuUpdate { slot: slot(index), value },
        subject: Subject::frames_of(DomId::IO),
    });
    prop_oneof![
        (slots(), values()).prop_map(|(slot, value)| update(slot, value)),
        base,
        foreign,
        proptest::strategy::Just(flush_all()),
        page,
        pin,
        stack,
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (slots(), values()).prop_map(|(slot, value)| Step::Set(slot, value)),
        1 => (0u64..3).prop_map(Step::Upper),
        4 => operations().prop_map(Step::Ask),
        1 => operations().prop_map(Step::Immediate),
        1 => operations().prop_map(Step::Interrupt),
        1 => slots().prop_map(Step::Read),
        3 => proptest::strategy::Just(Step::Enter),
        2 => proptest::strategy::Just(Step::Leave),
        1 => proptest::strategy::Just(Step::Pause),
        1 => proptest::strategy::Just(Step::Resume),
        1 => proptest::strategy::Just(Step::Flush),
        2 => (0u64..4, any::<bool>()).prop_map(|(next, asks)| Step::Switch(next, asks)),
    ]
}

fn programs() -> impl Strategy<Value = Vec<(usize, Step)>> {
    collection::vec((0usize..2, steps()), 1..60)
}

fn run(world: &mut World, program: &[(usize, Step)]) {
    for (at, step) in program {
        match *step {
            Step::Set(slot, value) => world.set(*at, slot, value),
            Step::Upper(value) => world.set_upper(*at, PteSlot::of(Mfn::new(0x20), 0), value),
            Step::Ask(operation) => world.ask(*at, operation),
            Step::Immediate(operation) => world.ask_now(*at, operation),
            Step::Interrupt(operation) => world.interrupt(*at, operation),
            Step::Read(slot) => world.read(*at, slot),
            Step::Enter => world.enter(*at),
            Step::Leave => world.leave(*at),
            Step::Pause => world.pause(*at),
            Step::Resume => world.resume(*at),
            Step::Flush => world.flush_now(*at),
            Step::Switch(next, asks) => switch(world, *at, next, asks),
        }
    }
    world.end();
}

fn switch(world: &mut World, at: usize, next: u64, asks: bool) {
    if world.is_running(next) {
        return;
    }
    if asks {
        world.ask_in_switch(at, Operation::StackSwitch { ss: 0, sp: VirtAddr::unchecked(next) });
    }
    world.switch(at, next);
}

fn styles() -> impl Strategy<Value = Style> {
    (any::<bool>(), any::<bool>(), sample::select(vec![1, 3, 64]), any::<bool>())
        .prop_map(|(merges, multicall, capacity, stops)| Style { merges, multicall, capacity, stops })
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    #[test]
    fn an_honest_batcher_is_never_reported(program in programs(), style in styles(), nested in any::<bool>()) {
        let profile = if nested { Profile::Nested } else { Profile::Strict };
        let mut world = World::new(profile, style, None);
        run(&mut world, &program);
        let verdict = world.referee.verdict();
        assert!(verdict.is_clean(), "{verdict}");
        assert_eq!(verdict.counters.asked, verdict.counters.settled() + verdict.pending as u64, "{verdict:?}");
    }
}

/// The first write of entry 0 stands behind a refused one. The next, which merges into no value of it, arrives in the
/// same multicall; an equal one behind the barrier is not meant.
#[test]
fn what_arrives_behind_a_cut_write_is_the_next_of_its_run() {
    let preserving = slot(0).with_command(UpdateCommand::PreserveAd);
    let steps = [
        Step::Enter,
        Step::Set(slot(1), REFUSED),
        Step::Set(slot(0), 0),
        Step::Ask(Operation::StackSwitch { ss: 0, sp: VirtAddr::unchecked(0) }),
        Step::Set(preserving, 0x2000 | REFUSED),
        Step::Upper(0),
        Step::Set(preserving, 0x2000 | REFUSED),
    ];
    let style = Style { multicall: true, ..PLAIN };
    let world = play(style, None, &steps.map(|step| (1, step)));
    let verdict = world.referee.verdict();
    assert!(verdict.is_clean(), "{verdict}");
}

/// Programs in which each fault has to show at least once.
const PROGRAMS: usize = 100;

/// The same programs in every run.
fn same_programs() -> impl Iterator<Item = Vec<(usize, Step)>> {
    let mut runner = TestRunner::deterministic();
    let next = move || Some(programs().new_tree(&mut runner).ok()?.current());
    std::iter::from_fn(next).take(PROGRAMS)
}

fn play(style: Style, fault: Option<Fault>, program: &[(usize, Step)]) -> World {
    let mut world = World::new(Profile::Strict, style, fault);
    run(&mut world, program);
    world
}

#[test]
fn every_fault_is_found_and_the_first_report_names_its_rule() {
    let programs: Vec<_> = same_programs().collect();
    for (fault, rule, style) in Fault::ALL {
        let is_found = |program: &Vec<_>| {
            let violations = play(style, Some(fault), program).referee.violations();
            violations.first().is_some_and(|first| first.rule == rule)
        };
        assert!(programs.iter().any(is_found), "{fault:?} was not found as {rule} in {PROGRAMS} programs");
    }
}

#[test]
fn no_fault_changes_memory_without_being_reported() {
    let mut changed = 0;
    // On one vCPU: what two vCPUs ask for has no order, so memory may differ without a fault.
    for program in same_programs().map(|program| program.into_iter().map(|(_, step)| (0, step)).collect::<Vec<_>>()) {
        // A tail may be merged into a later write of its entry, and may commute with what it is tried again
        // after; what these two leave in memory is not always wrong.
        let on_tails = [Fault::DropsTail, Fault::RetriesPastBarriers];
        for (fault, _, style) in Fault::ALL.into_iter().filter(|(fault, ..)| !on_tails.contains(fault)) {
            let (honest, faulty) = (play(style, None, &program), play(style, Some(fault), &program));
            if honest.hypervisor.memory != faulty.hypervisor.memory {
                changed += 1;
                let verdict = faulty.referee.verdict();
                assert!(!verdict.is_clean(), "{fault:?} went unreported in {program:?}: {verdict}");
            }
        }
    }
    assert!(changed > 10, "only {changed} times did a fault change memory");
}
