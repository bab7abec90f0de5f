//! The same calls to both.

use std::collections::BTreeMap;
use std::fmt;

use mock_papr::{Dialect, Papr};

use crate::calls::{Call, Calls};
use crate::machine::{Answer, LabError, MEMORY, Machine, TABLE};

/// Calls that are made before answers are compared.
const STEP: usize = 4096;

/// The mock of the machine.
#[must_use]
pub fn mock() -> Papr {
    Papr::new(TABLE, MEMORY, 1, Dialect::QemuTcg)
}

/// The first call that was answered differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The sequence's seed.
    pub seed: u64,
    /// Which call of it, from 0.
    pub number: usize,
    /// The call.
    pub call: Call,
    /// The machine's answer.
    pub machine: Answer,
    /// The mock's.
    pub mock: Answer,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, number, call, machine, mock } = self;
        writeln!(f, "call {number} of seed {seed}: {:#x}, r4 to r12 {:x?}", call.number, call.registers)?;
        writeln!(f, "  QEMU: {}, {:x?}", machine.status, machine.registers)?;
        writeln!(f, "  mock: {}, {:x?}", mock.status, mock.registers)?;
        write!(f, "again: cargo run --release -p papr-lab -- --ops {} --seed {seed}", number + 1)
    }
}

/// What was compared, and how it ended.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// Calls that both answered alike.
    pub calls: usize,
    /// How often the machine gave each answer, by the call's number and r3.
    pub answers: BTreeMap<(u64, i64), usize>,
    /// The first that they answered differently.
    pub divergence: Option<Divergence>,
}

/// Gives both the first `calls` calls of a seed.
///
/// The machine is to be freshly booted, the mock new.
///
/// # Errors
/// [`LabError`], if the machine does not answer.
pub fn compare(machine: &mut Machine, mut mock: Papr, seed: u64, calls: usize) -> Result<Compared, LabError> {
    let (mut compared, mut sequence) = (Compared::default(), Calls::new(seed));
    while compared.calls < calls && compared.divergence.is_none() {
        let step: Vec<Call> = sequence.by_ref().take(STEP.min(calls - compared.calls)).collect();
        let answers = machine.call(&step)?;
        for (call, answer) in step.into_iter().zip(answers) {
            let mocked = ask(&mut mock, call);
            if mocked != answer {
                let number = compared.calls;
                compared.divergence = Some(Divergence { seed, number, call, machine: answer, mock: mocked });
                break;
            }
            compared.calls += 1;
            *compared.answers.entry((call.number, answer.status)).or_default() += 1;
        }
    }
    Ok(compared)
}

fn ask(mock: &mut Papr, call: Call) -> Answer {
    let mut registers = call.registers;
    Answer { status: mock.call(call.number, &mut registers), registers }
}
