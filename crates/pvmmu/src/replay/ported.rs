//! The same work as callers written for this library would ask for it.
//!
//! Four changes to the steps, none of which alters what is written, in which order a task asks for it, or where a fault
//! or system call ends:
//!
//! * a TLB flush directly after leaving a region in which something was queued is asked for before the leave;
//! * direct writes to consecutive entries of one table, within one page fault or system call, are asked for as a range;
//! * a copy-on-write's TLB flush and the write that follows it go as one piece;
//! * the stack switch after a context switch that loads a base pointer is asked for within the switch.
//!
//! What belongs to no page fault or system call, as the work of kernel threads and handlers, is joined with nothing.
//! Pieces are joined where the last of them stood, so nothing becomes effective before it did.

use std::collections::HashMap;

use hypercall::{Operation, VcpuId};
use serde::Serialize;

use super::program::{Act, Step};
use super::request::{Source, Span, TaskKey};

/// Hypercalls each change can save.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Gains {
    /// TLB flushes asked for before the leave.
    pub(crate) tlb_flush_in_region: u64,
    /// Writes that became part of a range.
    pub(crate) consecutive_writes: u64,
    /// Writes that go with their TLB flush.
    pub(crate) copy_on_write: u64,
    /// Stack switches that go with the base pointer.
    pub(crate) stack_with_base: u64,
}

impl Gains {
    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.tlb_flush_in_region + self.consecutive_writes + self.copy_on_write + self.stack_with_base
    }
}

/// Rewrites the steps.
pub(crate) fn ported(steps: Vec<Step>) -> (Vec<Step>, Gains) {
    let (steps, copy_on_write) = join(steps, Join::CopyOnWrite);
    let (steps, consecutive_writes) = join(steps, Join::Range);
    let (steps, tlb_flush_in_region) = flush_before_leave(steps);
    let (steps, stack_with_base) = stack_within_switch(steps);
    (steps, Gains { tlb_flush_in_region, consecutive_writes, copy_on_write, stack_with_base })
}

/// What may be joined to the piece before it.
#[derive(Clone, Copy)]
enum Join {
    CopyOnWrite,
    Range,
}

impl Join {
    /// What the joined piece is, if `next` continues `last`.
    fn source(self, last: &Step, next: &Step) -> Option<Source> {
        let (Act::Work { source, operations }, Act::Work { source: Source::PteWrite, operations: more }) =
            (&last.act, &next.act)
        else {
            return None;
        };
        if !Span::is_one(last.span, next.span) {
            return None;
        }
        match (self, source) {
            (Self::CopyOnWrite, Source::Tlb) => Some(Source::CopyOnWrite),
            (Self::Range, Source::PteWrite | Source::Range) if continues(operations, more) => Some(Source::Range),
            (Self::Range, Source::CopyOnWrite) if continues(operations, more) => Some(Source::CopyOnWrite),
            _ => None,
        }
    }
}

/// Whether `next` writes the entry after the one `last` wrote, in the same table and by the same command.
fn continues(last: &[Operation], next: &[Operation]) -> bool {
    let (Some(Operation::Update { update: last, .. }), [Operation::Update { update: next, .. }]) = (last.last(), next)
    else {
        return false;
    };
    last.slot.offset(1) == Some(next.slot)
}

/// Joins pieces that a task asks for outside regions, one directly after the other; what the guest does beside the
/// batcher may come between. Answers with the number of pieces that went.
fn join(steps: Vec<Step>, what: Join) -> (Vec<Step>, u64) {
    let mut depth: HashMap<TaskKey, u32> = HashMap::new();
    let mut last: HashMap<TaskKey, usize> = HashMap::new();
    let mut joined: Vec<Option<Step>> = Vec::with_capacity(steps.len());
    let mut gone = 0;
    for mut step in steps {
        track(&mut depth, &step);
        let direct = depth.get(&step.task).is_none_or(|depth| *depth == 0);
        if let Some(&before) = last.get(&step.task)
            && let Some(source) = joined[before].as_ref().and_then(|before| what.source(before, &step))
            && direct
        {
            let before = joined[before].take().map(|before| before.act);
            step.act = Act::Work { source, operations: concatenated(before, step.act) };
            gone += 1;
        }
        if !beside(&step) {
            last.insert(step.task, joined.len());
        }
        joined.push(Some(step));
    }
    (joined.into_iter().flatten().collect(), gone)
}

fn concatenated(first: Option<Act>, second: Act) -> Vec<Operation> {
    let operations = |act| if let Act::Work { operations, .. } = act { operations } else { Vec::new() };
    let mut all = first.map(operations).unwrap_or_default();
    all.extend(operations(second));
    all
}

const fn beside(step: &Step) -> bool {
    matches!(step.act, Act::Guest(_) | Act::Compare { .. })
}

fn track(depth: &mut HashMap<TaskKey, u32>, step: &Step) {
    let depth = depth.entry(step.task).or_default();
    match step.act {
        Act::Enter => *depth += 1,
        Act::Leave => *depth = depth.saturating_sub(1),
        _ => {}
    }
}

/// What is known of a task's last region.
#[derive(Clone, Copy, Default)]
struct Region {
    queued: bool,
    /// Where it was left, while nothing has followed.
    left: Option<usize>,
}

/// Moves TLB flushes before the leave they directly follow, where the region had queued something.
fn flush_before_leave(steps: Vec<Step>) -> (Vec<Step>, u64) {
    let mut regions: HashMap<TaskKey, Region> = HashMap::new();
    let mut before: HashMap<usize, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        let region = regions.entry(step.task).or_default();
        match &step.act {
            Act::Enter => *region = Region::default(),
            Act::Leave => region.left = Some(index),
            Act::Work { source: Source::Tlb, .. } if region.queued => {
                let same = |leave: &usize| {
                    let leave = &steps[*leave];
                    Span::is_one(leave.span, step.span) && leave.vcpu == step.vcpu
                };
                if let Some(leave) = region.left.take().filter(same) {
                    before.insert(leave, index);
                }
            }
            Act::Work { .. } => *region = Region { queued: true, left: None },
            _ => {}
        }
    }
    let moved = before.len() as u64;
    (rearranged(steps, &before), moved)
}

/// How far a vCPU's last context switch is.
#[derive(Clone, Copy, Default)]
struct Switch {
    switching: bool,
    queued: bool,
    /// Where it ended, while nothing has followed.
    ended: Option<usize>,
}

/// Moves the stack switch that directly follows a context switch into it, where the switch has queued something.
fn stack_within_switch(steps: Vec<Step>) -> (Vec<Step>, u64) {
    let mut switches: HashMap<VcpuId, Switch> = HashMap::new();
    let mut before: HashMap<usize, usize> = HashMap::new();
    for (index, step) in steps.iter().enumerate() {
        let switch = switches.entry(step.vcpu).or_default();
        match &step.act {
            Act::SwitchOut => *switch = Switch { switching: true, ..Switch::default() },
            Act::SwitchIn { .. } => *switch = Switch { switching: false, ended: Some(index), ..*switch },
            Act::Work { source: Source::StackSwitch, .. } if switch.queued => {
                if let Some(end) = switch.ended.take() {
                    before.insert(end, index);
                }
            }
            Act::Work { .. } => *switch = Switch { queued: switch.switching, ended: None, ..*switch },
            _ => {}
        }
    }
    let moved = before.len() as u64;
    (rearranged(steps, &before), moved)
}

/// The steps with some moved: `before[a] = b` puts step `b` before step `a`, to be done where and by whom `a` is.
fn rearranged(steps: Vec<Step>, before: &HashMap<usize, usize>) -> Vec<Step> {
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    let mut arranged = Vec::with_capacity(steps.len());
    for index in 0..steps.len() {
        let moved = before.get(&index).and_then(|from| steps[*from].take());
        let Some(step) = steps[index].take() else { continue };
        if let Some(moved) = moved {
            let Step { vcpu, task, interrupt, span, .. } = step;
            arranged.push(Step { vcpu, task, interrupt, span, ..moved });
        }
        arranged.push(step);
    }
    arranged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::extract::requests;
    use crate::replay::frames::Frames;
    use crate::replay::infer::program;
    use crate::replay::testing::{RO, RW, Script};
    use mmu_trace::EventKind;

    /// The ported steps' shape, and the gains.
    fn port(script: &Script) -> (Vec<String>, Gains) {
        let requests = requests(&script.events).unwrap();
        let (steps, gains) = ported(program(&requests, &Frames::learn(&requests).unwrap()).steps);
        let name = |step: &Step| match &step.act {
            Act::Work { source, operations } => format!("{source:?} {}", operations.len()),
            Act::SwitchIn { .. } => "SwitchIn".into(),
            Act::Guest(_) => "guest".into(),
            other => format!("{other:?}"),
        };
        (steps.iter().map(name).collect(), gains)
    }

    #[test]
    fn a_flush_directly_after_a_leave_moves_into_the_region() {
        let mut script = Script::new();
        script.fault().enter().queued_pte(5, 1, 9, RW).leave().flush_one();
        let (shape, gains) = port(&script);
        assert_eq!(shape, ["Enter", "PteWrite 1", "Tlb 1", "Leave"]);
        assert_eq!(gains, Gains { tlb_flush_in_region: 1, ..Gains::default() });
    }

    #[test]
    fn a_flush_after_an_empty_region_or_another_fault_or_on_another_vcpu_stays() {
        let mut empty = Script::new();
        empty.fault().enter().leave().flush_one();
        let mut later = Script::new();
        later.fault().enter().queued_pte(5, 1, 9, RW).leave().fault().flush_one();
        let mut moved = Script::new();
        moved.fault().enter().queued_pte(5, 1, 9, RW).leave().on(1, 7).flush_one();
        let mut second = Script::new();
        second.fault().enter().queued_pte(5, 1, 9, RW).leave().set_pte(6, 1, 9, RW).flush_one();
        for script in [empty, later, moved, second] {
            assert_eq!(port(&script).1, Gains::default());
        }
    }

    #[test]
    fn consecutive_writes_of_one_fault_are_a_range() {
        let mut script = Script::new();
        script.fault().set_pte(5, 1, 9, RO).set_pte(5, 2, 0xa, RO).set_pte(5, 3, 0xb, RO).set_pte(5, 5, 0xc, RO);
        let (shape, gains) = port(&script);
        assert_eq!(shape, ["Range 3", "PteWrite 1"]);
        assert_eq!(gains.consecutive_writes, 2);
    }

    #[test]
    fn separate_faults_and_tables_never_merge() {
        let mut faults = Script::new();
        faults.fault().set_pte(5, 1, 9, RO).fault().set_pte(5, 2, 0xa, RO);
        let mut tables = Script::new();
        tables.fault().set_pte(5, 511, 9, RO).set_pte(6, 0, 0xa, RO);
        let mut downwards = Script::new();
        downwards.fault().set_pte(5, 2, 9, RO).set_pte(5, 1, 0xa, RO);
        let mut tasks = Script::new();
        tasks.fault().set_pte(5, 1, 9, RO).on(0, 8).fault().set_pte(5, 2, 0xa, RO);
        for script in [faults, tables, downwards, tasks] {
            assert_eq!(port(&script).1, Gains::default());
        }
    }

    #[test]
    fn what_belongs_to_no_fault_or_system_call_is_joined_with_nothing() {
        let mut kernel_thread = Script::new();
        kernel_thread.set_pte(5, 1, 9, RO).set_pte(5, 2, 0xa, RO).flush_one().set_pte(5, 9, 0xb, RW);
        kernel_thread.enter().queued_pte(5, 3, 9, RW).leave().flush_one();
        let mut interrupt = Script::new();
        interrupt.fault().interrupt(true).set_pte(5, 1, 9, RO).set_pte(5, 2, 0xa, RO);
        let mut returned = Script::new();
        returned.push(EventKind::SyscallEnter { nr: 10 }).push(EventKind::SyscallExit { nr: 10, ret: 0 });
        returned.set_pte(5, 1, 9, RO).set_pte(5, 2, 0xa, RO);
        for script in [kernel_thread, interrupt, returned] {
            assert_eq!(port(&script).1, Gains::default());
        }
    }

    #[test]
    fn what_another_task_does_meanwhile_does_not_part_a_range() {
        let mut script = Script::new();
        script.fault().set_pte(5, 1, 9, RO).on(1, 8).fault().set_pte(6, 7, 9, RO).on(0, 7).set_pte(5, 2, 0xa, RO);
        assert_eq!(port(&script).0, ["PteWrite 1", "Range 2"]);
    }

    #[test]
    fn a_copy_on_write_is_one_piece_behind_its_clear() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RO).fault().flush_one().set_pte(5, 1, 0xa, RW).set_pte(5, 2, 0xb, RW);
        let (shape, gains) = port(&script);
        assert_eq!(shape, ["PteWrite 1", "guest", "CopyOnWrite 3"]);
        assert_eq!((gains.copy_on_write, gains.consecutive_writes), (1, 1));
    }

    #[test]
    fn writes_in_a_region_are_left_alone() {
        let mut script = Script::new();
        script.fault().enter().queued_pte(5, 1, 9, RO).queued_pte(5, 2, 0xa, RO).leave();
        assert_eq!(
            port(&script),
            (["Enter", "PteWrite 1", "PteWrite 1", "Leave"].map(String::from).into(), Gains::default())
        );
    }

    #[test]
    fn the_stack_goes_with_the_base_pointer() {
        let mut script = Script::new();
        script.switch(8, Some(0x40)).switch(9, None);
        let (shape, gains) = port(&script);
        let first = ["SwitchOut", "BasePointer 2", "StackSwitch 1", "SwitchIn"];
        assert_eq!(shape, [first.as_slice(), &["SwitchOut", "SwitchIn", "StackSwitch 1"]].concat());
        assert_eq!(gains, Gains { stack_with_base: 1, ..Gains::default() });
    }
}
