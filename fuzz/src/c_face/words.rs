//! What either face is asked and answers, in words that both have: the numbers of the C header.

use hypercall::{
    DomId, Errno, FlushScope, Level, MachAddr, Mfn, MmuUpdate, MmuextOp, Operation, Pte, PteSlot, SegmentBase, Subject,
    VaFlush, VcpuMask, VirtAddr,
};
use mock_xen::testing::Failed;
use pvmmu::{
    error::Code,
    operation::{Kind, Operation as Wish},
};

/// A call by a task, or by the handler that interrupted it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Enter,
    Leave,
    Pause,
    Resume,
    Flush,
    IsLazy,
    /// The task ends, and another begins in its place.
    Exit,
    Set(u64, u64),
    Commit(u64, u64),
    Upper(u64, u64),
    Operation(Wish),
    Read(u64),
    Range(u64, usize, u64),
    /// Turns the right to store of each entry that is present.
    Toggle(u64, usize),
    WriteProtect(u64, usize),
    GetAndClear(u64),
    Harvest(u64, usize, u32),
    Young(u64, usize),
}

/// What a call answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answered {
    /// The code's number.
    pub(super) code: u32,
    pub(super) value: u64,
    pub(super) limit: u64,
    /// How many operations have failed.
    pub(super) failed: u32,
    /// Those that are named.
    pub(super) failures: Vec<Failed>,
    /// What it wrote for the caller.
    pub(super) out: Vec<u64>,
}

/// What the platform is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Failed(Failed),
    Leaked(u32),
    Unbalanced(u32),
    Refused(u32),
    Other,
}

impl Answered {
    pub(super) const fn of(code: Code, value: u64) -> Self {
        Self { code: code as u32, value, limit: 0, failed: 0, failures: Vec::new(), out: Vec::new() }
    }

    pub(super) fn with(out: impl Into<Vec<u64>>) -> Self {
        Self { out: out.into(), ..Self::of(Code::None, 0) }
    }

    pub(super) const fn is(&self, code: Code) -> bool {
        self.code == code as u32
    }

    /// Whether what was called for has been done.
    pub(super) const fn is_done(&self) -> bool {
        self.is(Code::None) || self.is(Code::Failed) || self.is(Code::NotCleared)
    }
}

/// Entry number `n` of a range that is set to `pte`: no two neighbours are alike.
pub(super) const fn pte_of(n: usize, pte: u64) -> u64 {
    if n % 3 == 2 { 0 } else { pte }
}

/// What a toggled entry becomes.
pub(super) const fn toggled(pte: u64) -> Option<u64> {
    if pte & 1 == 0 { None } else { Some(pte ^ 2) }
}

/// The slot of an L1 entry.
pub(super) fn slot(bits: u64) -> Result<PteSlot, Answered> {
    let slot = MachAddr::new(bits).and_then(PteSlot::new);
    slot.map_err(|_| Answered::of(Code::Slot, bits))
}

fn address(address: u64) -> Result<VirtAddr, Answered> {
    VirtAddr::new(address).map_err(|_| Answered::of(Code::Address, address))
}

fn level(detail: u32) -> Result<Level, Answered> {
    let level = Level::ALL.into_iter().find(|level| *level as u32 == detail);
    level.ok_or_else(|| Answered::of(Code::Argument, detail.into()))
}

/// The operation that a structure of the header stands for, by what the header says.
pub(super) fn operation_of(wish: &Wish) -> Result<Operation, Answered> {
    if let Some(op) = mmuext_of(wish)? {
        return Ok(Operation::Mmuext { op, domain: DomId::SELF });
    }
    let is = |kind: Kind| wish.kind == kind as u32;
    if is(Kind::Update) {
        return update_of(wish);
    }
    if is(Kind::UpdateVaMapping) {
        let (va, pte) = (address(wish.address.address)?, Pte::from_bits(wish.pte.bits));
        return Ok(Operation::UpdateVaMapping { va, pte, flush: flush_of(wish)? });
    }
    if is(Kind::StackSwitch) {
        return Ok(Operation::StackSwitch { ss: wish.value, sp: address(wish.address.address)? });
    }
    if is(Kind::FpuTaskswitch) {
        let set = wish.value == 1;
        return if wish.value < 2 { Ok(Operation::FpuTaskswitch { set }) } else { Err(argument(wish.value)) };
    }
    if is(Kind::SetSegmentBase) {
        let which = match wish.detail {
            0 => SegmentBase::Fs,
            1 => SegmentBase::GsUser,
            2 => SegmentBase::GsKernel,
            3 => SegmentBase::GsUserSelector,
            other => return Err(argument(other.into())),
        };
        return Ok(Operation::SetSegmentBase { which, base: wish.value });
    }
    if is(Kind::UpdateDescriptor) {
        let at = wish.slot.bits;
        let address = MachAddr::new(at).map_err(|_| Answered::of(Code::Slot, at))?;
        return Ok(Operation::UpdateDescriptor { address, descriptor: wish.value });
    }
    Err(argument(wish.kind.into()))
}

const fn argument(value: u64) -> Answered {
    Answered::of(Code::Argument, value)
}

fn update_of(wish: &Wish) -> Result<Operation, Answered> {
    let bits = wish.slot.bits;
    if bits & 0b101 != 0 || bits >> 52 != 0 {
        return Err(Answered::of(Code::Slot, bits));
    }
    let subject = if wish.detail == 0 { Subject::SELF } else { Subject::from_bits(wish.detail) };
    Ok(Operation::Update { update: MmuUpdate { slot: PteSlot::from_bits(bits), value: wish.pte.bits }, subject })
}

fn flush_of(wish: &Wish) -> Result<VaFlush, Answered> {
    let vcpus = VcpuMask::from_words(wish.vcpus.words);
    Ok(match wish.detail {
        0 => VaFlush::None,
        1 => VaFlush::Tlb(FlushScope::Local),
        2 => VaFlush::Tlb(FlushScope::All),
        3 => VaFlush::Tlb(FlushScope::Vcpus(vcpus)),
        4 => VaFlush::Invlpg(FlushScope::Local),
        5 => VaFlush::Invlpg(FlushScope::All),
        6 => VaFlush::Invlpg(FlushScope::Vcpus(vcpus)),
        other => return Err(argument(other.into())),
    })
}

fn mmuext_of(wish: &Wish) -> Result<Option<MmuextOp>, Answered> {
    let (frame, vcpus) = (Mfn::new(wish.frame.number), VcpuMask::from_words(wish.vcpus.words));
    let at = || address(wish.address.address);
    Ok(Some(match wish.kind {
        2 => MmuextOp::Pin { level: level(wish.detail)?, table: frame },
        3 => MmuextOp::Unpin { table: frame },
        4 => MmuextOp::NewBaseptr { table: frame },
        5 => MmuextOp::NewUserBaseptr { table: frame },
        6 => MmuextOp::TlbFlushLocal,
        7 => MmuextOp::TlbFlushMulti { vcpus },
        8 => MmuextOp::TlbFlushAll,
        9 => MmuextOp::InvlpgLocal { address: at()? },
        10 => MmuextOp::InvlpgMulti { address: at()?, vcpus },
        11 => MmuextOp::InvlpgAll { address: at()? },
        12 => MmuextOp::SetLdt { base: at()?, entries: wish.value },
        13 => MmuextOp::ClearPage { frame },
        14 => MmuextOp::CopyPage { destination: frame, source: Mfn::new(wish.value) },
        _ => return Ok(None),
    }))
}

/// A failure that the header names.
pub(super) fn failed_of(failure: &pvmmu::error::NamedFailure) -> Option<Failed> {
    let operation = operation_of(&failure.operation).ok()?;
    let errno = if failure.errno == 0 { None } else { Some(Errno::new(failure.errno.try_into().ok()?)?) };
    Some(Failed { operation, errno })
}
