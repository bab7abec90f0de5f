//! One small program for each planted fault: the faulty batcher is reported under the fault's rule,
//! the honest one is clean on the same program.

use hypercall::{Level, Mfn, MmuextOp, Operation, PteFlags, PteSlot, UpdateCommand, VirtAddr};
use mock_xen::referee::{Finding, Profile, Rule, SyncPoint, Violation};

use crate::batcher::{Fault, MERGING, MULTICALL, PLAIN, Style, World, flush_all, mmuext};
use crate::hypervisor::{REFUSED, update};

pub(crate) fn slot(index: usize) -> PteSlot {
    PteSlot::of(Mfn::new(0x10), index)
}

fn pin() -> Operation {
    mmuext(MmuextOp::Pin { level: Level::L1, table: Mfn::new(0x77) })
}

/// What the referee says of a batcher that runs `program` with `fault`, after it was clean without.
fn judge(style: Style, fault: Fault, program: impl Fn(&mut World)) -> Vec<Violation> {
    let mut honest = World::new(Profile::Strict, style, None);
    program(&mut honest);
    let verdict = honest.referee.verdict();
    assert!(verdict.is_clean() && verdict.pending == 0, "the honest batcher: {verdict}");
    let mut faulty = World::new(Profile::Strict, style, Some(fault));
    program(&mut faulty);
    faulty.referee.violations()
}

/// Every violation is of `rule`, and there is one.
#[track_caller]
fn assert_only(rule: Rule, violations: &[Violation]) -> Violation {
    assert!(violations.iter().all(|violation| violation.rule == rule), "{violations:#?}");
    *violations.first().expect("the fault is found")
}

#[test]
fn a_skipped_flush_at_a_switch_is_r7() {
    let violations = judge(PLAIN, Fault::SkipsFlushAtSwitch, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.switch(0, 2);
        world.switch(0, 0);
        world.leave(0);
    });
    let found = assert_only(Rule::R7, &violations);
    assert!(matches!(found.finding, Finding::StillQueued(SyncPoint::Switch { .. })), "{found}");
}

#[test]
fn a_flush_on_the_wrong_vcpu_is_r8() {
    let violations = judge(PLAIN, Fault::FlushesOnWrongVcpu, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.ask(0, pin());
        world.leave(0);
    });
    assert_eq!(violations.len(), 2);
    let found = assert_only(Rule::R8, &violations);
    assert_eq!(found.vcpu.map(hypercall::VcpuId::number), Some(0), "{found}");
}

#[test]
fn a_tlb_flush_before_the_write_it_was_asked_after_is_r12() {
    let violations = judge(PLAIN, Fault::FlushesTlbFirst, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.ask(0, flush_all());
        world.leave(0);
    });
    assert_eq!(violations.len(), 1);
    let found = assert_only(Rule::R12, &violations);
    assert_eq!(found.operation, Some(update(slot(1), 1)), "{found}");
}

#[test]
fn a_dropped_tail_is_r14() {
    let violations = judge(PLAIN, Fault::DropsTail, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.set(0, slot(2), REFUSED);
        world.set(0, slot(3), 3);
        world.leave(0);
    });
    let found = assert_only(Rule::R14, &violations);
    assert_eq!((found.operation, found.finding), (Some(update(slot(3), 3)), Finding::TailDropped));
}

#[test]
fn a_hidden_failure_is_r14() {
    let violations = judge(PLAIN, Fault::HidesFailures, |world| world.set(0, slot(2), REFUSED));
    let found = assert_only(Rule::R14, &violations);
    assert!(matches!(found.finding, Finding::FailureUntold(hypercall::Errno::BUSY)), "{found}");
}

#[test]
fn an_operation_applied_twice_is_r13() {
    let violations = judge(PLAIN, Fault::AppliesTwice, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.leave(0);
    });
    let found = assert_only(Rule::R13, &violations);
    assert!(matches!(found.finding, Finding::AppliedTwice { .. }), "{found}");
}

#[test]
fn an_invented_operation_is_r13() {
    let violations = judge(PLAIN, Fault::InventsOperations, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.set(0, slot(2), 1);
        world.leave(0);
    });
    let found = assert_only(Rule::R13, &violations);
    assert_eq!(found.finding, Finding::NeverAsked);
}

#[test]
fn depth_leaked_from_one_task_to_the_next_is_r7() {
    let violations = judge(PLAIN, Fault::LeaksDepth, |world| {
        world.enter(0);
        world.switch(0, 2);
        world.set(0, slot(1), 1);
        world.switch(0, 0);
        world.leave(0);
    });
    let found = assert_only(Rule::R7, &violations);
    assert_eq!(found.finding, Finding::StillQueued(SyncPoint::Return));
}

#[test]
fn an_immediate_write_that_overtakes_the_queue_is_r10() {
    let program = |second: u64| {
        move |world: &mut World| {
            world.enter(0);
            world.set(0, slot(1), 1);
            world.ask_now(0, update(slot(1), second));
            world.leave(0);
        }
    };
    assert_only(Rule::R10, &judge(PLAIN, Fault::ImmediateOvertakes, program(2)));
    let barrier = judge(PLAIN, Fault::ImmediateOvertakes, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.ask_now(0, pin());
        world.leave(0);
    });
    assert_eq!(assert_only(Rule::R10, &barrier).operation, Some(update(slot(1), 1)));
}

#[test]
fn a_write_in_an_interrupt_that_overtakes_the_queue_is_r6() {
    let violations = judge(PLAIN, Fault::ImmediateOvertakes, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.interrupt(0, update(slot(1), 2));
        world.leave(0);
    });
    let found = assert_only(Rule::R6, &violations);
    assert!(matches!(found.finding, Finding::Overtaken { .. }), "{found}");
}

#[test]
fn a_deferred_operation_of_an_interrupt_is_r6() {
    let violations = judge(PLAIN, Fault::DefersInInterrupt, |world| {
        world.enter(0);
        world.interrupt(0, update(slot(1), 2));
        world.leave(0);
    });
    let found = assert_only(Rule::R6, &violations);
    assert_eq!(found.finding, Finding::StillQueued(SyncPoint::Return));
}

#[test]
fn a_forgotten_last_tlb_flush_is_r12() {
    let violations = judge(PLAIN, Fault::ForgetsLastTlbFlush, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.ask(0, flush_all());
        world.leave(0);
    });
    let found = assert_only(Rule::R12, &violations);
    assert_eq!((found.operation, found.finding), (Some(flush_all()), Finding::StillQueued(SyncPoint::Leave)));
}

#[test]
fn an_accessor_that_answers_from_memory_is_r11() {
    let violations = judge(PLAIN, Fault::AnswersFromMemory, |world| {
        world.enter(0);
        world.set(0, slot(1), 2);
        world.read(0, slot(1));
        world.leave(0);
    });
    let found = assert_only(Rule::R11, &violations);
    assert_eq!(found.finding, Finding::StaleRead { read: 0, expected: 2 });
}

#[test]
fn a_merge_across_a_barrier_is_r3() {
    let violations = judge(MERGING, Fault::MergesAcrossBarriers, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.ask(0, pin());
        world.set(0, slot(1), 2);
        world.leave(0);
    });
    assert_only(Rule::R3, &violations);
}

#[test]
fn a_merge_across_a_tlb_flush_is_r12() {
    let violations = judge(MERGING, Fault::MergesAcrossBarriers, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.ask(0, flush_all());
        world.set(0, slot(1), 2);
        world.leave(0);
    });
    assert!(violations.iter().any(|violation| violation.rule == Rule::R12), "{violations:#?}");
}

#[test]
fn a_merge_that_loses_the_dirty_bit_is_r3() {
    let violations = judge(MERGING, Fault::LosesDirtyInMerge, |world| {
        world.enter(0);
        world.set(0, slot(1), 0x1000 | PteFlags::DIRTY.bits());
        world.set(0, slot(1).with_command(UpdateCommand::PreserveAd), 0x1000);
        world.leave(0);
    });
    let found = assert_only(Rule::R3, &violations);
    assert_eq!(found.finding, Finding::WrongMerge { writes: 2 });
}

#[test]
fn an_over_long_masked_stretch_is_r15() {
    let violations = judge(PLAIN, Fault::IssuesAllMasked, |world| {
        world.enter(0);
        (0..20).for_each(|index| world.set(0, slot(index), 1));
        world.leave(0);
    });
    assert_eq!(violations.len(), 1);
    assert_only(Rule::R15, &violations);
}

#[test]
fn a_leave_that_flushes_late_is_r2() {
    let violations = judge(PLAIN, Fault::LeavesLate, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.set(0, slot(2), 1);
        world.leave(0);
        world.flush_now(0);
    });
    assert_eq!(violations.len(), 2);
    let found = assert_only(Rule::R2, &violations);
    assert_eq!(found.finding, Finding::StillQueued(SyncPoint::Leave));
}

#[test]
fn a_leave_that_leaves_one_behind_is_r2() {
    let violations = judge(PLAIN, Fault::LeavesOneBehind, |world| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.set(0, slot(2), 1);
        world.leave(0);
        world.set(0, slot(3), 1);
    });
    let found = assert_only(Rule::R2, &violations);
    assert_eq!((violations.len(), found.operation), (1, Some(update(slot(2), 1))));
}

#[test]
fn a_pause_without_flush_and_laziness_in_a_pause_are_r5() {
    let program = |world: &mut World| {
        world.enter(0);
        world.set(0, slot(1), 1);
        world.pause(0);
        world.set(0, slot(2), 1);
        world.resume(0);
        world.leave(0);
    };
    let unflushed = judge(PLAIN, Fault::PausesWithoutFlush, program);
    assert_eq!(assert_only(Rule::R5, &unflushed).finding, Finding::StillQueued(SyncPoint::Pause));
    let deferred = judge(PLAIN, Fault::DefersWhilePaused, program);
    assert_eq!(assert_only(Rule::R5, &deferred).finding, Finding::StillQueued(SyncPoint::Return));
}

#[test]
fn a_tail_attempted_after_what_it_does_not_commute_with_is_r3() {
    let violations = judge(MULTICALL, Fault::RetriesPastBarriers, |world| {
        world.enter(0);
        world.set(0, slot(1), REFUSED);
        world.set(0, slot(2), 2);
        world.ask(0, pin());
        world.leave(0);
    });
    let found = assert_only(Rule::R3, &violations);
    assert!(matches!(found.finding, Finding::Overtaken { by, .. } if by == pin()), "{found}");
}

#[test]
fn a_violation_names_everything_in_one_line() {
    let violations = judge(PLAIN, Fault::FlushesTlbFirst, |world| {
        world.enter(0);
        world.set(0, slot(1), 0x25);
        world.ask(0, mmuext(MmuextOp::InvlpgLocal { address: VirtAddr::new(0x7000).unwrap() }));
        world.leave(0);
    });
    let line = violations.first().map(ToString::to_string).unwrap_or_default();
    assert_eq!(
        line,
        "R12 (TLB): `slot 0x10[1] := 0x25`, task 0, vcpu 0, asked at moment 2 in task context, found at moment 9: \
         overtaken by `InvlpgLocal { address: va 0x7000 }`, asked at moment 4"
    );
}
