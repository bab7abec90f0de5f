//! What the recorded kernel asked for, request by request, in the guest's own frame numbers.
//!
//! Requests come in the order of the trace. A request stands where the recorded kernel queued or issued it, on the vCPU
//! and in the task that did; the operations of one [`Work`] were asked for as one piece, which the kernel itself would
//! not have torn apart. Nothing here knows how any batcher works.

use hypercall::{Level, Pfn, VcpuId, VirtAddr};
use mmu_trace::Event;

/// A thread of the recorded kernel. The idle threads all bear number 0, so the vCPU tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TaskKey {
    number: u32,
    idle_on: Option<u32>,
}

impl TaskKey {
    /// The task an event happened in.
    pub(crate) fn of(event: &Event) -> Self {
        Self::new(event.task, event.vcpu)
    }

    /// The task with this number as `vcpu` sees it.
    pub(crate) fn new(number: u32, vcpu: u32) -> Self {
        Self { number, idle_on: (number == 0).then_some(vcpu) }
    }

    /// One number for the task, no two alike.
    pub(crate) fn unique(self) -> u64 {
        u64::from(self.number) | self.idle_on.map_or(0, |vcpu| u64::from(vcpu) + 1) << 32
    }
}

impl std::fmt::Display for TaskKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.idle_on {
            Some(vcpu) => write!(f, "the idle task of vcpu {vcpu}"),
            None => write!(f, "task {}", self.number),
        }
    }
}

/// A page fault or system call of a task: its number among them. Work of kernel threads, of handlers, and of a task
/// whose entry into the kernel is older than the trace belongs to none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(u32);

impl Span {
    /// The one that follows `number` others of its task.
    pub(crate) const fn after(number: u32) -> Self {
        Self(number)
    }

    /// Whether both are known to be parts of one page fault or system call.
    pub(crate) fn is_one(first: Option<Self>, second: Option<Self>) -> bool {
        first.is_some() && first == second
    }
}

/// One thing the kernel asked for, and from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Line of the trace.
    pub(crate) line: u64,
    /// The vCPU it was asked on.
    pub(crate) vcpu: VcpuId,
    /// The task that asked.
    pub(crate) task: TaskKey,
    /// Whether a handler that interrupted the task asked.
    pub(crate) interrupt: bool,
    /// The page fault or system call of the task it belongs to, if it is known to belong to one.
    pub(crate) span: Option<Span>,
    /// What was asked.
    pub(crate) wish: Wish,
}

/// What the kernel asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Enter a lazy region.
    Enter,
    /// Leave it.
    Leave,
    /// Make what the region has queued effective, and go on in it.
    Flush,
    /// A context switch begins.
    SwitchOut,
    /// The context switch ends.
    SwitchIn {
        /// The task that runs now.
        next: TaskKey,
    },
    /// Operations for the hypervisor.
    Work(Work),
    /// A plain store to a table that is not pinned.
    Store(EntryWrite),
    /// A frame is going to be a table.
    TableAlloc {
        /// The frame.
        frame: Pfn,
    },
    /// A frame stops being a table.
    TableRelease {
        /// The frame.
        frame: Pfn,
        /// What it was.
        level: Level,
    },
    /// An L1 entry is read before its protection changes.
    ProtStart {
        /// The entry.
        slot: Slot,
        /// What real Xen held there.
        raw: u64,
    },
}

/// Operations asked for as one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Work {
    /// Which of the kernel's functions asked.
    pub(crate) source: Source,
    /// The operations, in order.
    pub(crate) operations: Vec<GuestOp>,
}

/// Which of the kernel's functions asked for operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Source {
    /// An L1 entry is set.
    PteWrite,
    /// A protection change is written, keeping A and D.
    ProtCommit,
    /// An entry of a pinned table of this level, L2 to L4, is set.
    UpperWrite(Level),
    /// A table joins or leaves a pinned address space.
    Table,
    /// An address space is pinned.
    PinWalk,
    /// An address space is unpinned.
    UnpinWalk,
    /// The base pointer is written.
    BasePointer,
    /// TLBs are flushed.
    Tlb,
    /// The kernel stack is changed.
    StackSwitch,
    /// Consecutive L1 entries set as one range (`ported` only).
    Range,
    /// A TLB flush and the entry it was for (`ported` only).
    CopyOnWrite,
}

/// An entry of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// The table's frame.
    pub(crate) table: Pfn,
    /// The entry, 0 to 511.
    pub(crate) index: usize,
}

/// An entry's new value, as recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Word {
    /// The machine word; `pseudo` is the same with a pseudo-physical frame.
    Machine {
        /// With the guest's frame number, if that was recorded.
        pseudo: Option<u64>,
        /// With the machine's.
        raw: u64,
    },
    /// Only the word with the guest's frame number is known.
    Pseudo(u64),
}

/// An entry and its new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EntryWrite {
    /// Level of the table.
    pub(crate) level: Level,
    /// The entry.
    pub(crate) slot: Slot,
    /// The same entry's place in the table of user mode: L4 only.
    pub(crate) user_slot: Option<Slot>,
    /// The value.
    pub(crate) word: Word,
}

/// Which TLB entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TlbFlush {
    /// All of this vCPU.
    Local,
    /// All of every vCPU.
    All,
    /// One address on this vCPU.
    One(VirtAddr),
    /// All of several vCPUs: how many is known, not which.
    Multi,
    /// One address on several vCPUs.
    OneMulti(VirtAddr),
}

/// An operation for the hypervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GuestOp {
    /// A page-table entry, by `mmu_update`.
    Write(EntryWrite),
    /// The same, keeping A and D.
    WriteKeepingAd(EntryWrite),
    /// The direct map's entry of a frame, by `update_va_mapping`.
    Remap {
        /// The frame.
        frame: Pfn,
        /// The entry, with the machine frame.
        raw: u64,
        /// Whether this vCPU's TLB is flushed with it.
        flush: bool,
    },
    /// Pin a table.
    Pin {
        /// The table.
        table: Pfn,
        /// Its level.
        level: Level,
    },
    /// Unpin a table.
    Unpin {
        /// The table.
        table: Pfn,
        /// Its level.
        level: Level,
    },
    /// Load a base pointer.
    Base {
        /// The one of user mode.
        user: bool,
        /// The L4, or none.
        table: Option<Pfn>,
    },
    /// Flush TLBs.
    Tlb(TlbFlush),
    /// Change the kernel stack.
    StackSwitch {
        /// Selector.
        ss: u64,
        /// Pointer.
        sp: u64,
    },
}

/// Base of Linux's direct map on x86-64, where every frame of the guest has its address.
const DIRECT_MAP: u64 = 0xffff_8880_0000_0000;
/// Bytes of the address space Linux gives to it.
const DIRECT_MAP_SIZE: u64 = 1 << 46;

/// The frame an address of the direct map lies in.
pub(crate) fn frame_at(address: u64) -> Option<Pfn> {
    let offset = address.checked_sub(DIRECT_MAP)?;
    (offset < DIRECT_MAP_SIZE).then(|| Pfn::new(offset >> hypercall::PAGE_SHIFT))
}

/// The address of a frame in the direct map.
pub(crate) fn address_of(frame: Pfn) -> VirtAddr {
    VirtAddr::unchecked(DIRECT_MAP + (frame.number() << hypercall::PAGE_SHIFT))
}

/// The entry at an address of the direct map.
pub(crate) fn slot_at(address: u64) -> Option<Slot> {
    let index = (address % hypercall::PAGE_SIZE / 8) as usize;
    Some(Slot { table: frame_at(address)?, index })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_direct_map_names_frames_and_entries() {
        let slot = slot_at(0xffff_8880_05ac_62c8).unwrap();
        assert_eq!((slot.table, slot.index), (Pfn::new(0x5ac6), 0x59));
        assert_eq!(address_of(slot.table).value(), 0xffff_8880_05ac_6000);
        assert_eq!(slot_at(0x1000), None);
        assert_eq!(slot_at(0xffff_c900_0000_0000), None, "vmalloc space is not the direct map");
    }
}
