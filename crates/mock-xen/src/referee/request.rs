//! An operation that was asked for and is not yet known to be effective.

use hypercall::{Errno, Operation, PteSlot};

use super::{Asker, Context, Moment, RequestId, Rule, chain::Write, effect::Effect, history::Overtaker};

/// Until when an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Deferral {
    /// Until the region's next sync point.
    Region,
    /// Until the context switch it belongs to has ended.
    Switch,
    /// Not at all: asked outside any region.
    Outside,
    /// Not at all: synchronous by its nature.
    Never,
    /// Not at all: asked while laziness is paused.
    Paused,
    /// Not at all: asked in interrupt context.
    Interrupt,
}

impl Deferral {
    pub(super) const fn is_allowed(self) -> bool {
        matches!(self, Self::Region | Self::Switch)
    }
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// Not arrived.
    Queued,
    /// Not arrived, and reported as overtaken.
    Overtaken,
    /// Arrived behind a refused one, so that nobody looked at it.
    Cut(Cut),
    /// A TLB flush that arrived while a write asked before it was in standing `Cut` or `Perhaps`. It counts
    /// if that write arrives no more, and has to come again otherwise.
    Early,
    /// A TLB flush that came in its turn but for a write that has become effective only since: it has to come once more. What was
    /// asked after it overtakes it no more, since it came before that.
    Again,
    /// An L1 update that an arrival may stand for.
    Perhaps,
}

/// How an operation came to stand behind a refused one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// When the hypercall began, if that was told. In it nothing is attempted again.
    pub(super) hypercall: Option<Moment>,
    /// What has overtaken it since; this breaks the order only if it becomes effective after all.
    pub(super) overtaken: Option<Overtaker>,
}

/// Why an operation may be reported without having arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Excuse {
    /// When something asked before it on the same vCPU was refused.
    pub(super) since: Moment,
    /// Why the hypercall was refused that may have carried it, if one was.
    pub(super) call: Option<Errno>,
}

/// An access to an entry past the library, by which a write is passed if that was still pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum PassedBy {
    /// A raw read.
    Read,
    /// A write, and the rule that this breaks.
    Write(Rule),
}

/// An operation that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) moment: Moment,
    pub(super) asker: Asker,
    pub(super) operation: Operation,
    pub(super) effect: Effect,
    pub(super) deferral: Deferral,
    pub(super) standing: Standing,
    /// The run it belongs to, or, if it separates two, the later one; set by the queue.
    pub(super) run: u64,
    /// Why it may never arrive, if there is a reason.
    pub(super) excuse: Option<Excuse>,
    /// What went past it while it stood in [`Standing::Perhaps`].
    pub(super) passed_by: Option<PassedBy>,
}

impl Request {
    pub(super) const fn id(&self) -> RequestId {
        RequestId { vcpu: self.asker.vcpu, moment: self.moment, is_outside: matches!(self.deferral, Deferral::Outside) }
    }

    /// Whether it updates the entry at `slot`, of whatever level.
    pub(super) fn writes(&self, slot: PteSlot) -> bool {
        match &self.operation {
            Operation::Update { update, .. } => Write::of(update).is_some() && update.slot.same_entry(slot),
            _ => false,
        }
    }

    /// Whether the guest may be told, without its having arrived, that it was not attempted, or (`Some`)
    /// that it was refused: so if it stood behind a refused operation or its hypercall was refused. Of
    /// one that stood in an array nobody looked at, it is not known which of the two it was.
    pub(super) fn may_be_reported(&self, errno: Option<Errno>) -> bool {
        let is_cut = matches!(self.standing, Standing::Cut(_));
        is_cut || self.excuse.is_some_and(|excuse| errno.is_none() || excuse.call == errno)
    }

    /// This operation as the one that became effective before `older`.
    pub(super) const fn overtaking(&self, older: &Self) -> Overtaker {
        Overtaker { operation: self.operation, asked: self.moment, rule: self.inversion(older) }
    }

    /// The rule that is broken when this becomes effective before `older`, which was asked before it. A
    /// TLB flush that comes before a write misses it (R12); what may not wait must not overtake (R6,
    /// R10), a TLB flush included.
    const fn inversion(&self, older: &Self) -> Rule {
        match (self.deferral, self.asker.context) {
            _ if self.effect.is_flush() => Rule::R12,
            (_, Context::Interrupt) => Rule::R6,
            (Deferral::Outside | Deferral::Never | Deferral::Paused, _) => Rule::R10,
            _ if older.effect.is_flush() => Rule::R12,
            _ => Rule::R3,
        }
    }
}
