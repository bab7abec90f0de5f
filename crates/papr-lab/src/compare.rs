//! The same calls to both.

use std::collections::BTreeMap;
use std::fmt;

use mock_papr::{Dialect, Papr};

use crate::calls::{Call, Calls, Kind};
use crate::machine::{Answer, LabError, MEMORY, Machine, TABLE};
use crate::pages;

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
    /// The sequence's kind.
    pub kind: Kind,
    /// Its seed.
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
        let Self { kind, seed, number, call, machine, mock } = self;
        writeln!(f, "call {number} of seed {seed}: {:#x}, r4 to r12 {:x?}", call.number, call.registers)?;
        writeln!(f, "  QEMU: {}, {:x?}", machine.status, machine.registers)?;
        writeln!(f, "  mock: {}, {:x?}", mock.status, mock.registers)?;
        let loads = if *kind == Kind::Loads { " --loads" } else { "" };
        write!(f, "again: cargo run --release -p papr-lab -- --ops {} --seed {seed}{loads}", number + 1)
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

/// Gives both the first `calls` calls of a kind and seed.
///
/// The machine is to be freshly booted, the mock new.
///
/// # Errors
/// [`LabError`], if the machine does not answer.
pub fn compare(
    machine: &mut Machine,
    mut mock: Papr,
    (kind, seed): (Kind, u64),
    calls: usize,
) -> Result<Compared, LabError> {
    let (mut compared, mut sequence) = (Compared::default(), Calls::new(kind, seed));
    while compared.calls < calls && compared.divergence.is_none() {
        let step: Vec<Call> = sequence.by_ref().take(STEP.min(calls - compared.calls)).collect();
        let answers = machine.call(&step)?;
        for (call, answer) in step.into_iter().zip(answers) {
            let mocked = ask(&mut mock, call, answer);
            if mocked != answer {
                let number = compared.calls;
                compared.divergence = Some(Divergence { kind, seed, number, call, machine: answer, mock: mocked });
                break;
            }
            compared.calls += 1;
            *compared.answers.entry((call.number, answer.status)).or_default() += 1;
        }
    }
    Ok(compared)
}

/// What the mock answers; for a load, what the machine answered if it may.
fn ask(mock: &mut Papr, call: Call, machine: Answer) -> Answer {
    if call.number == Call::LOAD {
        return load(mock, call, machine);
    }
    let mut registers = call.registers;
    Answer { status: mock.call(call.number, &mut registers), registers }
}

/// DSISR of a load that found no entry.
const NO_ENTRY: i64 = 0x4000_0000;

/// A load answers through an entry that is there or has been kept. QEMU keeps all that was used until it flushes, so it fails
/// only where there is neither.
fn load(mock: &mut Papr, call: Call, machine: Answer) -> Answer {
    let place = pages::place(pages::of(call.registers[0]));
    let answer = |entry| {
        let mut registers = call.registers;
        registers[0] = pages::frame_of(entry);
        Answer { status: 0, registers }
    };
    let may: Vec<Answer> = mock.may_use(place).into_iter().map(answer).collect();
    if machine == answer(mock.entry(place)) {
        mock.touch(0, place);
    }
    let fault = Answer { status: NO_ENTRY, registers: call.registers };
    if machine == fault {
        mock.interrupt(0);
    }
    let first = may.first().copied().unwrap_or(fault);
    may.into_iter().find(|answer| *answer == machine).unwrap_or(first)
}
