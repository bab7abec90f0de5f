//! The mock answers as QEMU's pseries machine does, which finds each planted fault of what it has.

use std::collections::BTreeSet;
use std::env;
use std::io::{Write as _, stderr};

use mock_papr::Fault;
use papr_lab::{Call, Calls, Compared, Kind, LabError, Machine, compare, mock};

/// QEMU has no block removal.
const UNSEEN: Fault = Fault::BlockUnbounded;

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

fn compared(mut machine: Machine, mock: mock_papr::Papr, sequence: (Kind, u64), calls: usize) -> Compared {
    let compared = compare(&mut machine, mock, sequence, calls).unwrap();
    assert!(machine.off().unwrap(), "the emulator ended with an error");
    compared
}

#[test]
fn the_mock_answers_as_the_machine() {
    let Some(machine) = machine("the_mock_answers_as_the_machine") else { return };
    let Compared { calls, answers, divergence } = compared(machine, mock(), (Kind::Hypercalls, 1), 100_000);
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

/// What has been used stays in use until a flush, and no longer: a bulk removal that fails leaves it.
#[test]
fn loads_go_through_what_the_mock_says() {
    let Some(machine) = machine("loads_go_through_what_the_mock_says") else { return };
    let Compared { calls, answers, divergence } = compared(machine, mock(), (Kind::Loads, 1), 100_000);
    assert!(divergence.is_none(), "{}", divergence.unwrap());
    assert_eq!(calls, 100_000);
    let often = |number, status| answers.get(&(number, status)).is_some_and(|times| *times > 1000);
    let needed = [(Call::LOAD, 0), (Call::LOAD, 0x4000_0000), (0x124, 0), (0x124, -4), (0x04, 0), (0x18, 0)];
    assert!(needed.into_iter().all(|(number, status)| often(number, status)), "{answers:x?}");
}

#[test]
fn the_machine_finds_every_planted_fault() {
    for fault in Fault::ALL {
        let kind = if fault == Fault::NeverFlushes { Kind::Loads } else { Kind::Hypercalls };
        let Some(machine) = machine("the_machine_finds_every_planted_fault") else { return };
        let found = compared(machine, mock().planted(fault), (kind, 2), 20_000).divergence;
        println!("{fault:?}: {}", found.as_ref().map_or("not found".to_owned(), ToString::to_string));
        assert_eq!(found.is_none(), fault == UNSEEN, "{fault:?}");
    }
}

/// QEMU forgets to flush where a bulk removal fails; the standard does not, and loads tell the two apart.
#[test]
fn the_machine_is_not_the_standard() {
    let Some(machine) = machine("the_machine_is_not_the_standard") else { return };
    let standard = mock_papr::Papr::new(papr_lab::TABLE, papr_lab::MEMORY, 1, mock_papr::Dialect::Papr);
    assert!(compared(machine, standard, (Kind::Loads, 1), 20_000).divergence.is_some());
}

/// A divergence is told with the command that brings it again: so a seed is a sequence.
#[test]
fn a_seed_is_a_sequence() {
    let calls = |seed| Calls::new(Kind::Hypercalls, seed).take(1000).collect::<Vec<Call>>();
    assert_eq!(calls(3), calls(3));
    assert_ne!(calls(3), calls(4));
}
