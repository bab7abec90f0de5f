//! For tests: events written down by hand, and a hypervisor that accepts everything.

use hypercall::{
    DomId, Errno, Hypervisor, Mfn, MmuUpdate, MmuextOp, Operation, Outcome, PreparedCall, PreparedCalls, Pte, PteSlot,
    Recorder, Subject, VaFlush, VcpuId, VirtAddr, abi,
};
use mmu_trace::{EntryFlags, Event, EventKind, ExtendResult, LazyMode, Level, PrevState};

use super::ledger::{Ledger, SharedLedger, listener};
use super::program::{Act, Step};
use super::request::{Source, TaskKey};

/// The address of entry `index` of the table in frame `pfn`.
pub(crate) const fn at(pfn: u64, index: u64) -> u64 {
    0xffff_8880_0000_0000 + (pfn << 12) + 8 * index
}

/// A present entry of frame `frame` with `flags`.
pub(crate) const fn entry(frame: u64, flags: u64) -> u64 {
    frame << 12 | flags
}

/// The machine's number of the guest's frame `pfn`, in scripts.
pub(crate) const fn mfn(pfn: u64) -> u64 {
    pfn + 0x7_0000
}

/// Flags of a writable user page, and of a read-only one.
pub(crate) const RW: u64 = 0x67;
pub(crate) const RO: u64 = 0x65;

/// Events, one after the other.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) events: Vec<Event>,
    vcpu: u32,
    task: u32,
    flags: EntryFlags,
}

impl Script {
    /// A script that begins in task 7 on vCPU 0.
    pub(crate) fn new() -> Self {
        Self { task: 7, flags: EntryFlags { recorded: true, ..EntryFlags::default() }, ..Self::default() }
    }

    /// What follows happens in `task` on `vcpu`.
    pub(crate) fn on(&mut self, vcpu: u32, task: u32) -> &mut Self {
        (self.vcpu, self.task) = (vcpu, task);
        self
    }

    /// What follows happens in a handler, or no longer does.
    pub(crate) fn interrupt(&mut self, inside: bool) -> &mut Self {
        self.flags.hardirq = inside;
        self
    }

    pub(crate) fn push(&mut self, kind: EventKind) -> &mut Self {
        let line = self.events.len() as u64 + 1;
        let (vcpu, task, flags) = (self.vcpu, self.task, self.flags);
        self.events.push(Event { line, stamp: line, vcpu, task, flags, kind });
        self
    }

    pub(crate) fn enter(&mut self) -> &mut Self {
        self.push(EventKind::RegionEnter)
    }

    pub(crate) fn leave(&mut self) -> &mut Self {
        self.push(EventKind::RegionLeave)
    }

    pub(crate) fn fault(&mut self) -> &mut Self {
        self.push(EventKind::PageFault { address: Some(0x1000), error_code: 7, user: true })
    }

    /// `set_pte` of entry `index` of table `pfn`, to map `frame`; no bracket.
    pub(crate) fn set_pte(&mut self, pfn: u64, index: u64, frame: u64, flags: u64) -> &mut Self {
        let (value, raw) = (entry(frame, flags), entry(mfn(frame), flags));
        self.push(EventKind::SetPte { slot: at(pfn, index), value: Some(value), raw })
    }

    /// The same with a bracket: queued.
    pub(crate) fn queued_pte(&mut self, pfn: u64, index: u64, frame: u64, flags: u64) -> &mut Self {
        self.set_pte(pfn, index, frame, flags).bracket(&[(abi::HYPERCALL_MMU_UPDATE, [0; 3])])
    }

    /// A protection change from `flags` to `new`.
    pub(crate) fn protect(&mut self, pfn: u64, index: u64, frame: u64, flags: u64, new: u64) -> &mut Self {
        let (mm, address, slot) = (1, 0x1000, at(pfn, index));
        let words = |flags| (entry(frame, flags), entry(mfn(frame), flags));
        let (value, raw) = words(flags);
        self.push(EventKind::ProtStart { mm, address, slot, value: Some(value), raw });
        let (value, raw) = words(new);
        self.push(EventKind::ProtCommit { mm, address, slot, value: Some(value), raw });
        self.bracket(&[(abi::HYPERCALL_MMU_UPDATE, [0; 3])])
    }

    /// `set_pmd` in table `pfn`; no bracket.
    pub(crate) fn set_l2(&mut self, pfn: u64, index: u64, table: u64) -> &mut Self {
        let (value, raw) = (entry(table, RW), entry(mfn(table), RW));
        self.push(EventKind::SetUpper { level: Level::L2, slot: at(pfn, index), value: Some(value), raw })
    }

    /// `set_p4d` in table `pfn` and the user's `user`; no bracket.
    pub(crate) fn set_l4(&mut self, pfn: u64, user: u64, index: u64, table: u64) -> &mut Self {
        let (slot, user_slot) = (at(pfn, index), at(user, index));
        self.push(EventKind::SetL4 { slot, user_slot, value: Some(0x66), raw: entry(table, RW) })
    }

    pub(crate) fn alloc(&mut self, pfn: u64, level: Level, pinned: bool) -> &mut Self {
        self.push(EventKind::TableAlloc { mm: 1, pfn, level, pinned })
    }

    pub(crate) fn release(&mut self, pfn: u64, level: Level, pinned: bool) -> &mut Self {
        self.push(EventKind::TableRelease { pfn, level, pinned })
    }

    /// An `update_va_mapping` of frame `pfn`, for a bracket.
    pub(crate) fn remap(pfn: u64, writable: bool) -> (u32, [u64; 3]) {
        let flags = if writable { 0x63 } else { 0x61 };
        (abi::HYPERCALL_UPDATE_VA_MAPPING, [at(pfn, 0), entry(mfn(pfn), flags), 0])
    }

    /// An `mmuext_op` for a bracket.
    pub(crate) const MMUEXT: (u32, [u64; 3]) = (abi::HYPERCALL_MMUEXT_OP, [0; 3]);

    /// A bracket in which each of `entries` opens an entry.
    pub(crate) fn bracket(&mut self, entries: &[(u32, [u64; 3])]) -> &mut Self {
        self.push(EventKind::BatchBegin { mode: LazyMode::None });
        for (op, [a, b, c]) in entries {
            self.push(EventKind::Entry { op: *op, args: [*a, *b, *c, 0, 0, 0] });
        }
        self.push(EventKind::BatchIssue { mode: LazyMode::None })
    }

    /// A flush of one address with its bracket.
    pub(crate) fn flush_one(&mut self) -> &mut Self {
        self.push(EventKind::TlbFlushOne { address: 0x1000 }).bracket(&[Self::MMUEXT])
    }

    /// A context switch on this vCPU to `next`, loading the base pointer `base` if there is one, and the stack switch.
    pub(crate) fn switch(&mut self, next: u32, base: Option<u64>) -> &mut Self {
        self.push(EventKind::SchedSwitch { prev: self.task, next, prev_state: PrevState::Blocked });
        self.push(EventKind::SwitchOut);
        if let Some(base) = base {
            self.load_base(base);
        }
        self.push(EventKind::SwitchIn);
        self.task = next;
        self.bracket(&[(abi::HYPERCALL_STACK_SWITCH, [0x18, 0xffff_c900_0000_4000, 0])])
    }

    /// The bracket of a base-pointer load, kernel and user.
    pub(crate) fn load_base(&mut self, base: u64) -> &mut Self {
        let op = abi::HYPERCALL_MMUEXT_OP;
        self.push(EventKind::BatchBegin { mode: LazyMode::Cpu });
        self.push(EventKind::WriteCr3 { user: false, address: base << 12 });
        self.push(EventKind::Entry { op, args: [0; 6] });
        self.push(EventKind::WriteCr3 { user: true, address: 0 });
        self.push(EventKind::Extend { op, bytes: 24, result: ExtendResult::Ok });
        self.push(EventKind::BatchIssue { mode: LazyMode::Cpu })
    }
}

/// A hypervisor that does whatever it is asked.
pub(crate) struct Accepting;

impl Hypervisor for Accepting {
    fn mmu_update(&mut self, updates: &[MmuUpdate], _subject: Subject) -> Outcome {
        Outcome::all(updates.len() as u32)
    }

    fn call(&mut self, call: &mut PreparedCall<'_>) -> Outcome {
        let count = call.count();
        call.set_done(count);
        Outcome::all(count)
    }

    fn multicall(&mut self, calls: &mut PreparedCalls<'_>) -> Result<(), Errno> {
        for index in 0..calls.len() {
            if let Some(mut call) = calls.call(index) {
                self.call(&mut call);
            }
            calls.set_result(index, 0);
        }
        Ok(())
    }
}

/// Leads a policy by hand, and counts its hypercalls.
pub(crate) struct Bench {
    ledger: SharedLedger,
}

impl Bench {
    /// A bench, and the hypervisors of `vcpus` vCPUs.
    pub(crate) fn new(vcpus: u32) -> (Self, Vec<impl Hypervisor>) {
        let ledger = Ledger::shared();
        let vcpu = |number| Recorder::new(Accepting, listener(&ledger, VcpuId::new(number)));
        let hypervisors = (0..vcpus).map(vcpu).collect();
        (Self { ledger }, hypervisors)
    }

    /// Hypercalls so far, and the most operations in one.
    pub(crate) fn calls(&self) -> (u64, u64) {
        let ledger = self.ledger.borrow();
        (ledger.by_cause.values().sum(), ledger.sizes.largest())
    }
}

/// A step of task 7 on vCPU 0.
pub(crate) fn step(act: Act) -> Step {
    Step { line: 1, vcpu: VcpuId::new(0), task: TaskKey::new(7, 0), interrupt: false, span: None, act }
}

/// A step that asks for these operations.
pub(crate) fn work(source: Source, operations: impl IntoIterator<Item = Operation>) -> Step {
    step(Act::Work { source, operations: operations.into_iter().collect() })
}

/// An update of entry `index` of some table, the next table behind entry 511.
pub(crate) fn update(index: usize) -> Operation {
    let slot = PteSlot::of(Mfn::new(5 + index as u64 / 512), index % 512);
    Operation::Update { update: MmuUpdate::new(slot, Pte::from_bits(0x9067)), subject: Subject::SELF }
}

/// An `mmuext_op` of the guest's own.
pub(crate) const fn mmuext(op: MmuextOp) -> Operation {
    Operation::Mmuext { op, domain: DomId::SELF }
}

/// A remapping of some page.
pub(crate) fn remap() -> Operation {
    let va = VirtAddr::unchecked(at(5, 0));
    Operation::UpdateVaMapping { va, pte: Pte::from_bits(0x9061), flush: VaFlush::None }
}
