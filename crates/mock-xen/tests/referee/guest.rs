//! The test guest: a batcher over the real batch format, on the machine, judged in a few lines.

use hypercall::{
    Batch, Errno, Hypervisor, MmuextOp, Operation, Outcome, Pte, RawCall, TaskContext, VcpuId, issue_operation,
};
use mock_xen::referee::{Profile, Rule, Settings};
use mock_xen::testing::{Answer, Failed, TestGuest, TestTask, mmuext, update};

const C0: VcpuId = VcpuId::new(0);
const C1: VcpuId = VcpuId::new(1);

/// A queue that goes out as one multicall, which reports what is refused and drops nothing.
struct Queue<'g> {
    guest: &'g TestGuest,
    batch: Batch<64, 8, 64>,
}

impl<'g> Queue<'g> {
    fn new(guest: &'g TestGuest) -> Self {
        Self { guest, batch: Batch::new() }
    }

    fn add(&mut self, operation: &Operation) -> Result<(), Errno> {
        self.batch.push(operation).map_err(|_| Errno::NOMEM)
    }

    fn flush(&mut self, vcpu: VcpuId) -> Vec<Failed> {
        if !self.batch.is_empty() {
            let multicall = self.guest.hypervisor(vcpu).multicall(&mut self.batch.prepare());
            assert_eq!(multicall, Ok(()));
        }
        let failed = (0..self.batch.len()).flat_map(|call| self.failed_in(call)).collect();
        self.batch.clear();
        failed
    }

    fn failed_in(&mut self, call: usize) -> Vec<Failed> {
        let Some(Outcome { done, result: Err(errno) }) = self.batch.outcome(call) else { return Vec::new() };
        let len = self.batch.entry(call).map_or(0, |entry| entry.len);
        let first = done as u16;
        let errno_of = |item| if item == first { Some(errno) } else { None };
        let failed = |item| Some(Failed { operation: self.batch.operation(call, item)?, errno: errno_of(item) });
        (first..len).filter_map(failed).collect()
    }
}

fn guest() -> TestGuest {
    TestGuest::new(Profile::Strict)
}

/// A region in which `task` asks for `operations`, which `queue` takes.
fn region(task: TestTask<'_>, queue: &mut Queue<'_>, operations: &[Operation]) {
    task.enter(|| true);
    for operation in operations {
        task.ask(operation, |operation| queue.add(operation));
    }
    task.leave(|| queue.flush(task.vcpu()));
}

#[test]
fn a_region_is_clean_and_its_writes_are_in_memory() {
    let guest = guest();
    let mut queue = Queue::new(&guest);
    let writes: Vec<Operation> = (0..10).map(|index| update(guest.slot(index), guest.pte(index))).collect();
    region(guest.task(1, C0), &mut queue, &writes);
    guest.assert_clean();
    assert_eq!(guest.xen().read_entry(guest.slot(9)).map(Pte::frame), Some(guest.page(9)));
    assert_eq!(guest.verdict().counters.applied, 10);
}

#[test]
fn refusals_and_what_stood_behind_them_are_reported() {
    let guest = guest();
    let mut queue = Queue::new(&guest);
    let operations = [
        update(guest.slot(0), guest.pte(0)),
        update(guest.slot(1), guest.refused_pte()),
        update(guest.slot(2), guest.pte(2)),
        mmuext(MmuextOp::TlbFlushAll),
        update(guest.slot(3), guest.pte(3)),
    ];
    region(guest.task(1, C0), &mut queue, &operations);
    guest.assert_clean();
    let counters = guest.verdict().counters;
    assert_eq!((counters.applied, counters.failed, counters.not_attempted), (3, 1, 1));
}

#[test]
fn a_swallowed_refusal_is_r14() {
    let guest = guest();
    let task = guest.task(1, C0);
    task.ask(update(guest.slot(1), guest.refused_pte()), |operation| {
        let _swallowed = issue_operation(&mut guest.hypervisor(C0), operation);
        Ok(())
    });
    let violation = guest.assert_violates(Rule::R14);
    assert_eq!((violation.task, violation.vcpu), (Some(task.id()), Some(C0)));
}

#[test]
#[should_panic(expected = "R7 (preemption): `slot 0x101[4] := 0x")]
fn a_message_names_rule_operation_task_and_vcpu() {
    let guest = guest();
    let mut queue = Queue::new(&guest);
    let (first, second) = (guest.task(1, C0), guest.task(2, C0));
    first.enter(|| true);
    first.ask(update(guest.slot(4), guest.pte(4)), |operation| queue.add(operation));
    first.switch_to(second, |_| ());
    guest.assert_clean();
}

#[test]
#[should_panic(expected = "R12 (TLB) was expected to be broken, and was not: no rule broken: 0 asked")]
fn an_expected_violation_that_is_not_there_fails_the_test() {
    guest().assert_violates(Rule::R12);
}

#[test]
#[should_panic(expected = "1 operation is still pending, leave or flush")]
fn a_verdict_in_the_middle_of_a_region_fails_the_test() {
    let guest = guest();
    let mut queue = Queue::new(&guest);
    let task = guest.task(1, C0);
    task.enter(|| true);
    task.ask(mmuext(MmuextOp::TlbFlushLocal), |operation| queue.add(operation));
    guest.assert_clean();
}

#[test]
#[should_panic(expected = "1 refusal has not been told")]
fn a_verdict_over_a_swallowed_refusal_fails_the_test() {
    let guest = guest();
    let task = guest.task(1, C0);
    let refused = update(guest.slot(0), guest.refused_pte());
    task.enter(|| true);
    task.ask(refused, |_| Ok(()));
    task.flush(|| issue_operation(&mut guest.hypervisor(C0), &refused).is_err());
    guest.assert_clean();
}

#[test]
#[should_panic(expected = "1 task is in a region or pause")]
fn a_verdict_over_an_open_region_fails_the_test() {
    let guest = guest();
    guest.task(1, C0).enter(|| true);
    guest.assert_clean();
}

#[test]
#[should_panic(expected = "reported as not attempted, which is not so")]
fn a_batcher_that_attempts_nothing_fails_the_test() {
    let guest = guest();
    let task = guest.task(1, C0);
    let write = update(guest.slot(0), guest.pte(0));
    task.enter(|| true);
    task.ask(write, |_| Ok(()));
    task.leave(|| vec![Failed { operation: write, errno: None }]);
    guest.assert_clean();
}

#[test]
fn a_flush_of_all_may_be_issued_as_one_of_every_vcpu_the_guest_has() {
    let guest = guest();
    let task = guest.task(1, C0);
    let both = mmuext(MmuextOp::TlbFlushMulti { vcpus: [C0, C1].into_iter().collect() });
    task.enter(|| true);
    task.ask(mmuext(MmuextOp::TlbFlushAll), |_| Ok(()));
    task.leave(|| issue_operation(&mut guest.hypervisor(C0), &both));
    guest.assert_clean();
}

#[test]
fn the_base_pointers_the_machine_starts_with_are_known() {
    let guest = guest();
    let base = guest.xen().processor(C1).base;
    guest.task(2, C1).switch_to(guest.task(3, C1), |switch| {
        switch.ask(mmuext(MmuextOp::NewBaseptr { table: guest.empty_table() }), |_| Ok(()));
        guest.task(1, C0).ask(mmuext(MmuextOp::Unpin { table: base }), |operation| {
            issue_operation(&mut guest.hypervisor(C0), operation)
        });
    });
    guest.assert_violates(Rule::R12);
}

/// An update past what `task` has queued for the same entry, and where the two were asked for.
fn overtaken(guest: &TestGuest) -> [u32; 2] {
    let (task, mut queue) = (guest.task(1, C0), Queue::new(guest));
    task.enter(|| true);
    let first = line!() + 1;
    task.ask(update(guest.slot(0), guest.pte(0)), |operation| queue.add(operation));
    task.ask(update(guest.slot(0), guest.pte(1)), |operation| issue_operation(&mut guest.hypervisor(C0), operation));
    task.leave(|| queue.flush(C0));
    [first, first + 1]
}

/// The number behind the first `moment ` of a text.
fn moment(text: &str) -> &str {
    text.split("moment ").nth(1).unwrap().split([' ', ':']).next().unwrap()
}

#[test]
fn every_moment_of_a_finding_leads_to_a_line_of_the_test() {
    let guest = guest();
    let lines = overtaken(&guest);
    let violation = guest.assert_violates(Rule::R3).to_string();
    let explained = guest.explained();
    let told = |at: &str| explained.lines().find(|line| line.trim().starts_with(&format!("moment {at}: "))).unwrap();
    for (asked, line) in violation.split("asked at ").skip(1).zip(lines) {
        let asked = told(moment(asked));
        assert!(asked.contains("task 1, vcpu 0: asks for `slot 0x101[0]"), "{explained}");
        assert!(asked.ends_with(&format!("tests/referee/guest.rs:{line}")), "{explained}");
    }
    let found = moment(violation.split_once("found at ").unwrap().1);
    assert!(told(found).contains("the hypervisor applies `slot 0x101[0]"), "{explained}");
    assert!(explained.contains("`slot 0x101[n] := value`") && explained.contains("mfn 0x103 + p"), "{explained}");
}

#[test]
fn of_many_moments_those_are_shown_that_a_finding_names() {
    let guest = guest();
    let (task, mut queue) = (guest.task(1, C0), Queue::new(&guest));
    task.enter(|| true);
    task.ask(update(guest.slot(0), guest.pte(0)), |operation| queue.add(operation));
    for page in 1..60 {
        task.ask(update(guest.slot(page), guest.pte(page % 16)), |operation| queue.add(operation));
    }
    task.leave(|| true);
    assert_eq!(guest.verdict().found, 60);
    let explained = guest.explained();
    assert!(explained.lines().any(|line| line.contains("asks for `slot 0x101[0] ")), "{explained}");
    assert!(!explained.contains("entered a region"), "{explained}");
}

#[test]
fn nothing_is_explained_where_nothing_is_wrong() {
    assert_eq!(guest().explained(), guest().verdict().to_string());
}

#[test]
#[should_panic(expected = "(or the test did not tell the referee of the region: see `TestTask::enter`)")]
fn a_region_of_which_the_referee_is_not_told_may_be_the_tests_mistake() {
    let guest = guest();
    let mut queue = Queue::new(&guest);
    guest.task(1, C0).ask(update(guest.slot(0), guest.pte(0)), |operation| queue.add(operation));
    guest.assert_clean();
}

#[test]
#[should_panic(expected = "(or the test did not tell the referee what it asked for: see `TestTask::ask`)")]
fn a_call_of_which_the_referee_is_not_told_may_be_the_tests_mistake() {
    let guest = guest();
    let _applied = issue_operation(&mut guest.hypervisor(C0), &update(guest.slot(0), guest.pte(0)));
    guest.assert_clean();
}

#[test]
fn a_refusal_that_the_platform_reports_is_told() {
    let guest = guest();
    let task = guest.task(1, C0);
    let refused = update(guest.slot(0), guest.refused_pte());
    task.enter(|| true);
    task.ask(refused, |_| Ok(()));
    task.leave(|| {
        let errno = issue_operation(&mut guest.hypervisor(C0), &refused).err();
        guest.reported(C0, Failed { operation: refused, errno });
    });
    guest.assert_clean();
}

#[test]
fn a_leak_that_is_reported_at_exit_is_no_leak() {
    let guest = guest();
    let task = guest.task(1, C0);
    task.enter(|| true);
    task.leak_reported();
    task.exit();
    guest.assert_clean();
    let task = guest.task(2, C0);
    task.enter(|| true);
    task.exit();
    guest.assert_violates(Rule::R2);
}

#[test]
#[should_panic(expected = "does not model")]
fn what_the_mock_does_not_model_fails_the_test() {
    let guest = guest();
    let mut iret = RawCall { number: hypercall::abi::HYPERCALL_IRET, args: [0; 5] };
    guest.xen().hypercall(C0, &mut iret);
    guest.assert_clean();
}

#[test]
fn a_task_is_switched_out_moved_interrupted_and_paused() {
    let guest = guest();
    let (mut here, mut there) = (Queue::new(&guest), Queue::new(&guest));
    let idle = guest.task(0, C0);
    let task = guest.task(1, C0);
    task.enter(|| true);
    task.ask(update(guest.slot(0), guest.pte(0)), |operation| here.add(operation));
    task.switch_to(idle, |switch| {
        let stack = Operation::StackSwitch { ss: 0xe02b, sp: hypercall::VirtAddr::unchecked(0xffff_8880_0000_1000) };
        switch.ask(stack, |operation| here.add(operation));
        here.flush(C0)
    });
    let task = guest.task(9, C1).switch_to(task, |_| ());
    task.ask(update(guest.slot(1), guest.pte(1)), |operation| there.add(operation));
    task.interrupt(|handler| {
        handler.ask(update(guest.slot(2), guest.pte(2)), |operation| {
            issue_operation(&mut guest.hypervisor(C1), operation)
        });
    });
    assert_eq!(task.read(guest.slot(1), || guest.pte(1)), guest.pte(1));
    task.pause(|| there.flush(C1));
    task.ask(mmuext(MmuextOp::TlbFlushAll), |operation| issue_operation(&mut guest.hypervisor(C1), operation));
    task.resume(|| true);
    task.flush(|| there.flush(C1));
    task.leave(|| there.flush(C1));
    task.exit();
    guest.assert_clean();
}

#[test]
fn a_range_is_one_call() {
    let guest = guest();
    let task = guest.task(1, C0);
    let mut queue = Queue::new(&guest);
    let range: Vec<Operation> = (0..16).map(|index| update(guest.slot(index), guest.pte(index))).collect();
    task.ask_all(&range, |range| {
        range.iter().for_each(|operation| queue.add(operation).expect("a range of 16 fits"));
        queue.flush(C0)
    });
    guest.assert_clean();
    task.ask_all(&range, |_| true);
    guest.assert_violates(Rule::R1);
}

#[test]
fn a_raw_read_and_a_stale_accessor_are_r11() {
    let guest = guest();
    let mut queue = Queue::new(&guest);
    let task = guest.task(1, C0);
    task.enter(|| true);
    task.ask(update(guest.slot(0), guest.pte(0)), |operation| queue.add(operation));
    assert_eq!(task.raw_read(guest.slot(0)), Pte::EMPTY);
    task.read(guest.slot(0), || Pte::EMPTY);
    assert_eq!(guest.verdict().found, 2);
    guest.assert_violates(Rule::R11);
}

#[test]
fn a_hypercall_longer_than_the_bound_is_r15() {
    let guest = TestGuest::with_settings(Settings::new(Profile::Strict).masked_bound(8));
    let writes: Vec<Operation> = (0..9).map(|index| update(guest.slot(index), guest.pte(index))).collect();
    region(guest.task(1, C0), &mut Queue::new(&guest), &writes[..8]);
    guest.assert_clean();
    region(guest.task(1, C0), &mut Queue::new(&guest), &writes);
    guest.assert_violates(Rule::R15);
}

#[test]
fn a_context_token_can_be_had_in_a_test() {
    fn queued(_context: &TaskContext) -> Answer {
        Answer::from(Ok::<(), Errno>(()))
    }
    let guest = guest();
    let task = guest.task(1, C0);
    task.enter(|| queued(&TaskContext::in_user_space()));
    task.leave(|| ());
    guest.assert_clean();
}

#[test]
fn two_vcpus_may_be_played_by_two_threads() {
    let guest = guest();
    std::thread::scope(|scope| {
        for vcpu in [C0, C1] {
            let guest = &guest;
            scope.spawn(move || {
                let task = guest.task(vcpu.number().into(), vcpu);
                let mut queue = Queue::new(guest);
                let first = 8 * vcpu.number() as usize;
                for round in 0..50 {
                    let write =
                        |index| update(guest.slot(first + index), guest.pte((round + index) % TestGuest::PAGES));
                    region(task, &mut queue, &(0..8).map(write).collect::<Vec<_>>());
                }
            });
        }
    });
    guest.assert_clean();
    assert_eq!(guest.verdict().counters.applied, 800);
}
