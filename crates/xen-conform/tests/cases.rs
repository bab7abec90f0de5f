//! The cases, on both executors.

use std::sync::atomic::{AtomicU32, Ordering};

use mock_xen::Fault;
use xen_conform::{ExecuteError, Executor, Mock, Verdict, Xen, cases, run_cases};
use xen_lab::Lab;
use xen_program::Mode;

fn assert_met(executor: &impl Executor) {
    let verdicts = run_cases(executor, Mode::None, cases().cases).expect("the executor runs");
    let unmet = verdicts.iter().filter(|case| case.verdict != Verdict::Met);
    let unmet: Vec<_> = unmet.map(|of| format!("{} ({}): {:?}", of.case.name, of.case.title, of.verdict)).collect();
    assert!(unmet.is_empty(), "{} of {} cases:\n{}", unmet.len(), verdicts.len(), unmet.join("\n"));
    assert!(verdicts.len() > 160, "only {} cases were run", verdicts.len());
}

#[test]
fn every_case_is_met_on_the_mock() {
    assert_met(&Mock::new());
}

#[test]
fn every_case_is_met_on_the_real_xen() {
    if let Some(lab) = Lab::for_test("every case is met on the real Xen") {
        assert_met(&Xen::new(lab.clone()));
    }
}

#[test]
fn a_case_that_expects_something_else_is_unmet() {
    let wrong = "case 1: not so\n    mmu_update(&[], 0, done, self) -> -EINVAL\n";
    let wrong = xen_program::parse(wrong).expect("it is a program").cases;
    let verdicts = run_cases(&Mock::new(), Mode::None, wrong).expect("the mock runs");
    assert!(matches!(&verdicts[0].verdict, Verdict::Unmet(why) if why.contains("-EINVAL")), "{verdicts:?}");
}

/// A machine that answers wrongly the first so many times it is asked, as one that is busy with something else.
struct Busy {
    wrong: AtomicU32,
    times: u32,
}

impl Executor for Busy {
    fn run(&self, list: &[u8]) -> Result<Vec<u8>, ExecuteError> {
        let is_busy = self.wrong.fetch_add(1, Ordering::Relaxed) < self.times;
        if is_busy { Mock::planted(Fault::DirtyNotPreserved).run(list) } else { Mock::new().run(list) }
    }

    fn most(&self) -> usize {
        Mock::new().most()
    }
}

/// Cases that are met, those of them only when asked again, and those that are not.
fn asked(times: u32) -> [usize; 3] {
    let busy = Busy { wrong: AtomicU32::new(0), times };
    let verdicts = run_cases(&busy, Mode::None, cases().cases).expect("the mock runs");
    let unsteady = verdicts.iter().filter(|case| case.unsteady).count();
    let met = verdicts.iter().filter(|case| case.verdict == Verdict::Met).count();
    [met, unsteady, verdicts.len() - met]
}

#[test]
fn what_is_wrong_once_is_asked_again_and_what_stays_wrong_is_found() {
    let [all, ..] = asked(0);
    let [met, unsteady, unmet] = asked(1);
    assert!((met, unmet) == (all, 0) && unsteady > 0, "{met} met, {unsteady} when asked again, {unmet} not");
    let [met, unsteady, unmet] = asked(u32::MAX);
    assert!(met < all && unsteady == 0 && unmet > 0, "{met} met, {unsteady} when asked again, {unmet} not");
}
