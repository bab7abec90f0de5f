//! Each fault the judge exists for, planted in a trace that is clean but for it; and clean traces that look suspicious.

use mmu_trace::check::{self, Breach, CheckReport, Rule};
use mmu_trace::{ReadError, TextReader};

const ENTER: &str = "enter: (paravirt_enter_lazy_mmu+0x0/0x30)";
const LEAVE: &str = "leave: (xen_leave_lazy_mmu+0x0/0x30)";
const REQUEST: &str = "flush: (paravirt_flush_lazy_mmu+0x0/0x30)";
const SWITCH_OUT: &str = "switch_out: (paravirt_start_context_switch+0x0/0x60)";
const SWITCH_IN: &str = "switch_in: (xen_end_context_switch+0x0/0x20)";
const BEGIN_LAZY: &str = "xen_mc_batch: start batch LAZY_MMU";
const BEGIN_CPU: &str = "xen_mc_batch: start batch LAZY_CPU";
const BEGIN_NOW: &str = "xen_mc_batch: start batch LAZY_NONE";
const ENTRY: &str = "xen_mc_entry: op 1(mmu_update) args [ffff888054d1ead0, 1, 0, 7ff0, 0, 0]";
const EXTEND: &str = "xen_mc_extend_args: extending op 1(mmu_update) by 16 bytes res OK";
const CALLBACK: &str = "xen_mc_callback: callback xen_pte_unlock, data 1";
const ISSUE: &str = "xen_mc_issue: start batch LAZY_MMU";
const ISSUE_CPU: &str = "xen_mc_issue: start batch LAZY_CPU";
const FULL: &str = "xen_mc_flush_reason: flush reason ARGS";
const FLUSH_0: &str = "xen_mc_flush: flushing 0 hypercalls, 0 arg bytes, 0 callbacks";
const FLUSH_1: &str = "xen_mc_flush: flushing 1 hypercalls, 16 arg bytes, 0 callbacks";
const FLUSH_2: &str = "xen_mc_flush: flushing 2 hypercalls, 32 arg bytes, 0 callbacks";
const EXIT: &str = "sys_exit: NR 1 = 0";
const FAULT: &str = "page_fault_user: address=0x1 ip=0x2 error_code=0x6";

/// Who does something: task, vCPU, context character.
type Place = (u32, u32, char);

const TASK: Place = (7, 0, '.');
const OTHER: Place = (8, 0, '.');
const IRQ: Place = (7, 0, 'h');

fn switch(from: u32, to: u32, state: &str) -> String {
    format!(
        "sched_switch: prev_comm=a prev_pid={from} prev_prio=120 prev_state={state} \
         ==> next_comm=b next_pid={to} next_prio=120"
    )
}

/// Judges a text in which both vCPUs are first seen to flush and both tasks to be in no region.
fn judge(events: &[(Place, &str)]) -> CheckReport {
    let known = [TASK, OTHER, (7, 1, '.'), (8, 1, '.')].map(|place| [(place, ENTER), (place, LEAVE), (place, FLUSH_0)]);
    judge_from_start(&[known.concat().as_slice(), events].concat())
}

fn judge_from_start(events: &[(Place, &str)]) -> CheckReport {
    let line = |((task, vcpu, context), body): &(Place, &str)| {
        format!("              sh-{task}       [00{vcpu}] d.{context}2.  5: {body}\n")
    };
    let text: String = events.iter().map(line).collect();
    let judged: Result<CheckReport, ReadError> = check::check(TextReader::new(text.as_bytes()));
    judged.expect("the text is whole")
}

/// The only violation: its rule, its line after the twelve of [`judge`], and what it is.
fn only(report: &CheckReport) -> (Rule, u64, Breach) {
    assert_eq!(report.violations_total, 1, "{:?}", report.violations);
    let violation = report.violations[0].clone();
    (violation.what.rule(), violation.line - 12, violation.what)
}

fn clean(events: &[(Place, &str)]) {
    let report = judge(events);
    assert_eq!(report.violations, []);
}

#[test]
fn r1_an_operation_outside_a_region_stays_queued() {
    let lazy_once = [(TASK, BEGIN_NOW), (TASK, ENTRY), (TASK, ISSUE)];
    clean(&[lazy_once.as_slice(), &[(TASK, FLUSH_1), (TASK, EXIT)]].concat());
    let report = judge(&[lazy_once.as_slice(), &[(TASK, EXIT)]].concat());
    assert_eq!(only(&report), (Rule::R1, 4, Breach::QueuedAfterIssue { since: 15 }));
    let never_waits = "xen_mc_issue: start batch LAZY_NONE";
    let report = judge(&[(TASK, BEGIN_NOW), (TASK, ENTRY), (TASK, never_waits), (TASK, EXIT)]);
    assert_eq!(only(&report), (Rule::R1, 4, Breach::QueuedAfterIssue { since: 15 }));
}

#[test]
fn r1_a_requested_flush_does_not_come() {
    let queued = [(TASK, ENTER), (TASK, BEGIN_LAZY), (TASK, ENTRY), (TASK, ISSUE), (TASK, REQUEST)];
    let linux = [(TASK, LEAVE), (TASK, FLUSH_1), (TASK, ENTER), (TASK, LEAVE), (TASK, FLUSH_0)];
    clean(&[queued.as_slice(), &linux].concat());
    let report = judge(&[queued.as_slice(), &[(TASK, BEGIN_LAZY)]].concat());
    assert_eq!(only(&report), (Rule::R1, 6, Breach::QueuedAfterFlush { since: 17 }));
}

#[test]
fn r2_a_leave_leaves_entries_behind() {
    let queued = [(TASK, ENTER), (TASK, BEGIN_LAZY), (TASK, ENTRY), (TASK, ISSUE), (TASK, LEAVE)];
    clean(&[queued.as_slice(), &[(TASK, FLUSH_1), (TASK, EXIT)]].concat());
    clean(&[queued.as_slice(), &[(IRQ, "novelty: 1"), (IRQ, EXIT), (TASK, FLUSH_1)]].concat());
    let report = judge(&[queued.as_slice(), &[(TASK, EXIT)]].concat());
    assert_eq!(only(&report), (Rule::R2, 6, Breach::QueuedAfterLeave { since: 17 }));
    let report = judge(&[queued.as_slice(), &[(IRQ, FAULT), (TASK, EXIT)]].concat());
    assert_eq!(only(&report).1, 7, "the handler's event comes between, the task's own is late");
}

#[test]
fn r2_a_region_is_open_in_user_mode() {
    for back in [EXIT, FAULT, "sys_enter: NR 1 (0, 0, 0, 0, 0, 0)"] {
        let report = judge(&[(TASK, ENTER), (TASK, back), (TASK, back)]);
        assert_eq!(only(&report), (Rule::R2, 2, Breach::OpenInUserMode { since: 13 }));
    }
    clean(&[(TASK, ENTER), (TASK, "page_fault_kernel: address=0x1 ip=f error_code=0x0"), (TASK, LEAVE), (TASK, EXIT)]);
}

#[test]
fn r2_a_task_exits_in_a_region() {
    let report = judge(&[(TASK, ENTER), (TASK, &switch(7, 8, "X"))]);
    assert_eq!(only(&report), (Rule::R2, 2, Breach::OpenAtExit { since: 13 }));
    clean(&[(TASK, ENTER), (TASK, &switch(7, 8, "S")), (OTHER, EXIT)]);
}

#[test]
fn r4_a_region_nests() {
    let report = judge(&[(TASK, ENTER), (TASK, ENTER), (TASK, LEAVE), (TASK, LEAVE), (TASK, EXIT)]);
    assert_eq!(only(&report), (Rule::R4, 2, Breach::Nested { since: 13 }));
    clean(&[(TASK, ENTER), ((8, 1, '.'), ENTER), (TASK, LEAVE), ((8, 1, '.'), LEAVE)]);
}

#[test]
fn a_region_may_be_left_on_another_vcpu() {
    clean(&[(TASK, ENTER), (TASK, &switch(7, 8, "R+")), (OTHER, EXIT), ((7, 1, '.'), LEAVE), ((7, 1, '.'), FLUSH_0)]);
}

#[test]
fn r4_a_leave_without_enter() {
    let report = judge(&[(TASK, LEAVE)]);
    assert_eq!(only(&report), (Rule::R4, 1, Breach::LeaveWithoutEnter));
    let started_inside = judge_from_start(&[(TASK, LEAVE), (TASK, FLUSH_1)]);
    assert_eq!((started_inside.violations_total, started_inside.regions_open_at_start), (0, 1));
}

#[test]
fn r6_a_region_is_entered_or_left_in_interrupt_context() {
    for context in ['h', 's', 'H', 'z', 'Z'] {
        let report = judge(&[((7, 0, context), ENTER)]);
        assert_eq!(only(&report), (Rule::R6, 1, Breach::EnterInInterrupt));
    }
    let report = judge(&[(TASK, ENTER), (IRQ, LEAVE), (TASK, LEAVE)]);
    assert_eq!(only(&report), (Rule::R6, 2, Breach::LeaveInInterrupt));
}

#[test]
fn r6_a_handler_queues_lazily() {
    let in_region = [(TASK, ENTER), (TASK, BEGIN_LAZY), (TASK, ENTRY), (TASK, ISSUE)];
    let now = [(IRQ, BEGIN_NOW), (IRQ, ENTRY), (IRQ, ISSUE), (IRQ, FLUSH_2), (TASK, LEAVE), (TASK, FLUSH_0)];
    clean(&[in_region.as_slice(), &now].concat());
    let lazily = [(IRQ, BEGIN_LAZY), (IRQ, ENTRY), (IRQ, ISSUE), (TASK, LEAVE), (TASK, FLUSH_2)];
    let report = judge(&[in_region.as_slice(), &lazily].concat());
    assert_eq!(only(&report), (Rule::R6, 5, Breach::LazyInInterrupt));
    let kept = [(IRQ, BEGIN_NOW), (IRQ, ENTRY), (IRQ, ISSUE), (TASK, BEGIN_LAZY), (TASK, LEAVE), (TASK, FLUSH_2)];
    let report = judge(&[in_region.as_slice(), &kept].concat());
    assert_eq!(only(&report), (Rule::R6, 8, Breach::QueuedAfterInterrupt { since: 19 }));
}

#[test]
fn r7_entries_are_queued_when_the_next_task_runs() {
    let out = switch(7, 8, "R+");
    let queued = [(TASK, ENTER), (TASK, BEGIN_LAZY), (TASK, ENTRY), (TASK, ISSUE), (TASK, out.as_str())];
    let at_start =
        [(TASK, SWITCH_OUT), (TASK, LEAVE), (TASK, FLUSH_1), (TASK, SWITCH_IN), (TASK, FLUSH_0), (OTHER, EXIT)];
    clean(&[queued.as_slice(), &at_start].concat());
    let at_end = [(TASK, SWITCH_OUT), (TASK, SWITCH_IN), (TASK, FLUSH_1), (OTHER, EXIT)];
    clean(&[queued.as_slice(), &at_end].concat());
    let wanted = (Rule::R7, Breach::QueuedAcrossSwitch { prev: 7, queued: 1 });
    for hooks in [[].as_slice(), &[(TASK, SWITCH_OUT), (TASK, SWITCH_IN)]] {
        let late = [(OTHER, EXIT), (OTHER, FAULT), (OTHER, FLUSH_1)];
        let report = judge(&[queued.as_slice(), hooks, &late].concat());
        let (rule, line, breach) = only(&report);
        assert_eq!((rule, breach), wanted);
        assert_eq!(line as usize, 6 + hooks.len());
    }
}

#[test]
fn r7_without_the_schedulers_event_the_hooks_are_enough() {
    let queued = [(TASK, ENTER), (TASK, BEGIN_LAZY), (TASK, ENTRY), (TASK, ISSUE)];
    let report = judge(&[queued.as_slice(), &[(TASK, SWITCH_OUT), (TASK, SWITCH_IN), (OTHER, EXIT)]].concat());
    assert_eq!(only(&report), (Rule::R7, 7, Breach::QueuedAcrossSwitch { prev: 7, queued: 1 }));
}

#[test]
fn r7_processor_operations_may_wait_between_the_hooks_only() {
    let out = switch(7, 8, "S");
    let window = [(TASK, out.as_str()), (TASK, SWITCH_OUT), (TASK, BEGIN_CPU), (TASK, ENTRY), (TASK, ISSUE_CPU)];
    let landing = [(TASK, SWITCH_IN), (TASK, FLUSH_1), (OTHER, EXIT)];
    let report = judge(&[window.as_slice(), &landing].concat());
    assert_eq!((report.violations_total, report.flushes.switch), (0, 1), "{:?}", report.violations);
    let alone = [(OTHER, BEGIN_NOW), (OTHER, ENTRY), (OTHER, ISSUE_CPU), (OTHER, EXIT)];
    let report = judge(&[window.as_slice(), &landing, &alone].concat());
    assert_eq!(only(&report), (Rule::R1, 12, Breach::QueuedAfterIssue { since: 23 }));
}

#[test]
fn r7_the_incoming_task_has_its_predecessors_laziness() {
    let out = switch(7, 8, "R+");
    let preempted = [(TASK, ENTER), (TASK, out.as_str()), (TASK, SWITCH_OUT), (TASK, SWITCH_IN), (TASK, FLUSH_0)];
    let report = judge(&[preempted.as_slice(), &[(OTHER, BEGIN_LAZY)]].concat());
    assert_eq!(only(&report), (Rule::R7, 6, Breach::LazyOutside));
}

#[test]
fn an_enter_at_the_end_of_a_switch_is_the_incoming_tasks() {
    let (out, back) = (switch(7, 8, "R+"), switch(8, 7, "S"));
    clean(&[
        (TASK, ENTER),
        (TASK, &out),
        (TASK, SWITCH_OUT),
        (TASK, LEAVE),
        (TASK, FLUSH_0),
        (TASK, SWITCH_IN),
        (TASK, FLUSH_0),
        (OTHER, EXIT),
        (OTHER, &back),
        (OTHER, SWITCH_OUT),
        (OTHER, SWITCH_IN),
        (OTHER, FLUSH_0),
        (OTHER, ENTER),
        (TASK, BEGIN_LAZY),
        (TASK, LEAVE),
        (TASK, FLUSH_0),
        (TASK, EXIT),
    ]);
}

#[test]
fn r17_a_flush_takes_other_entries_than_were_queued() {
    let queued = [(TASK, ENTER), (TASK, BEGIN_LAZY), (TASK, ENTRY), (TASK, EXTEND), (TASK, ISSUE), (TASK, LEAVE)];
    for (flush, flushed) in [(FLUSH_2, 2), (FLUSH_0, 0)] {
        let report = judge(&[queued.as_slice(), &[(TASK, flush)]].concat());
        assert_eq!(only(&report), (Rule::R17, 7, Breach::FlushCount { flushed, queued: 1 }));
    }
    let started_queued = judge_from_start(&[queued.as_slice(), &[(TASK, FLUSH_2)]].concat());
    assert_eq!(started_queued.violations_total, 0, "one entry may be older than the trace");
    let too_few = judge_from_start(&[queued.as_slice(), &[(TASK, FLUSH_0)]].concat());
    assert_eq!(too_few.violations_total, 1, "but none that was seen may be missing");
}

#[test]
fn r17_a_flush_runs_other_callbacks_than_were_queued() {
    let queued = [(TASK, BEGIN_NOW), (TASK, ENTRY), (TASK, CALLBACK), (TASK, ISSUE)];
    let report = judge(&[queued.as_slice(), &[(TASK, FLUSH_1)]].concat());
    assert_eq!(only(&report), (Rule::R17, 5, Breach::CallbackCount { flushed: 0, queued: 1 }));
}

#[test]
fn r17_a_reason_is_not_followed_by_a_flush() {
    let full = [(TASK, ENTER), (TASK, BEGIN_LAZY), (TASK, ENTRY), (TASK, ISSUE), (TASK, BEGIN_LAZY), (TASK, FULL)];
    let rest = [(TASK, FLUSH_1), (TASK, ENTRY), (TASK, ISSUE), (TASK, LEAVE), (TASK, FLUSH_1)];
    let report = judge(&[full.as_slice(), &rest].concat());
    assert_eq!((report.violations_total, report.flushes.full_arguments, report.flushes.leave), (0, 1, 1));
    let report = judge(&[full.as_slice(), &[(TASK, ENTRY), (TASK, LEAVE), (TASK, FLUSH_2)]].concat());
    assert_eq!(only(&report), (Rule::R17, 7, Breach::ReasonWithoutFlush { since: 18 }));
}

#[test]
fn after_lost_events_nothing_is_held_against_the_kernel() {
    let text = |lost: &str| {
        format!(
            "  sh-7 [000] d..2. 0: {FLUSH_0}\n  sh-7 [000] d..2. 1: {ENTER}\n{lost}  sh-7 [000] d..2. 2: {ENTER}\n  sh-7 [000] d..2. 3: {LEAVE}\n\
             {lost}  sh-7 [000] d..2. 4: {FLUSH_2}\n"
        )
    };
    let total = |text: &str| {
        let judged = check::check(TextReader::new(text.as_bytes())).expect("the text is whole");
        judged.violations_total
    };
    assert_eq!(total(&text("")), 2);
    assert_eq!(total(&text("CPU:0 [LOST 3 EVENTS]\n")), 0);
}

#[test]
fn what_a_trace_does_not_show_is_said() {
    let report = judge_from_start(&[(TASK, EXIT)]);
    let seen = report.evidence;
    assert!(seen.contexts && !seen.regions && !seen.switches && !seen.batches);
    assert!(judge(&[(TASK, ENTRY)]).evidence.batches);
}

#[test]
fn violations_are_bounded_and_all_counted() {
    let many = vec![(TASK, LEAVE); 500];
    let report = judge(&many);
    assert_eq!((report.violations.len(), report.violations_total), (check::MAX_VIOLATIONS, 500));
    let text = report.violations[0].to_string();
    assert_eq!(text, "line 13: R4: vcpu 0, task 7: a region is left that was not entered");
}

#[test]
fn idle_threads_of_two_vcpus_are_two_tasks() {
    clean(&[((0, 0, '.'), ENTER), ((0, 1, '.'), ENTER), ((0, 0, '.'), LEAVE), ((0, 1, '.'), LEAVE)]);
}

#[test]
fn histograms_hold_every_size() {
    let batch = |extends: usize| {
        let mut events = vec![(TASK, BEGIN_NOW), (TASK, ENTRY)];
        events.extend(vec![(TASK, EXTEND); extends]);
        events.extend([(TASK, ISSUE), (TASK, FLUSH_1)]);
        events
    };
    let report = judge(&[batch(0), batch(31), batch(99), batch(99)].concat());
    let histogram = &report.operations_per_flush;
    assert_eq!((histogram.buckets()[1], histogram.buckets()[32], histogram.buckets()[65]), (1, 1, 2));
    assert_eq!((histogram.largest(), histogram.total()), (100, 4));
    assert_eq!((report.entries, report.extends, report.flushes.operation), (4, 229, 4));
}
