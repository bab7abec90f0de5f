//! Why a trace cannot be replayed. Nothing has been printed when one of these comes up.

use super::limits::Excess;

/// A trace cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReplayError {
    /// The recorder dropped events, so the page tables cannot be followed.
    #[error("line {line}: events were lost here: record again with a larger buffer, a replay needs every event")]
    Lost {
        /// Where.
        line: u64,
    },
    /// The trace begins in the middle of a batch, or a batch never ends.
    #[error("line {line}: `{event}` outside a batch: record xen_mc_batch and xen_mc_issue too")]
    NoBatch {
        /// Where.
        line: u64,
        /// The event that needs a batch around it.
        event: &'static str,
    },
    /// Events contradict each other: some between them are not in the trace.
    #[error("line {line}: {what}: lines are missing from the trace, copy or record it again in full")]
    Torn {
        /// Where it shows.
        line: u64,
        /// What cannot be.
        what: String,
    },
    /// Not every write that was recorded could be made a request.
    #[error("{asked} L1 writes are recorded, {found} of them could be followed: lines are missing from the trace")]
    Unaccounted {
        /// Writes recorded.
        asked: u64,
        /// Writes among the requests.
        found: u64,
    },
    /// A batch was announced, and nothing was queued in it.
    #[error(
        "line {line}: nothing is queued in this batch, which was to do what the event before it says: lines are missing"
    )]
    EmptyBatch {
        /// Where it begins.
        line: u64,
    },
    /// A request whose own batch never came.
    #[error("line {line}: the write asked for here was never queued: record the multicall events too")]
    NeverQueued {
        /// Where it was asked for.
        line: u64,
    },
    /// A page table that has no address in the direct map.
    #[error(
        "line {line}: address {address:#x} is not in the direct map: boot the kernel with `nokaslr no_hash_pointers`"
    )]
    NotDirectMapped {
        /// Where.
        line: u64,
        /// The address.
        address: u64,
    },
    /// An address at which no entry or table can be.
    #[error("line {line}: address {address:#x} is not a multiple of {align}: the line is damaged")]
    Misaligned {
        /// Where.
        line: u64,
        /// The address.
        address: u64,
        /// What it must be a multiple of.
        align: u64,
    },
    /// A batch of which it is not known what it does.
    #[error("line {line}: cannot tell what this batch asks for: {what}")]
    UnknownBatch {
        /// Where it begins.
        line: u64,
        /// What is in it.
        what: String,
    },
    /// A frame is named by two machine frames, or the other way round.
    #[error("line {line}: pfn {pfn:#x} is mfn {mfn:#x} here, but one of them was paired otherwise in line {earlier}")]
    FrameMoved {
        /// Where.
        line: u64,
        /// The guest's number.
        pfn: u64,
        /// The machine's.
        mfn: u64,
        /// Where it had another partner.
        earlier: u64,
    },
    /// The trace is of a guest that cannot be rebuilt.
    #[error("line {line}: {excess}")]
    Excess {
        /// Where it shows.
        line: u64,
        /// What is too much.
        excess: Excess,
    },
    /// Something that no other guest can be asked for.
    #[error("line {line}: this cannot be replayed on the real Xen: {what}")]
    NotCarried {
        /// Where.
        line: u64,
        /// What.
        what: String,
    },
    /// The mock refused to build the guest.
    #[error("the guest cannot be rebuilt: {0}")]
    World(String),
}
