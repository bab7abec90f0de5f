//! The queue of one vCPU.
//!
//! Protocol. A queue is only ever reached through `Platform::with_vcpu`, which pins the caller and
//! masks upcalls: each method here is one step that no interrupt, preemption or other vCPU can
//! divide (R9). Between two steps anything may happen, so every step leaves the queue in a state
//! that whoever comes next can carry on from: *filling*, or *settled* with notices left to collect.
//! After a batch has been handed over and something in it was refused, the batch stays until each
//! failure has been collected by [`QueueSteps::next_notice`]; while it stays nothing can be added,
//! and whoever wants to add collects first ([`Step::CollectFirst`]).

mod callback;
mod index;
mod issue;
mod merge;
mod range;
mod status;
mod steps;
mod view;

use hypercall::{
    Batch, BatchFull, DomId, EntryKind, Hypervisor, MmuUpdate, MmuextOp, Operation, Pte, PteFlags, PteSlot, Subject,
    UpdateCommand,
};

pub use self::callback::Callback;
pub(crate) use self::range::{Change, Range, Source};
pub(crate) use self::steps::{Notice, QueueSteps, Step};
use self::{
    callback::{Callbacks, Position},
    index::SlotIndex,
    merge::{combine, compose, covers},
    status::Statuses,
};
use crate::{
    FailurePolicy,
    caller::{Caller, Callers},
    planted::{Fault, Planted},
    stats::{FlushReason, Stats},
};

/// Whether an update is known to be of an L1 entry, which is what may be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Height {
    /// An L1 entry.
    Leaf,
    /// An entry of L2 to L4, or not known.
    Upper,
}

/// No address is behind it.
const CLOSED: u64 = u64::MAX;

/// An operation and what the queue must know of it beyond its words.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    pub(crate) operation: Operation,
    pub(crate) height: Height,
    pub(crate) caller: Caller,
    pub(crate) callback: Option<Callback>,
}

impl Request {
    /// Any operation. An update made this way is not known to be of an L1 entry.
    pub(crate) const fn new(operation: Operation, caller: Caller) -> Self {
        Self { operation, height: Height::Upper, caller, callback: None }
    }

    /// An update of an entry of a table above L1 of the caller's own.
    pub(crate) const fn upper(update: MmuUpdate, caller: Caller) -> Self {
        Self::new(Operation::Update { update, subject: Subject::SELF }, caller)
    }

    /// An update of an L1 entry of the caller's own tables.
    pub(crate) const fn leaf(update: MmuUpdate, caller: Caller) -> Self {
        let operation = Operation::Update { update, subject: Subject::SELF };
        Self { operation, height: Height::Leaf, caller, callback: None }
    }

    /// An `mmuext_op` of the caller's own domain.
    pub(crate) const fn mmuext(op: MmuextOp, caller: Caller) -> Self {
        Self::new(Operation::Mmuext { op, domain: DomId::SELF }, caller)
    }

    /// The same with a callback for its completion.
    pub(crate) const fn then(self, callback: Callback) -> Self {
        Self { callback: Some(callback), ..self }
    }
}

/// A queue that a [`Platform`](crate::Platform) keeps for each vCPU; implemented by [`VcpuQueue`]
/// of any capacity.
pub trait Queue: QueueSteps {}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> Queue for VcpuQueue<UPDATES, CALLS, WORDS> {}

/// Where a read finds its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// In memory.
    Memory,
    /// In the queue.
    Pending(Overlay),
    /// In memory, once the queue has been flushed: it holds an operation that may write entries it does
    /// not name.
    Flush,
}

/// A pending value of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overlay {
    value: Pte,
    preserves: bool,
}

impl Overlay {
    /// The entry as it will read once the update is effective, given what memory holds now. Flags
    /// that the hypervisor adds (`USER`, bit 52, `GLOBAL`) are not in it yet.
    pub(crate) const fn over(self, memory: Pte) -> Pte {
        if !self.preserves {
            return self.value;
        }
        let noted = memory.bits() & PteFlags::ACCESSED_DIRTY.bits();
        Pte::from_bits(self.value.bits() | noted)
    }
}

/// The queue of one vCPU: at most `UPDATES` page-table updates in at most `CALLS` calls, with
/// `WORDS` 8-byte words for everything that is not an update (3 a flush, 2 more with a vCPU set).
///
/// The default holds one whole page table. At most [`VcpuQueue::MASKED_BOUND`] operations are handed
/// over with upcalls masked (R15). No two queues share a cache line, nor a pair of them that is fetched together.
///
/// ```
/// use pv_mmu::VcpuQueue;
///
/// // For a kernel that would rather have upcalls masked for a short time: 64 updates, 8 calls, 32 words.
/// type Small = VcpuQueue<64, 8, 32>;
/// assert_eq!(Small::MASKED_BOUND, 64 + 10);
/// assert!(size_of::<Small>() < size_of::<VcpuQueue>() / 2);
/// ```
#[derive(Debug)]
#[repr(align(128))]
pub struct VcpuQueue<const UPDATES: usize = 512, const CALLS: usize = 32, const WORDS: usize = 128> {
    batch: Batch<UPDATES, CALLS, WORDS>,
    index: SlotIndex<UPDATES>,
    /// How many of the updates are in the index: those of a range wait until somebody looks for one.
    indexed: usize,
    /// Updates before this one are not merged into.
    run_start: usize,
    /// No entry of the present run lies behind this address, so an update of one that does has none to be merged with;
    /// 0 where nothing is queued, [`CLOSED`] where that is not known, or no run is open.
    highest: u64,
    /// Whether an operation is pending that may write entries it does not name.
    writes_unnamed: bool,
    /// Calls that hold an update above L1.
    upper: [bool; CALLS],
    statuses: Statuses<UPDATES, CALLS, WORDS>,
    /// Where to look for the next failure; `None` while filling.
    collecting: Option<Position>,
    multicall_refused: Option<hypercall::Errno>,
    callbacks: Callbacks,
    callers: Callers<UPDATES, WORDS>,
    stats: Stats,
    /// How many of the updates have been counted as queued: those that were plainly appended have not yet.
    counted: usize,
    counting: bool,
    planted: Planted,
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> Default for VcpuQueue<UPDATES, CALLS, WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const UPDATES: usize, const CALLS: usize, const WORDS: usize> VcpuQueue<UPDATES, CALLS, WORDS> {
    const USABLE: () = assert!(
        UPDATES > 0 && CALLS > 0 && WORDS >= Operation::MAX_WORDS,
        "a queue has room for one update and for one operation of any other kind"
    );

    /// Operations handed over at most in one step with upcalls masked (R15). After a refusal each that
    /// had not been looked at, and each TLB flush, may be handed over once more in the same step.
    pub const MASKED_BOUND: usize = UPDATES + WORDS / hypercall::MmuextWords::WORDS;

    /// An empty queue, counting.
    #[must_use]
    pub const fn new() -> Self {
        let () = Self::USABLE;
        Self {
            batch: Batch::new(),
            index: SlotIndex::new(),
            indexed: 0,
            run_start: 0,
            highest: 0,
            writes_unnamed: false,
            upper: [false; CALLS],
            statuses: Statuses::new(),
            collecting: None,
            multicall_refused: None,
            callbacks: Callbacks::new(),
            callers: Callers::new(),
            stats: Stats::ZERO,
            counted: 0,
            counting: true,
            planted: Planted::NONE,
        }
    }

    /// From now on the queue breaks a rule.
    #[cfg(feature = "planted")]
    pub fn plant(&mut self, fault: crate::Fault) {
        self.planted.fault = Some(fault);
    }

    #[inline]
    fn operations(&self) -> u64 {
        if let Some((updates, _)) = self.batch.array() {
            return updates.len() as u64;
        }
        (0..self.batch.len()).filter_map(|call| self.batch.entry(call)).map(|entry| u64::from(entry.len)).sum()
    }

    #[inline]
    fn asked(&mut self) {
        self.stats.queued += u64::from(self.counting);
    }

    /// Updates that have not been counted as queued.
    const fn uncounted(&self) -> u64 {
        if self.counting { self.batch.update_count().saturating_sub(self.counted) as u64 } else { 0 }
    }

    /// Counts what was plainly appended: before the batch is forgotten, and where counting changes.
    pub(super) fn count_appended(&mut self) {
        self.stats.queued += self.uncounted();
        self.counted = self.batch.update_count();
    }

    /// Puts `request` at the end, where its order is certain.
    fn push(&mut self, request: &Request) -> Result<(), BatchFull> {
        let calls = self.batch.len();
        self.highest = CLOSED;
        match request.operation {
            Operation::Update { update, subject } => self.append_update(update, subject, request.height)?,
            _ => {
                self.batch.push(&request.operation)?;
                self.run_start = self.batch.updates().len();
                self.writes_unnamed |= writes_unnamed(&request.operation);
            }
        }
        self.note_call(calls, request);
        Ok(())
    }

    #[inline]
    fn append_update(&mut self, update: MmuUpdate, subject: Subject, height: Height) -> Result<(), BatchFull> {
        let calls = self.batch.len();
        let position = self.batch.push_update(update, subject)?;
        self.counted += 1;
        if self.batch.len() != calls {
            self.run_start = position;
        }
        if height == Height::Upper {
            self.run_start = position + 1;
        }
        Ok(())
    }

    /// Puts into the index what is not in it yet: before anybody looks for an update.
    #[inline]
    fn index_all(&mut self) {
        let updates = self.batch.updates();
        while let Some(update) = updates.get(self.indexed) {
            self.index.note(updates.get(..self.indexed).unwrap_or(&[]), self.indexed, update.slot);
            self.indexed += 1;
        }
    }

    /// Keeps what is known of the call the last operation went into; `before` is how many there were.
    #[inline]
    fn note_call(&mut self, before: usize, request: &Request) {
        let Some(last) = self.batch.len().checked_sub(1) else { return };
        let is_upper = request.height == Height::Upper && matches!(request.operation, Operation::Update { .. });
        if let Some(upper) = self.upper.get_mut(last) {
            *upper = is_upper || (*upper && last < before);
        }
        match request.operation {
            Operation::Update { .. } => self.callers.of_update(self.batch.updates().len() - 1, request.caller),
            _ => {
                if let Some(entry) = self.batch.entry(last) {
                    self.callers.of_other(entry, entry.len.saturating_sub(1), request.caller);
                }
            }
        }
    }

    /// Joins `update` with a pending one of its entry; `false` where there is none to join.
    #[inline]
    fn merge(&mut self, update: MmuUpdate, caller: Caller) -> bool {
        self.index_all();
        let updates = self.batch.updates();
        let Some(position) = self.index.newest(updates, update.slot) else { return false };
        if position < self.run_start && !self.planted.has(Fault::JoinsAcross) {
            return false;
        }
        let Some(joined) = updates.get(position).and_then(|older| combine(*older, update)) else { return false };
        self.batch.amend(position, joined);
        self.callers.of_update(position, caller);
        self.stats.merged += u64::from(self.counting && !self.planted.has(Fault::JoinUncounted));
        true
    }

    /// Drops pending TLB flushes beside `op` that it makes needless; `true` where one that stays
    /// makes `op` itself so.
    fn supersede(&mut self, op: &MmuextOp, domain: DomId) -> bool {
        if self.planted.has(Fault::FlushDropped) && self.waiting().any(|older| is_tlb_flush(&older)) {
            self.stats.superseded += u64::from(self.counting);
            return true;
        }
        while let Some((position, last)) = self.last_flush(domain) {
            if covers(&last, op) {
                self.stats.superseded += u64::from(self.counting);
                return true;
            }
            if !covers(op, &last) || self.callbacks.waits_for(position) {
                return false;
            }
            self.batch.pop_mmuext();
            self.stats.superseded += u64::from(self.counting);
        }
        false
    }

    /// The last operation, when that is a TLB flush for `domain`.
    fn last_flush(&self, domain: DomId) -> Option<(Position, MmuextOp)> {
        let position = self.last_position()?;
        let Operation::Mmuext { op, domain: of } = self.batch.operation(position.call.into(), position.item)? else {
            return None;
        };
        (op.is_tlb_flush() && of == domain).then_some((position, op))
    }

    fn last_position(&self) -> Option<Position> {
        let call = self.batch.len().checked_sub(1)?;
        let item = self.batch.entry(call)?.len.checked_sub(1)?;
        Some(Position { call: call as u16, item })
    }

    /// Merges or appends; what is asked for is in the queue afterwards.
    #[inline]
    fn place(&mut self, request: &Request) -> Result<(), BatchFull> {
        match request.operation {
            Operation::Update { update, subject: Subject::SELF } if request.height == Height::Leaf => {
                self.place_leaf(update, request.caller)
            }
            Operation::Mmuext { op, domain } if op.is_tlb_flush() && self.supersede(&op, domain) => Ok(()),
            _ => self.push(request),
        }
    }

    /// The value that the pending updates of an entry leave in it.
    fn pending_value(&self, slot: PteSlot) -> Option<Overlay> {
        let updates = self.batch.updates();
        let mut position = self.index.newest(updates, slot)?;
        let mut joined = *updates.get(position)?;
        while joined.slot.command() == Some(UpdateCommand::PreserveAd)
            && let Some(older) = self.index.next_older(updates, slot, position)
        {
            joined = compose(*updates.get(older)?, joined)?;
            position = older;
        }
        Some(Overlay { value: joined.pte(), preserves: joined.slot.command() == Some(UpdateCommand::PreserveAd) })
    }

    /// Merges or appends an update of an L1 entry of the caller's own.
    #[inline]
    fn place_leaf(&mut self, update: MmuUpdate, caller: Caller) -> Result<(), BatchFull> {
        if self.append(update, caller) {
            // The step that asked for it counts it.
            self.counted += 1;
            return Ok(());
        }
        // Behind all of the run there is none to join, only no room. A run goes on while the last call is an array that the
        // update would join.
        let is_open = self.batch.last().is_some_and(|last| last.kind == EntryKind::Updates(Subject::SELF));
        let may_join = is_open && update.slot.address() <= self.highest || self.planted.has(Fault::JoinsAcross);
        if may_join && self.merge(update, caller) { Ok(()) } else { self.append_leaf(update, caller) }
    }

    /// Puts an update of an L1 entry of the caller's own at the end.
    #[inline]
    fn append_leaf(&mut self, update: MmuUpdate, caller: Caller) -> Result<(), BatchFull> {
        let calls = self.batch.len();
        self.append_update(update, Subject::SELF, Height::Leaf)?;
        if self.batch.len() != calls
            && let Some(upper) = self.upper.get_mut(calls)
        {
            *upper = false;
        }
        let position = self.batch.updates().len() - 1;
        self.callers.of_update(position, caller);
        self.keep_open(position, update.slot.address());
        Ok(())
    }

    /// An update of the entry at `address` has been put at `position`, the end, after it was looked for.
    #[inline]
    const fn keep_open(&mut self, position: usize, address: u64) {
        let opens = position == self.run_start;
        if opens || self.highest != CLOSED && address > self.highest {
            self.highest = address;
        }
    }

    /// What an addition begins with: whether notices have to be collected before.
    #[inline]
    fn add_with<H: Hypervisor>(
        &mut self,
        policy: FailurePolicy,
        hypervisor: &mut H,
        mut place: impl FnMut(&mut Self) -> Result<(), BatchFull>,
    ) -> bool {
        if place(self).is_ok() {
            return true;
        }
        self.issue(FlushReason::Capacity, policy, hypervisor);
        self.collecting.is_none() && place(self).is_ok()
    }

    #[inline]
    const fn step<T>(&self, answer: T) -> Step<T>
    where
        T: Copy,
    {
        if self.has_notices() { Step::Collect(answer) } else { Step::Done(answer) }
    }

    #[inline]
    const fn has_notices(&self) -> bool {
        self.collecting.is_some() || self.multicall_refused.is_some() || self.callbacks.any_due()
    }
}

const fn is_tlb_flush(operation: &Operation) -> bool {
    matches!(operation, Operation::Mmuext { op, .. } if op.is_tlb_flush())
}

/// Whether an operation may write page-table entries other than one it names by its slot.
const fn writes_unnamed(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::UpdateVaMapping { .. }
            | Operation::UpdateVaMappingOtherdomain { .. }
            | Operation::Mmuext { op: MmuextOp::ClearPage { .. } | MmuextOp::CopyPage { .. }, .. }
    )
}
