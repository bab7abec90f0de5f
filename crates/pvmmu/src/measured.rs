//! Runs of the lab whose clock is instructions: where figures come from that repeat exactly.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use serde::Serialize;
use xen_lab::{CPU_MODEL, Clock, Lab, Machine};

/// What figures were taken on. The same versions give the same figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Setup {
    /// The hypervisor, by its own account.
    pub(crate) xen: String,
    /// The emulator.
    pub(crate) qemu: String,
    /// The processor it emulates.
    pub(crate) processor: &'static str,
}

/// What figures count: guest's and hypervisor's instructions alike.
pub(crate) const UNIT: &str = "instructions";

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Xen {} on QEMU {}, {}", self.xen, self.qemu, self.processor)
    }
}

/// Boots the lab's kernel once, has it carry out `command`, and answers with the lines of the answer behind
/// the first, which names the hypervisor.
///
/// # Errors
/// There is no lab, with what is missing and what to do; or the run failed.
pub(crate) fn run(command: &str, payload: &str) -> Result<(Setup, Vec<String>)> {
    run_by(Clock::Instructions, command, payload)
}

/// The same by another clock.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_by(clock: Clock, command: &str, payload: &str) -> Result<(Setup, Vec<String>)> {
    let lab = Lab::find()?;
    let mut machine = Machine::default();
    machine.clock = clock;
    machine.vcpus = 1;
    // Counting is slow, and slower beside other work.
    machine.run_limit = Duration::from_secs(600);
    let answer = lab.run(&machine, command, payload.as_bytes())?;
    let text = String::from_utf8(answer.bytes).context("the kernel's answer is no text")?;
    let mut lines = text.lines();
    let xen = lines.next().and_then(|line| line.strip_prefix("xen ")).ok_or_else(|| anyhow!("no version of Xen"))?;
    let setup = Setup { xen: xen.to_owned(), qemu: lab.qemu_version().to_owned(), processor: CPU_MODEL };
    Ok((setup, lines.map(str::to_owned).collect()))
}

/// The words of a line, which are to be `N`.
///
/// # Errors
/// The line, where they are not.
pub(crate) fn words<const N: usize>(line: &str) -> Result<[&str; N]> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.try_into() {
        Ok(words) => Ok(words),
        Err(_) => bail!("the kernel answered `{line}`, which has not {N} words; lab and kernel differ, rebuild them"),
    }
}
