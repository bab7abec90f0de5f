//! What a trace amounts to once the guest's memory is known: steps that any batcher can be led through.
//!
//! A step is either something a batcher is asked for, in the hypervisor's terms, or something the guest does beside it:
//! a store of its own, a trapped write that had to be inferred, a look at memory. Steps keep the order, the vCPU and the
//! task of the trace.

use hypercall::{Mfn, Operation, VcpuId};
use serde::Serialize;

use super::request::{Source, Span, TaskKey};

/// One step, and where the trace has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Line of the trace.
    pub(crate) line: u64,
    /// The vCPU.
    pub(crate) vcpu: VcpuId,
    /// The task.
    pub(crate) task: TaskKey,
    /// Whether a handler that interrupted the task does it.
    pub(crate) interrupt: bool,
    /// The page fault or system call of the task it belongs to, if any.
    pub(crate) span: Option<Span>,
    /// What is done.
    pub(crate) act: Act,
}

/// What is done in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The task enters a region.
    Enter,
    /// The task leaves its region.
    Leave,
    /// The task flushes and stays in its region.
    Flush,
    /// The switch away from the task begins.
    SwitchOut,
    /// The switch ends; `next` runs from here on.
    SwitchIn {
        /// The incoming task.
        next: TaskKey,
    },
    /// Operations asked of the batcher as one piece.
    Work {
        /// Who asked.
        source: Source,
        /// The operations, in order.
        operations: Vec<Operation>,
    },
    /// The guest writes memory beside the batcher.
    Guest(GuestEvent),
    /// The recorded kernel read this entry, and real Xen held `raw`.
    Compare {
        /// The entry.
        slot: MachineSlot,
        /// What real Xen held.
        raw: u64,
    },
}

/// An entry of a table, by the machine's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct MachineSlot {
    /// The table's frame.
    pub(crate) table: Mfn,
    /// The entry, 0 to 511.
    pub(crate) index: usize,
}

/// What the guest does to its memory beside the batcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestEvent {
    /// A frame is filled with zeros, to be used as a table.
    Zero {
        /// The frame.
        frame: Mfn,
    },
    /// The kernel's half is copied into a frame that is going to be an L4.
    CopyKernelHalf {
        /// The frame.
        frame: Mfn,
    },
    /// A plain store to a table nothing has validated.
    Store {
        /// The entry.
        slot: MachineSlot,
        /// Its new value.
        value: u64,
    },
    /// An atomic of the guest's on an entry of a validated L1, which Xen traps and emulates. It left no event.
    Trapped {
        /// The entry.
        slot: MachineSlot,
        /// Its new value.
        value: u64,
    },
}

/// How many guest events had to be inferred, by what showed them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Inferred {
    /// Cleared because the entry maps another frame next.
    pub(crate) clear_frame_changes: u64,
    /// Cleared because the table is released next.
    pub(crate) clear_table_released: u64,
    /// Cleared because the frame it maps writable becomes a table next.
    pub(crate) clear_frame_becomes_table: u64,
    /// Write-protected, as the entry's own `prot_start` shows.
    pub(crate) write_protect: u64,
    /// Filled from the entry's own `prot_start`: nothing else is known about it.
    pub(crate) first_seen: u64,
}

/// A trace as steps.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The steps, in order.
    pub(crate) steps: Vec<Step>,
    /// What of them was inferred.
    pub(crate) inferred: Inferred,
    /// How many protection changes the trace begins.
    pub(crate) prot_starts: u64,
}
