//! The cases, on both executors.

use xen_conform::{CasesReport, Mock, Verdict, Xen, run_cases};
use xen_lab::Lab;

/// Those not met, with the reason.
fn unmet(report: &CasesReport) -> Vec<String> {
    let unmet = report.verdicts.iter().filter(|case| case.verdict != Verdict::Met);
    unmet.map(|case| format!("{} ({}): {:?}", case.name, case.title, case.verdict)).collect()
}

fn assert_met(report: &CasesReport) {
    let unmet = unmet(report);
    assert!(unmet.is_empty(), "{} of {} cases:\n{}", unmet.len(), report.verdicts.len(), unmet.join("\n"));
    assert!(report.verdicts.len() > 160, "only {} cases were run", report.verdicts.len());
}

#[test]
fn every_case_is_met_on_the_mock() {
    assert_met(&run_cases(&Mock::new()).expect("the mock runs"));
}

#[test]
fn every_case_is_met_on_the_real_xen() {
    match Lab::find() {
        Ok(lab) => assert_met(&run_cases(&Xen::new(lab)).expect("the lab runs")),
        Err(error) if std::env::var_os("CI").is_some() => panic!("CI needs the real Xen: {error}"),
        Err(error) => eprintln!("SKIPPED on the real Xen: {error}"),
    }
}
