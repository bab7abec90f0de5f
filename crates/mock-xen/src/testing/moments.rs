//! What the referee of a test guest was told, moment by moment, so that the moments of its findings lead somewhere.
//!
//! All that the guest and its [`TestTask`](super::TestTask)s tell goes through [`Moments::tell`], which keeps the list while the referee
//! listens: entries are in order and each has the referee's own moment. What a test tells by
//! [`TestGuest::referee`](super::TestGuest::referee) is not in it. Only the last [`Moments::KEPT`] are kept.

use core::fmt::{self, Write as _};
use core::panic::Location;
use std::collections::VecDeque;
use std::sync::Arc;

use hypercall::{Errno, Mfn, Operation, Pte, PteFlags, PteSlot, VcpuId, VirtAddr};
use parking_lot::Mutex;

use crate::Witness;
use crate::referee::{Asker, Context, Finding, Moment, Referee, SyncPoint, Verdict, Violation};

/// Who told it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Teller {
    /// A task, or a handler or the switch code on its behalf.
    Guest(Asker),
    /// The machine.
    Machine(VcpuId),
}

impl fmt::Display for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(vcpu) => write!(f, "{vcpu}"),
            Self::Guest(Asker { task, vcpu, context: Context::Task }) => write!(f, "{task}, {vcpu}"),
            Self::Guest(Asker { task, vcpu, context }) => write!(f, "{task}, {vcpu}, in {context}"),
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Moment,
    teller: Teller,
    what: &'static str,
    operation: Option<Operation>,
    /// The line of the test.
    line: Option<&'static Location<'static>>,
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.at, self.teller, self.what)?;
        self.operation.map_or(Ok(()), |operation| write!(f, " `{operation}`"))?;
        self.line.map_or(Ok(()), |line| write!(f, ", {}:{}", line.file(), line.line()))
    }
}

/// The referee, and what it was told.
#[derive(Debug)]
pub(super) struct Moments {
    referee: Arc<Referee>,
    told: Mutex<VecDeque<Told>>,
}

impl Moments {
    /// How many are kept.
    const KEPT: usize = 1000;
    /// How many of those before the last finding are shown, beside those that a finding names.
    const SHOWN: usize = 40;

    pub(super) fn new(referee: Arc<Referee>) -> Self {
        Self { referee, told: Mutex::default() }
    }

    pub(super) fn referee(&self) -> &Referee {
        &self.referee
    }

    /// Tells the referee by `tell`, and remembers it as `what`, told by the test's line that called.
    #[track_caller]
    pub(super) fn tell<R>(
        &self,
        teller: Teller,
        what: &'static str,
        operation: Option<&Operation>,
        tell: impl FnOnce(&Referee) -> R,
    ) -> R {
        // Not by a closure, which would be the caller.
        let caller = Location::caller();
        let line = matches!(teller, Teller::Guest(_)).then_some(caller);
        let mut told = self.told.lock();
        let answer = tell(&self.referee);
        if told.len() == Self::KEPT {
            told.pop_front();
        }
        told.push_back(Told { at: self.referee.moment(), teller, what, operation: operation.copied(), line });
        answer
    }

    /// What was told up to the last finding of `verdict`, a line each; nothing where there is no finding.
    pub(super) fn behind(&self, verdict: &Verdict) -> String {
        let Some(last) = verdict.violations.iter().map(|violation| violation.found).max() else { return String::new() };
        let told = self.told.lock();
        let end = told.partition_point(|told| told.at <= last);
        let first_shown = end.saturating_sub(Self::SHOWN);
        let is_named = |told: &Told| verdict.violations.iter().any(|violation| names(violation, told.at));
        let shown = told.iter().take(end).enumerate().filter(|(index, told)| *index >= first_shown || is_named(told));
        let mut text = String::from("\n  what the referee was told:");
        for (_, told) in shown {
            write!(text, "\n    {told}").expect("a string takes any text");
        }
        text
    }
}

/// Whether `violation` says that something was at `moment`.
fn names(violation: &Violation, moment: Moment) -> bool {
    let other = match violation.finding {
        Finding::Overtaken { asked, .. } => Some(asked),
        Finding::AppliedTwice { before } | Finding::RefusedTwice { before } => Some(before),
        _ => None,
    };
    violation.found == moment || violation.asked.is_some_and(|asked| asked.at == moment) || other == Some(moment)
}

/// What the test itself may have left out, where that would look like the first finding it explains.
pub(super) fn slip(verdict: &Verdict) -> &'static str {
    let slip = |violation: &Violation| match violation.finding {
        Finding::NeverAsked => {
            Some("\n  (or the test did not tell the referee what it asked for: see `TestTask::ask`)")
        }
        Finding::StillQueued(SyncPoint::Return) | Finding::Accepted { .. } | Finding::Declined { .. } => {
            Some("\n  (or the test did not tell the referee of the region: see `TestTask::enter`)")
        }
        _ => None,
    };
    verdict.violations.iter().find_map(slip).unwrap_or_default()
}

impl Witness for Moments {
    fn arrived(&self, vcpu: VcpuId, operation: &Operation, result: Option<Result<(), Errno>>) {
        let what = match result {
            Some(Ok(())) => "the hypervisor applies",
            Some(Err(_)) => "the hypervisor refuses",
            None => "the hypervisor does not look at, behind what it refused,",
        };
        self.tell(Teller::Machine(vcpu), what, Some(operation), |referee| referee.arrived(vcpu, operation, result));
    }

    fn replaced(&self, vcpu: VcpuId, slot: PteSlot, old: Pte, new: Pte) {
        self.referee.replaced(vcpu, slot, old, new);
    }

    fn noted(&self, _vcpu: VcpuId, slot: PteSlot, flags: PteFlags) {
        self.referee.noted(slot, flags);
    }

    fn used_stale(&self, vcpu: VcpuId, address: VirtAddr, frame: Mfn, is_store: bool) {
        let what = "the processor uses a translation that the tables do not give any more";
        self.tell(Teller::Machine(vcpu), what, None, |referee| referee.used_stale(vcpu, address, frame, is_store));
    }

    fn hypercall_begins(&self, vcpu: VcpuId) {
        self.tell(Teller::Machine(vcpu), "a hypercall begins", None, |referee| referee.hypercall_begins(vcpu));
    }

    fn hypercall_ends(&self, vcpu: VcpuId) {
        self.referee.hypercall_ends(vcpu);
    }
}
