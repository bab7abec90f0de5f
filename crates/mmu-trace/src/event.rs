//! The one event model: what a paravirtualised kernel was seen to do, whatever recorded it.
//!
//! Events come in the order in which they happened over all vCPUs. An event says what the kernel *asked for* or *queued*;
//! what the hypervisor made of it is not recorded. Addresses are the recorded kernel's virtual addresses, frame numbers
//! its own (pfn); only a `raw` word holds machine frames. Every reader yields this type and the native format stores all
//! of it, so nothing after a reader needs to know where a trace came from.

/// Readers refuse an event of vCPU number `MAX_VCPUS` or beyond (Linux builds for at most 8192), so that state per vCPU
/// has a bound whatever the input.
pub const MAX_VCPUS: u32 = 8192;

/// One thing that happened on one vCPU.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// Where the source has it: the 1-based line of a text, carried along by the native format.
    pub line: u64,
    /// Time of the recording clock. It orders events; its unit is the clock's (a count, or digits of a second with the
    /// point taken out) and the same all through one trace.
    pub stamp: u64,
    /// The vCPU it happened on, counted from 0.
    pub vcpu: u32,
    /// The thread it happened in. 0 is the idle thread, one per vCPU. Inside a context switch it is the outgoing one.
    pub task: u32,
    /// The context it happened in.
    pub flags: EntryFlags,
    /// What happened.
    pub kind: EventKind,
}

/// The context an event happened in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EntryFlags {
    /// False when the source does not record the context; every other field is then its default and says nothing.
    pub recorded: bool,
    /// Interrupts (event upcalls) are masked.
    pub irqs_off: bool,
    /// Bottom halves are disabled.
    pub bh_off: bool,
    /// A reschedule is wanted.
    pub need_resched: bool,
    /// Inside a hardware interrupt (event upcall) handler.
    pub hardirq: bool,
    /// Inside a softirq handler (or one was interrupted).
    pub softirq: bool,
    /// Inside a non-maskable interrupt.
    pub nmi: bool,
    /// How often preemption is disabled; 15 stands for 15 or more.
    pub preempt_depth: u8,
    /// How often migration is disabled; 15 stands for 15 or more.
    pub migrate_depth: u8,
}

impl EntryFlags {
    /// True in any handler: hard, soft or non-maskable. No lazy region may be entered or left there (R6).
    #[must_use]
    pub const fn in_interrupt(self) -> bool {
        self.hardirq || self.softirq || self.nmi
    }
}

/// A page table's level, by the hypervisor's count: an `L1` holds ptes, the `L4` is what a base pointer names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Page table (pte).
    L1,
    /// Page middle directory (pmd).
    L2,
    /// Page upper directory (pud).
    L3,
    /// Top level (p4d and pgd folded).
    L4,
}

/// What state a task was in when it was switched away from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrevState {
    /// Runnable, gave the vCPU up by itself.
    Runnable,
    /// Runnable, preempted.
    Preempted,
    /// Waiting for something, stopped or parked.
    Blocked,
    /// Exited: its number may be given to another task from here on.
    Dead,
}

/// Which operations the kernel may leave queued: the argument of a batch's begin and issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LazyMode {
    /// None: issued at once.
    None,
    /// Page-table operations, inside a lazy region.
    Mmu,
    /// Processor operations, inside a context switch.
    Cpu,
}

/// Whether an operation could be appended to the entry queued last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtendResult {
    /// Appended.
    Ok,
    /// The last entry is of another operation, or there is none.
    BadOp,
    /// The argument space is full.
    NoSpace,
}

/// Why a batch was issued before anybody asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushCause {
    /// No reason: somebody asked.
    None,
    /// All entries are taken.
    Batch,
    /// The argument space is full.
    Args,
    /// All callback slots are taken.
    Callback,
}

/// What a queued completion callback does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CallbackKind {
    /// Releases the lock of a page-table page.
    PteUnlock,
    /// Notes that the base pointer queued before it is loaded.
    SetCurrentBase,
    /// Anything else, by the recorded kernel's name for it.
    Other(Box<str>),
}

impl CallbackKind {
    /// The callback of that name in Linux.
    pub(crate) fn named(name: &[u8]) -> Self {
        match name {
            b"xen_pte_unlock" => Self::PteUnlock,
            b"set_current_cr3" => Self::SetCurrentBase,
            other => Self::Other(String::from_utf8_lossy(other).into()),
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// The task enters a lazy MMU region.
    RegionEnter,
    /// The task begins to leave its lazy MMU region; the flush this causes comes after it.
    RegionLeave,
    /// The task asks for its region's operations to become effective without leaving it. A kernel that does this by
    /// leaving and entering records those too, after it.
    RegionFlush,
    /// The context switch begins: the hook runs in the outgoing task; operations queued from here are processor-lazy.
    SwitchOut,
    /// The context switch ends: the hook begins to run, still under the outgoing task's number; its flush comes after.
    SwitchIn,
    /// The scheduler picked the next task of this vCPU; comes before [`EventKind::SwitchOut`].
    SchedSwitch {
        /// The outgoing task.
        prev: u32,
        /// The incoming task.
        next: u32,
        /// What the outgoing task is switched away from as.
        prev_state: PrevState,
    },
    /// A system call begins.
    SyscallEnter {
        /// Its number.
        nr: i64,
    },
    /// A system call ends.
    SyscallExit {
        /// Its number; -1 where the kernel forgot it (first return of a new process image or task).
        nr: i64,
        /// What it returns; -4095..=-1 is a negative errno.
        ret: i64,
    },
    /// A page fault exception begins.
    PageFault {
        /// The address that faulted; `None` where the source names a kernel symbol instead.
        address: Option<u64>,
        /// The processor's error code.
        error_code: u64,
        /// True if it was raised by user mode.
        user: bool,
    },
    /// An L1 entry is written: queued inside a region, else a hypercall of its own.
    SetPte {
        /// Virtual address of the entry.
        slot: u64,
        /// The pte with a pseudo-physical frame, if the source shows it.
        value: Option<u64>,
        /// The pte with a machine frame, as it goes to the hypervisor.
        raw: u64,
    },
    /// An L2 or L3 entry is written: queued if its table is pinned, else a plain store.
    SetUpper {
        /// The level of the table written to.
        level: Level,
        /// Virtual address of the entry.
        slot: u64,
        /// The entry with a pseudo-physical frame, if the source shows it.
        value: Option<u64>,
        /// The entry with a machine frame.
        raw: u64,
    },
    /// An L4 entry is written, in the kernel's and, if there is one, the user's table.
    SetL4 {
        /// Virtual address of the entry.
        slot: u64,
        /// Virtual address of the entry of the user's L4, or 0.
        user_slot: u64,
        /// Of no use: Linux's event converts a frame that was never a machine frame. Kept because it was recorded.
        value: Option<u64>,
        /// The entry. Unlike elsewhere this is **not** a machine value: its frame is pseudo-physical.
        raw: u64,
    },
    /// A protection change begins: nothing is written, the entry is read.
    ProtStart {
        /// The address space.
        mm: u64,
        /// The user address the entry maps.
        address: u64,
        /// Virtual address of the entry.
        slot: u64,
        /// What the entry held, with a pseudo-physical frame, if the source shows it.
        value: Option<u64>,
        /// What the entry held on the hypervisor at that moment.
        raw: u64,
    },
    /// A protection change is written, keeping the accessed and dirty bits the hardware set meanwhile.
    ProtCommit {
        /// The address space.
        mm: u64,
        /// The user address the entry maps.
        address: u64,
        /// Virtual address of the entry.
        slot: u64,
        /// The pte with a pseudo-physical frame, if the source shows it.
        value: Option<u64>,
        /// The pte with a machine frame, as it goes to the hypervisor.
        raw: u64,
    },
    /// A frame becomes a page table.
    TableAlloc {
        /// The address space.
        mm: u64,
        /// The frame.
        pfn: u64,
        /// The level it will be used at.
        level: Level,
        /// True if the address space is pinned: the frame is made read-only and, as an L1, pinned.
        pinned: bool,
    },
    /// A frame stops being a page table.
    TableRelease {
        /// The frame.
        pfn: u64,
        /// The level it was used at.
        level: Level,
        /// True if the frame is pinned: it is unpinned and made writable.
        pinned: bool,
    },
    /// An address space's tables are made read-only and pinned.
    Pin {
        /// The address space.
        mm: u64,
        /// Virtual address of its L4.
        l4: u64,
    },
    /// An address space's tables are unpinned and made writable.
    Unpin {
        /// The address space.
        mm: u64,
        /// Virtual address of its L4.
        l4: u64,
    },
    /// The base pointer is written.
    WriteCr3 {
        /// True for the table of user mode, false for the kernel's.
        user: bool,
        /// Pseudo-physical address of the L4; 0 for none.
        address: u64,
    },
    /// One address is flushed from this vCPU's TLB.
    TlbFlushOne {
        /// The address.
        address: u64,
    },
    /// A range, or everything, is flushed from the TLBs of several vCPUs.
    TlbFlushMulti {
        /// How many vCPUs.
        cpus: u32,
        /// The address space.
        mm: u64,
        /// First address; 0 with `end` all ones for everything.
        start: u64,
        /// End of the range, not in it.
        end: u64,
    },
    /// Everything is flushed from this vCPU's TLB.
    TlbFlushLocal,
    /// Everything is flushed from the TLBs of all vCPUs.
    TlbFlushAll,
    /// The recorded kernel begins to queue operations; upcalls are masked from here to the issue.
    BatchBegin {
        /// The mode it is lazy in at this moment.
        mode: LazyMode,
    },
    /// The recorded kernel has queued its operations: they go out now unless it is lazy in `mode`.
    BatchIssue {
        /// The mode in which these operations may wait; `None` for never.
        mode: LazyMode,
    },
    /// An entry is asked for. If a [`EventKind::FlushReason`] follows, the flush takes only what was queued before.
    EntryAlloc {
        /// Bytes of arguments it needs.
        bytes: u32,
    },
    /// An entry is queued.
    Entry {
        /// The hypercall's number.
        op: u32,
        /// Its words; unused ones are whatever was in the buffer.
        args: [u64; 6],
    },
    /// Appending to the last entry is tried.
    Extend {
        /// The hypercall's number.
        op: u32,
        /// Bytes to append.
        bytes: u32,
        /// Whether it could be.
        result: ExtendResult,
    },
    /// A flush nobody asked for follows.
    FlushReason {
        /// What forces it.
        cause: FlushCause,
    },
    /// All that is queued on this vCPU goes to the hypervisor.
    Flush {
        /// Entries; 0 makes no hypercall.
        calls: u32,
        /// Bytes of arguments in use.
        bytes: u32,
        /// Callbacks that run afterwards.
        callbacks: u32,
    },
    /// A completion callback is queued.
    Callback {
        /// What it does.
        callback: CallbackKind,
        /// Its argument.
        data: u64,
    },
    /// The workload wrote a mark into the trace.
    Mark {
        /// Its text.
        text: Box<str>,
    },
    /// The recorder dropped events of this vCPU here. Task and context of this event say nothing.
    EventsLost {
        /// How many, 0 if unknown.
        count: u64,
    },
}
