//! What went to the hypervisor, why, and what was refused: counted where the hypercalls pass, whatever made them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use hypercall::{Operation, Record, VcpuId};
use serde::Serialize;

use super::cause::Cause;
use crate::sizes::BatchSizes;

/// An operation the hypervisor refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Refused {
    /// Line of the trace at which it was issued.
    pub(crate) line: u64,
    /// The vCPU that issued it.
    pub(crate) vcpu: u32,
    /// The operation; a whole multicall if there is none.
    pub(crate) operation: String,
    /// The answer.
    pub(crate) errno: String,
    /// Whether the guest's own access faulted, with no hypercall.
    #[serde(skip)]
    pub(crate) faulted: bool,
}

/// The hypercalls of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepCalls {
    /// Line of the trace.
    pub(crate) line: u64,
    /// What a hypercall in this step is for.
    pub(crate) cause: Cause,
    /// How many there were.
    pub(crate) hypercalls: u32,
    /// How many operations they carried.
    pub(crate) operations: u64,
}

/// The account of one replay.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// The steps so far, the one under way last.
    pub(crate) steps: Vec<StepCalls>,
    /// Hypercalls by cause.
    pub(crate) by_cause: BTreeMap<Cause, u64>,
    /// Page-table updates the hypervisor was handed.
    pub(crate) updates_issued: u64,
    /// Hypercalls by their operations.
    pub(crate) sizes: BatchSizes,
    /// What was refused.
    pub(crate) refused: Vec<Refused>,
}

/// A ledger that every vCPU's recorder writes to.
pub(crate) type SharedLedger = Rc<RefCell<Ledger>>;

impl Ledger {
    /// A new one, to be shared.
    pub(crate) fn shared() -> SharedLedger {
        Rc::default()
    }

    /// Hypercalls from now on are for `cause`, at `line`.
    pub(crate) fn at(&mut self, line: u64, cause: Cause) {
        self.steps.push(StepCalls { line, cause, hypercalls: 0, operations: 0 });
    }

    fn note(&mut self, vcpu: VcpuId, record: Record) {
        match record {
            Record::Hypercall { operations, .. } => {
                let cause = self.steps.last_mut().map_or(Cause::Flush, |step| {
                    step.hypercalls += 1;
                    step.operations += u64::from(operations);
                    step.cause
                });
                *self.by_cause.entry(cause).or_default() += 1;
                self.sizes.count(operations.into());
            }
            Record::Operation { operation, result } => {
                self.updates_issued += u64::from(matches!(operation, Operation::Update { .. }));
                if let Some(Err(errno)) = result {
                    self.refuse(vcpu, format!("{operation:?}"), errno.to_string());
                }
            }
            Record::Refused(errno) => self.refuse(vcpu, "multicall".into(), errno.to_string()),
        }
    }

    fn refuse(&mut self, vcpu: VcpuId, operation: String, errno: String) {
        let line = self.steps.last().map_or(0, |step| step.line);
        self.refused.push(Refused { line, vcpu: vcpu.number(), operation, errno, faulted: false });
    }
}

/// What a vCPU's [`Recorder`](hypercall::Recorder) tells: everything goes into the ledger.
pub(crate) fn listener(ledger: &SharedLedger, vcpu: VcpuId) -> impl FnMut(Record) + use<> {
    let ledger = Rc::clone(ledger);
    move |record| ledger.borrow_mut().note(vcpu, record)
}
