//! What every test here stands on.

use std::collections::BTreeMap;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use xen_lab::{Answer, Lab, Machine, RunError};

/// The lab, or `None` where there is none and that is allowed.
pub(crate) fn lab(test: &str) -> Option<&'static Lab> {
    Lab::for_test(test)
}

/// A machine whose QEMU has `test` in its command line, with limits that a busy host keeps.
pub(crate) fn machine(test: &str) -> Machine {
    let mut machine = Machine::default();
    machine.kernel_arguments = format!("test={test}");
    machine
}

/// Runs a command on a machine made by [`machine`], and checks that nothing of the run is left.
pub(crate) fn run(lab: &Lab, machine: &Machine, command: &str, payload: &[u8]) -> Result<Answer, RunError> {
    let answer = lab.run(machine, command, payload);
    let left = processes_with(&machine.kernel_arguments);
    assert!(left.is_empty(), "left behind: {left:?}");
    answer
}

/// The answer of a command to `name=value` lines.
pub(crate) fn values(lab: &Lab, machine: &Machine, command: &str, payload: &str) -> BTreeMap<String, String> {
    let answer = run(lab, machine, command, payload.as_bytes()).unwrap_or_else(|error| panic!("{command}: {error}"));
    let text = String::from_utf8(answer.bytes).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Checks each of `expected` against the values.
pub(crate) fn check(values: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (name, value) in expected {
        assert_eq!(values.get(*name).map(String::as_str), Some(*value), "{name} in {values:?}");
    }
}

/// The value with this name, as a number.
pub(crate) fn number(values: &BTreeMap<String, String>, name: &str) -> u64 {
    values.get(name).and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no number {name} in {values:?}"))
}

/// Command lines of living processes with `mark` in them.
pub(crate) fn processes_with(mark: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path().join("cmdline"));
    // That of a zombie is empty.
    let lines = processes.filter_map(|path| fs::read(path).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(mark)).collect()
}

/// Waits until `condition` holds, for ten seconds.
pub(crate) fn soon(condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() && Instant::now() < deadline {
        sleep(Duration::from_millis(20));
    }
    condition()
}
