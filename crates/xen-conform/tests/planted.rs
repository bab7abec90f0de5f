//! The comparison can fail: the mock with one rule wrong, held against real Xen.
//!
//! Real Xen answers each list of programs once, whatever number of wrong mocks is held against it.

use std::collections::HashMap;
use std::sync::Mutex;

use mock_xen::Fault;
use xen_conform::{ConformReport, ExecuteError, Executor, Mock, Pair, Settings, Xen, conform};
use xen_lab::Lab;
use xen_program::Mode;

/// Operations within which each fault must be found, over all modes.
const BUDGET: u64 = 200_000;
/// Operations of each attempt: few first, so that most faults are found soon.
const ATTEMPTS: [(u64, Mode); 5] =
    [(4_000, Mode::None), (4_000, Mode::Step), (32_000, Mode::None), (32_000, Mode::Step), (128_000, Mode::None)];
const SEED: u64 = 20_261;

/// Real Xen, or what it answered before to the same list.
struct Remembered {
    xen: Xen,
    answers: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
}

impl Executor for Remembered {
    fn run(&self, list: &[u8]) -> Result<Vec<u8>, ExecuteError> {
        let known = self.answers.lock().expect("nothing panics").get(list).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let answer = self.xen.run(list)?;
        self.answers.lock().expect("nothing panics").insert(list.to_vec(), answer.clone());
        Ok(answer)
    }

    fn most(&self) -> usize {
        self.xen.most()
    }
}

fn attempt(mock: &Mock, xen: &Remembered, operations: u64, mode: Mode, seed: u64) -> ConformReport {
    let mut settings = Settings::new(operations, seed);
    settings.mode = mode;
    settings.smallest = false;
    conform(Pair { mock, xen }, settings, |_| {}).expect("both run")
}

/// Operations and mode after which the fault was found.
fn found(fault: Fault, xen: &Remembered) -> Option<(u64, Mode)> {
    let mut before = 0;
    for (seed, (operations, mode)) in (SEED..).zip(ATTEMPTS) {
        let report = attempt(&Mock::planted(fault), xen, operations, mode, seed);
        if let Some(divergence) = report.divergences.first() {
            return Some((before + divergence.after, mode));
        }
        before += report.ops;
    }
    None
}

#[test]
#[cfg_attr(debug_assertions, ignore = "takes minutes where code is not optimised: cargo test --release")]
fn every_planted_fault_is_found() {
    let Some(lab) = Lab::for_test("every planted fault is found") else { return };
    let xen = Remembered { xen: Xen::new(lab.clone()), answers: Mutex::default() };
    let (first, mode) = ATTEMPTS[0];
    let honest = attempt(&Mock::new(), &xen, first, mode, SEED);
    assert!(honest.divergences.is_empty(), "without a fault there is a difference:\n{}", honest.divergences[0].found);
    let mut rows: Vec<(u64, String)> = Vec::new();
    let mut hidden = Vec::new();
    for fault in Fault::ALL {
        match found(*fault, &xen) {
            Some((after, mode)) => rows.push((after, format!("| {fault:?} | {after} | {mode:?} |"))),
            None => hidden.push(fault),
        }
    }
    rows.sort();
    println!("| planted fault | operations until found | preempt |\n|---|---|---|");
    rows.iter().for_each(|(_, row)| println!("{row}"));
    assert!(Fault::ALL.len() >= 40, "{}", Fault::ALL.len());
    assert!(hidden.is_empty(), "not found within {BUDGET} operations: {hidden:?}");
    assert!(rows.iter().all(|(after, _)| *after <= BUDGET), "{rows:?}");
}
