//! A replay on the real Xen: the same steps, led through the same library by the lab's kernel.
//!
//! The steps travel as a list in which frames have names ([`naming`], [`carry`]); what comes back is compared with the
//! replay of the same steps on the mock.

mod carry;
mod naming;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use hypercall::{Mfn, Operation, PteSlot};
use mmu_replay::{Answer, Called, FrameState, Names as _, OWN, OWN_ENTRY, Refusal, Refused, rename, rename_word};
use xen_lab::{Lab, Machine, RunError};

use self::naming::{Back, Naming};
use super::end::EndState;
use super::error::ReplayError;
use super::frames::Frames;
use super::ledger::{self, StepCalls};
use super::program::{Act, Step};
use super::report::{BesideMock, Outcome};
use super::stage::{Held, Led, Oracle, Violated};
use crate::cli::{Mode, PolicyName};

/// The kernel's command that leads the library through a list.
const COMMAND: &str = "replay";
/// Differences told of each kind.
const TOLD: usize = 10;
/// Pages in a MiB.
const PAGES: u64 = 256;
/// MiB that the kernel itself may take, the list with it.
const KERNEL_MEMORY: u64 = 64;
/// MiB of the machine that are Xen's.
const XEN_MEMORY: u32 = 256;
/// Time a run may take more per byte of its list: a hundred times what it needs.
const PER_BYTE: Duration = Duration::from_micros(100);
/// Runs that are tried where the console loses or garbles something.
const TRIES: usize = 3;

/// Why there is no replay on the real Xen.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XenError {
    /// The lab has no answer.
    #[error("the replay on the real Xen has no answer")]
    Run(#[from] RunError),
    /// The answer is none.
    #[error("the answer of the kernel cannot be read")]
    Answer(#[from] mmu_replay::WireError),
    /// The answer is to something else.
    #[error("the kernel answers with {found} {what}, and was asked for {asked}; build lab and kernel together")]
    Other {
        /// What is counted.
        what: &'static str,
        /// How many there should be.
        asked: usize,
        /// How many there are.
        found: usize,
    },
}

/// Steps on their way to the real Xen.
pub(crate) struct List {
    bytes: Vec<u8>,
    naming: Naming,
}

impl List {
    /// The list for these steps.
    ///
    /// # Errors
    /// [`ReplayError::NotCarried`].
    pub(crate) fn of(frames: &Frames, steps: &[Step]) -> Result<Self, ReplayError> {
        let mut naming = Naming::of(frames);
        Ok(Self { bytes: carry::list(frames, steps, &mut naming)?, naming })
    }

    /// Boots the kernel and has it lead the library through the steps.
    ///
    /// # Errors
    /// [`XenError`].
    pub(crate) fn lead(self, lab: &Lab) -> Result<OnXen, XenError> {
        let answer = self.run(lab)?;
        Ok(OnXen::read(&answer.bytes, &answer.log, &self.naming)?)
    }

    fn run(&self, lab: &Lab) -> Result<xen_lab::Answer, RunError> {
        let machine = self.machine();
        let mut answer = lab.run(&machine, COMMAND, &self.bytes);
        for _ in 1..TRIES {
            if !matches!(answer, Err(RunError::Lost { .. } | RunError::BadChecksum { .. })) {
                break;
            }
            answer = lab.run(&machine, COMMAND, &self.bytes);
        }
        answer
    }

    fn machine(&self) -> Machine {
        let mut machine = Machine::default();
        let needed = KERNEL_MEMORY + self.naming.count().div_ceil(PAGES);
        machine.domain_memory = machine.domain_memory.max(needed as u32);
        machine.memory = machine.memory.max(machine.domain_memory + XEN_MEMORY);
        machine.xen_arguments = "xpti=no".into();
        machine.run_limit += PER_BYTE * self.bytes.len() as u32;
        machine
    }
}

/// What came of a replay on the real Xen, in the trace's machine frames.
#[derive(Default)]
pub(crate) struct OnXen {
    called: Vec<Called>,
    refused: Vec<Refusal>,
    found: Vec<u64>,
    end: EndState,
    complaints: u32,
    /// What the kernel logged.
    log: Vec<String>,
}

impl OnXen {
    fn read(bytes: &[u8], log: &[String], naming: &Naming) -> Result<Self, mmu_replay::WireError> {
        let (mut all, back) = (Self { log: log.to_vec(), ..Self::default() }, Back(naming));
        let mut answer = Answer::decode(bytes, |called| all.called.push(called))?;
        answer.refused(|refusal| all.refused.push(renamed(&back, refusal)))?;
        answer.found(|word| all.found.push(rename_word(&back, word).unwrap_or(word)))?;
        let (mut frames, mut entries) = (Vec::new(), Vec::new());
        all.complaints = answer
            .end(|name, state| frames.push((name, state)), |name, index, word| entries.push((name, index, word)))?;
        for (name, state) in frames {
            all.frame(&back, name, state);
        }
        for (name, index, word) in entries {
            all.entry(&back, PteSlot::of(name, index), word);
        }
        Ok(all)
    }

    fn frame(&mut self, back: &Back<'_>, name: Mfn, state: FrameState) {
        if let Some(frame) = back.frame(name) {
            self.end.frame(frame, state);
        }
    }

    fn entry(&mut self, back: &Back<'_>, slot: PteSlot, word: u64) {
        let is_kernels = slot.index() == OWN_ENTRY && word == OWN;
        let Some(here) = back.slot(slot).filter(|here| !(is_kernels && self.end.is_root(here.table()))) else { return };
        let word = if word == OWN { word } else { rename_word(back, word).unwrap_or(word) };
        self.end.entry(here.table(), here.index(), word);
    }

    /// The result, beside the replay of the same steps on the mock and the end without batching.
    ///
    /// # Errors
    /// [`XenError::Other`].
    pub(crate) fn outcome(
        self,
        steps: &[Step],
        mode: Mode,
        mock: &Led,
        unbatched: &EndState,
    ) -> Result<Outcome, XenError> {
        same("steps", steps.len(), self.called.len())?;
        let mut oracle = Oracle::default();
        for (mock, held) in mock.held.iter().zip(&self.found) {
            mock.recorded.iter().for_each(|raw| oracle.compare(mock.line, *held, *raw));
        }
        let updates_issued = self.called.iter().map(|called| u64::from(called.updates)).sum();
        let mut by_cause = BTreeMap::new();
        for (step, called) in mock.ledger.steps.iter().zip(&self.called).filter(|(_, called)| called.hypercalls > 0) {
            *by_cause.entry(step.cause).or_default() += u64::from(called.hypercalls);
        }
        Ok(Outcome {
            policy: PolicyName::PvMmu,
            mode,
            by_cause,
            updates_issued,
            updates_merged: updates_asked(steps).saturating_sub(updates_issued),
            sizes: None,
            course: None,
            largest_batch: self.called.iter().map(|called| called.largest.into()).max().unwrap_or(0),
            violations: self.complaints(),
            violations_total: self.complaints.into(),
            refused: self.refused(steps),
            oracle,
            final_state_matches_unbatched: self.end == *unbatched,
            beside_mock: Some(self.beside(steps, mock)),
            gains: None,
        })
    }

    fn complaints(&self) -> Vec<Violated> {
        let complaint = |line: &String| Violated { line: 0, rule: String::new(), what: line.clone() };
        self.log.iter().take(self.complaints as usize).map(complaint).collect()
    }

    fn refused(&self, steps: &[Step]) -> Vec<ledger::Refused> {
        self.refused.iter().map(|refusal| told(refusal, steps)).collect()
    }

    fn beside(&self, steps: &[Step], mock: &Led) -> BesideMock {
        let refusals = refusals_differ(&self.refused(steps), &mock.ledger.refused);
        let calls = calls_differ(&self.called, &mock.ledger.steps);
        let entries = entries_differ(&self.found, &mock.held);
        let end = self.end.differences(&mock.end);
        let (end_tables, end_entries) = self.end.size();
        BesideMock {
            refusals_equal: refusals.is_empty(),
            hypercalls_equal: calls.is_empty(),
            entries_equal: entries.is_empty(),
            entries: self.found.len() as u64,
            end_state_equal: end.is_empty(),
            end_tables,
            end_entries,
            differences: [refusals, calls, entries, end]
                .into_iter()
                .flat_map(|kind| kind.into_iter().take(TOLD))
                .collect(),
        }
    }
}

fn same(what: &'static str, asked: usize, found: usize) -> Result<(), XenError> {
    if asked == found { Ok(()) } else { Err(XenError::Other { what, asked, found }) }
}

fn renamed(back: &Back<'_>, refusal: Refusal) -> Refusal {
    let what = match refusal.what {
        Refused::Operation(operation, errno) => {
            Refused::Operation(rename(back, &operation).unwrap_or(operation), errno)
        }
        other => other,
    };
    Refusal { what, ..refusal }
}

/// A refusal in the mock's words.
fn told(refusal: &Refusal, steps: &[Step]) -> ledger::Refused {
    let step = steps.get(refusal.step as usize);
    let (operation, errno) = match refusal.what {
        Refused::Operation(operation, errno) => (format!("{operation:?}"), errno.to_string()),
        Refused::Multicall(errno) => ("multicall".into(), errno.to_string()),
        Refused::Beside => (step.map_or_else(String::new, beside), "the access faulted".into()),
    };
    let faulted = refusal.what == Refused::Beside;
    ledger::Refused { line: step.map_or(0, |step| step.line), vcpu: refusal.vcpu, operation, errno, faulted }
}

fn beside(step: &Step) -> String {
    if let Act::Guest(event) = &step.act { format!("{event:?}") } else { String::new() }
}

fn entries_differ(here: &[u64], mock: &[Held]) -> Vec<String> {
    let differing = here.iter().zip(mock).filter(|(here, mock)| **here != mock.word);
    let mut all: Vec<_> = differing
        .map(|(here, mock)| {
            format!("line {}: the entry held {here:#x} here and {:#x} on the mock", mock.line, mock.word)
        })
        .collect();
    if here.len() != mock.len() {
        all.push(format!("{} entries were found here and {} on the mock", here.len(), mock.len()));
    }
    all
}

fn updates_asked(steps: &[Step]) -> u64 {
    let updates = |step: &Step| match &step.act {
        Act::Work { operations, .. } => {
            operations.iter().filter(|operation| matches!(operation, Operation::Update { .. })).count()
        }
        _ => 0,
    };
    steps.iter().map(|step| updates(step) as u64).sum()
}

/// Xen and the mock have different words for an access that faults.
fn refusals_differ(here: &[ledger::Refused], mock: &[ledger::Refused]) -> Vec<String> {
    let alike = |one: &ledger::Refused, other: &ledger::Refused| {
        (one.line, one.vcpu, &one.operation, one.faulted) == (other.line, other.vcpu, &other.operation, other.faulted)
            && (one.faulted || one.errno == other.errno)
    };
    let missing = |these: &[ledger::Refused], those: &[ledger::Refused], place: &str| -> Vec<String> {
        let only = these.iter().filter(|one| !those.iter().any(|other| alike(one, other)));
        only.map(|one| format!("line {}: {} refused {place} alone: {}", one.line, one.operation, one.errno)).collect()
    };
    let mut all = missing(here, mock, "here");
    all.extend(missing(mock, here, "on the mock"));
    if all.is_empty() && here.len() != mock.len() {
        all.push(format!("{} refusals here and {} on the mock", here.len(), mock.len()));
    }
    all
}

fn calls_differ(here: &[Called], mock: &[StepCalls]) -> Vec<String> {
    let differing = here.iter().zip(mock).filter(|(here, mock)| here.hypercalls != mock.hypercalls);
    differing
        .map(|(here, mock)| {
            format!("line {}: {} hypercalls here and {} on the mock", mock.line, here.hypercalls, mock.hypercalls)
        })
        .collect()
}
