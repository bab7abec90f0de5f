//! The cases, on both executors.

use xen_conform::{Executor, Mock, Verdict, Xen, cases, run_cases};
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
