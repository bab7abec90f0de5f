//! The mock answers as QEMU's pseries machine does, and each planted fault that registers can show is found by it.

use std::collections::BTreeSet;
use std::env;
use std::io::{Write as _, stderr};

use mock_papr::Fault;
use papr_lab::{Call, Calls, Compared, LabError, Machine, compare, mock};

/// Those that answers do not show: QEMU has no block removal, and when it flushes is not in a register.
const UNSEEN: [Fault; 2] = [Fault::BlockUnbounded, Fault::NeverFlushes];

/// A machine; `None` where its programs are missing, which is said loudly, and is an error with `CI=true`.
fn machine(test: &str) -> Option<Machine> {
    let error = match Machine::boot() {
        Ok(machine) => return Some(machine),
        Err(error) => error,
    };
    let may_be_missing = matches!(error, LabError::Missing { .. });
    assert!(may_be_missing && env::var_os("CI").is_none_or(|ci| ci != "true"), "{error}");
    let _ = stderr().write_all(format!("SKIPPED: {test}: {error}\n").as_bytes());
    None
}

fn compared(mut machine: Machine, mock: mock_papr::Papr, seed: u64, calls: usize) -> Compared {
    let compared = compare(&mut machine, mock, seed, calls).unwrap();
    assert!(machine.off().unwrap(), "the emulator ended with an error");
    compared
}

#[test]
fn the_mock_answers_as_the_machine() {
    let Some(machine) = machine("the_mock_answers_as_the_machine") else { return };
    let Compared { calls, answers, divergence } = compared(machine, mock(), 1, 100_000);
    assert!(divergence.is_none(), "{}", divergence.unwrap());
    assert_eq!(calls, 100_000);
    // Every answer that a call has is among them.
    let seen: BTreeSet<_> = answers.into_keys().collect();
    let entered = [0, -4, -6].map(|status| (0x08, status));
    let read = [0, -4].map(|status| (0x0c, status));
    let removed = [0, -4, -7].map(|status| (0x04, status));
    let protected = [0, -4, -7].map(|status| (0x18, status));
    let bulk = [0, -4].map(|status| (0x124, status));
    let none = [0x05, 0x10, 0x14, 0x328, 0x448].map(|number| (number, -2));
    let all = [&entered[..], &read, &removed, &protected, &bulk, &none].concat();
    assert_eq!(seen, BTreeSet::from_iter(all));
}

#[test]
fn the_machine_finds_every_planted_fault_that_registers_show() {
    for fault in Fault::ALL {
        let Some(machine) = machine("the_machine_finds_every_planted_fault_that_registers_show") else { return };
        let found = compared(machine, mock().planted(fault), 2, 20_000).divergence;
        println!("{fault:?}: {}", found.as_ref().map_or("not found".to_owned(), ToString::to_string));
        assert_eq!(found.is_none(), UNSEEN.contains(&fault), "{fault:?}");
    }
}

/// A divergence is told with the command that brings it again: so a seed is a sequence.
#[test]
fn a_seed_is_a_sequence() {
    let calls = |seed| Calls::new(seed).take(1000).collect::<Vec<Call>>();
    assert_eq!(calls(3), calls(3));
    assert_ne!(calls(3), calls(4));
}
