//! What a vCPU's queue has done (R17), and switching that off and on (R18).

/// Why a batch was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FlushReason {
    /// The outermost leave.
    Leave,
    /// A leave that did not end the region.
    NestedLeave,
    /// A pause.
    Pause,
    /// An explicit flush.
    Explicit,
    /// A context switch.
    Switch,
    /// An operation in interrupt context, or a remote vCPU's request.
    Interrupt,
    /// An operation outside a region, with something queued before it or more than one in it.
    Immediate,
    /// The queue had no room.
    Capacity,
    /// A read, or a read-modify-write, that something pending stands in the way of.
    ReadHazard,
    /// A region that was left open.
    Leak,
    /// What entries held is to be gathered, or a used entry to be made old.
    Harvest,
    /// A table is taken into use or out of it.
    Table,
}

impl FlushReason {
    /// All reasons, in the order of [`Stats::flushes_by_reason`].
    pub const ALL: [Self; 12] = [
        Self::Leave,
        Self::NestedLeave,
        Self::Pause,
        Self::Explicit,
        Self::Switch,
        Self::Interrupt,
        Self::Immediate,
        Self::Capacity,
        Self::ReadHazard,
        Self::Leak,
        Self::Harvest,
        Self::Table,
    ];
}

/// Counts of one vCPU's queue. At any moment
/// `queued = applied + refused + not_attempted + merged + superseded + pending`, and the flushes by
/// reason add up to `flushes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Operations asked for.
    pub queued: u64,
    /// Operations the hypervisor applied.
    pub applied: u64,
    /// Operations it refused.
    pub refused: u64,
    /// Operations not attempted after a refusal.
    pub not_attempted: u64,
    /// Updates joined with a pending one of the same entry.
    pub merged: u64,
    /// TLB flushes another one beside them made needless.
    pub superseded: u64,
    /// Operations in the queue now, while they are counted.
    pub pending: u64,
    /// Batches handed over.
    pub flushes: u64,
    /// The same by reason, indexed by [`FlushReason`].
    pub flushes_by_reason: [u64; FlushReason::ALL.len()],
    /// Operations that went out alone, without passing the queue.
    pub direct: u64,
    /// Batches by size: bucket n counts those of 2^n to 2^(n+1) - 1 operations, the last bucket
    /// everything above.
    pub batch_sizes: [u64; Self::BUCKETS],
    /// Operations in the largest batch.
    pub largest_batch: u64,
}

impl Stats {
    /// Buckets of [`Stats::batch_sizes`].
    pub const BUCKETS: usize = 12;

    pub(crate) const ZERO: Self = Self {
        queued: 0,
        applied: 0,
        refused: 0,
        not_attempted: 0,
        merged: 0,
        superseded: 0,
        pending: 0,
        flushes: 0,
        flushes_by_reason: [0; FlushReason::ALL.len()],
        direct: 0,
        batch_sizes: [0; Self::BUCKETS],
        largest_batch: 0,
    };

    pub(crate) fn flushed(&mut self, reason: FlushReason, operations: u64) {
        self.flushes += 1;
        if let Some(count) = self.flushes_by_reason.get_mut(reason as usize) {
            *count += 1;
        }
        let bucket = (operations.max(1).ilog2() as usize).min(Self::BUCKETS - 1);
        if let Some(count) = self.batch_sizes.get_mut(bucket) {
            *count += 1;
        }
        self.largest_batch = self.largest_batch.max(operations);
    }
}
