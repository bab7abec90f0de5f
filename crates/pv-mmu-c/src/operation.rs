//! Operations as C has them: one structure, whose kind says which of its fields count.

use hypercall::{
    DomId, FlushScope, Level, MachAddr, MmuUpdate, MmuextOp, Operation as Native, PteSlot, SegmentBase, Subject,
    VaFlush,
};

use crate::{
    error::{Code, Refusal},
    words::{Mfn, Pte, Slot, Va, Vcpus},
};

/// What an operation does, and which fields of `pvmmu_operation` it has. Fields it does not have are not looked at.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One that C cannot ask for. Never in a request.
    Other = 0,
    /// An update of an entry of any level, never merged: `slot` (its lowest two bits: 0, or 2 to keep accessed and
    /// dirty), `pte`; `detail` 0 for own tables and frames, else the fourth argument of `mmu_update`.
    Update = 1,
    /// Validate `frame` as a table of level `detail` (1 to 4) and keep it so.
    Pin = 2,
    /// Give up the pin of `frame`; `flush_others` is called first (R12).
    Unpin = 3,
    /// Load `frame`, an L4 table, as the kernel's base pointer.
    NewBaseptr = 4,
    /// Load `frame` as user mode's; frame 0 for none.
    NewUserBaseptr = 5,
    /// Flush this vCPU's TLB.
    TlbFlushLocal = 6,
    /// Flush the TLBs of `vcpus`.
    TlbFlushMulti = 7,
    /// Flush every vCPU's TLB.
    TlbFlushAll = 8,
    /// Invalidate the page of `address` on this vCPU.
    InvlpgLocal = 9,
    /// The same on `vcpus`.
    InvlpgMulti = 10,
    /// The same on every vCPU.
    InvlpgAll = 11,
    /// Load the local descriptor table at `address` with `value` descriptors, at most 8192.
    SetLdt = 12,
    /// Fill `frame` with zeros.
    ClearPage = 13,
    /// Copy frame number `value` to `frame`.
    CopyPage = 14,
    /// Write `pte` where the current tables map `address`; `detail` is one of `PVMMU_FLUSH_*`, with `vcpus` where that
    /// says so.
    UpdateVaMapping = 15,
    /// The kernel's stack: selector `value`, pointer `address`.
    StackSwitch = 16,
    /// Whether the next FPU instruction traps: `value` 0 or 1.
    FpuTaskswitch = 17,
    /// Load base `detail` (0 fs, 1 gs of user mode, 2 gs of kernel mode, 3 user gs selector) with `value`.
    SetSegmentBase = 18,
    /// Write descriptor `value` at machine address `slot.bits`.
    UpdateDescriptor = 19,
}

/// `update_va_mapping` flushes nothing.
pub const PVMMU_FLUSH_NONE: u32 = 0;
/// It flushes this vCPU's TLB.
pub const PVMMU_FLUSH_TLB_LOCAL: u32 = 1;
/// It flushes every vCPU's TLB.
pub const PVMMU_FLUSH_TLB_ALL: u32 = 2;
/// It flushes the TLBs of `vcpus`.
pub const PVMMU_FLUSH_TLB_MULTI: u32 = 3;
/// It invalidates the page on this vCPU.
pub const PVMMU_FLUSH_INVLPG_LOCAL: u32 = 4;
/// It invalidates the page on every vCPU.
pub const PVMMU_FLUSH_INVLPG_ALL: u32 = 5;
/// It invalidates the page on `vcpus`.
pub const PVMMU_FLUSH_INVLPG_MULTI: u32 = 6;

/// One wish of the kernel to the hypervisor.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Operation {
    /// One of `enum pvmmu_op`.
    pub kind: u32,
    /// A small number, as the kind says.
    pub detail: u32,
    /// An entry.
    pub slot: Slot,
    /// Its value.
    pub pte: Pte,
    /// A frame.
    pub frame: Mfn,
    /// A virtual address.
    pub address: Va,
    /// Another number, as the kind says.
    pub value: u64,
    /// vCPUs.
    pub vcpus: Vcpus,
}

const KINDS: [Kind; 20] = [
    Kind::Other,
    Kind::Update,
    Kind::Pin,
    Kind::Unpin,
    Kind::NewBaseptr,
    Kind::NewUserBaseptr,
    Kind::TlbFlushLocal,
    Kind::TlbFlushMulti,
    Kind::TlbFlushAll,
    Kind::InvlpgLocal,
    Kind::InvlpgMulti,
    Kind::InvlpgAll,
    Kind::SetLdt,
    Kind::ClearPage,
    Kind::CopyPage,
    Kind::UpdateVaMapping,
    Kind::StackSwitch,
    Kind::FpuTaskswitch,
    Kind::SetSegmentBase,
    Kind::UpdateDescriptor,
];

const fn argument(value: u64) -> Refusal {
    Refusal::of(Code::Argument, value)
}

/// The element of `all` with this number.
fn numbered<T: Copy>(all: &[T], number: u32, first: u32) -> Result<T, Refusal> {
    let place = number.checked_sub(first).and_then(|place| all.get(place as usize));
    place.copied().ok_or_else(|| argument(number.into()))
}

impl Operation {
    /// The operation it stands for.
    ///
    /// # Errors
    /// `PVMMU_ERROR_ARGUMENT`, `PVMMU_ERROR_SLOT` or `PVMMU_ERROR_ADDRESS` with the number that is wrong.
    pub(crate) fn native(&self) -> Result<Native, Refusal> {
        let kind = numbered(&KINDS, self.kind, 0)?;
        if let Some(op) = self.mmuext(kind)? {
            return Ok(Native::Mmuext { op, domain: DomId::SELF });
        }
        Ok(match kind {
            Kind::Update => self.update()?,
            Kind::UpdateVaMapping => {
                Native::UpdateVaMapping { va: self.address.check()?, pte: self.pte.native(), flush: self.va_flush()? }
            }
            Kind::StackSwitch => Native::StackSwitch { ss: self.value, sp: self.address.check()? },
            Kind::FpuTaskswitch if self.value <= 1 => Native::FpuTaskswitch { set: self.value == 1 },
            Kind::FpuTaskswitch => return Err(argument(self.value)),
            Kind::SetSegmentBase => Native::SetSegmentBase { which: self.segment_base()?, base: self.value },
            Kind::UpdateDescriptor => {
                let address = MachAddr::new(self.slot.bits).map_err(|_| Refusal::of(Code::Slot, self.slot.bits))?;
                Native::UpdateDescriptor { address, descriptor: self.value }
            }
            other => return Err(argument(other as u64)),
        })
    }

    /// `None` where it is none of `mmuext_op`.
    fn mmuext(&self, kind: Kind) -> Result<Option<MmuextOp>, Refusal> {
        let (table, vcpus) = (self.frame.native(), self.vcpus.native());
        Ok(Some(match kind {
            Kind::Pin => MmuextOp::Pin { level: numbered(&Level::ALL, self.detail, 1)?, table },
            Kind::Unpin => MmuextOp::Unpin { table },
            Kind::NewBaseptr => MmuextOp::NewBaseptr { table },
            Kind::NewUserBaseptr => MmuextOp::NewUserBaseptr { table },
            Kind::TlbFlushLocal => MmuextOp::TlbFlushLocal,
            Kind::TlbFlushMulti => MmuextOp::TlbFlushMulti { vcpus },
            Kind::TlbFlushAll => MmuextOp::TlbFlushAll,
            Kind::InvlpgLocal => MmuextOp::InvlpgLocal { address: self.address.check()? },
            Kind::InvlpgMulti => MmuextOp::InvlpgMulti { address: self.address.check()?, vcpus },
            Kind::InvlpgAll => MmuextOp::InvlpgAll { address: self.address.check()? },
            Kind::SetLdt => MmuextOp::SetLdt { base: self.address.check()?, entries: self.value },
            Kind::ClearPage => MmuextOp::ClearPage { frame: table },
            Kind::CopyPage => MmuextOp::CopyPage { destination: table, source: hypercall::Mfn::new(self.value) },
            _ => return Ok(None),
        }))
    }

    fn update(&self) -> Result<Native, Refusal> {
        let bits = if crate::is_planted!(CommandDropped) { self.slot.bits & !7 } else { self.slot.bits };
        let slot = PteSlot::from_bits(bits);
        let command = self.slot.bits & 7;
        if command & !2 != 0 || MachAddr::new(self.slot.bits).is_err() {
            return Err(Refusal::of(Code::Slot, self.slot.bits));
        }
        let subject = if self.detail == 0 { Subject::SELF } else { Subject::from_bits(self.detail) };
        Ok(Native::Update { update: MmuUpdate::new(slot, self.pte.native()), subject })
    }

    fn va_flush(&self) -> Result<VaFlush, Refusal> {
        let vcpus = FlushScope::Vcpus(self.vcpus.native());
        Ok(match self.detail {
            PVMMU_FLUSH_NONE => VaFlush::None,
            PVMMU_FLUSH_TLB_LOCAL => VaFlush::Tlb(FlushScope::Local),
            PVMMU_FLUSH_TLB_ALL => VaFlush::Tlb(FlushScope::All),
            PVMMU_FLUSH_TLB_MULTI => VaFlush::Tlb(vcpus),
            PVMMU_FLUSH_INVLPG_LOCAL => VaFlush::Invlpg(FlushScope::Local),
            PVMMU_FLUSH_INVLPG_ALL => VaFlush::Invlpg(FlushScope::All),
            PVMMU_FLUSH_INVLPG_MULTI => VaFlush::Invlpg(vcpus),
            other => return Err(argument(other.into())),
        })
    }

    fn segment_base(&self) -> Result<SegmentBase, Refusal> {
        let all = [SegmentBase::Fs, SegmentBase::GsUser, SegmentBase::GsKernel, SegmentBase::GsUserSelector];
        numbered(&all, self.detail, 0)
    }

    /// How C sees `operation`.
    pub(crate) fn of(operation: &Native) -> Self {
        let of = |kind: Kind| Self { kind: kind as u32, ..Self::default() };
        match *operation {
            Native::Update { update, subject } => Self {
                slot: Slot { bits: update.slot.bits() },
                pte: Pte { bits: update.value },
                detail: if subject == Subject::SELF { 0 } else { subject.bits() },
                ..of(Kind::Update)
            },
            Native::Mmuext { op, .. } => Self::of_mmuext(&op),
            Native::UpdateVaMapping { va, pte, flush } => Self {
                address: Va::of(va),
                pte: Pte::of(pte),
                detail: detail_of(&flush),
                vcpus: flush.vcpus().map(Vcpus::of).unwrap_or_default(),
                ..of(Kind::UpdateVaMapping)
            },
            Native::StackSwitch { ss, sp } => Self { value: ss, address: Va::of(sp), ..of(Kind::StackSwitch) },
            Native::FpuTaskswitch { set } => Self { value: set.into(), ..of(Kind::FpuTaskswitch) },
            Native::SetSegmentBase { which, base } => {
                Self { detail: which as u32, value: base, ..of(Kind::SetSegmentBase) }
            }
            Native::UpdateDescriptor { address, descriptor } => {
                Self { slot: Slot { bits: address.value() }, value: descriptor, ..of(Kind::UpdateDescriptor) }
            }
            _ => of(Kind::Other),
        }
    }

    fn of_mmuext(op: &MmuextOp) -> Self {
        let of = |kind: Kind| Self {
            kind: kind as u32,
            vcpus: op.vcpus().map(Vcpus::of).unwrap_or_default(),
            ..Self::default()
        };
        match *op {
            MmuextOp::Pin { level, table } => Self { detail: level as u32, frame: Mfn::of(table), ..of(Kind::Pin) },
            MmuextOp::Unpin { table } => Self { frame: Mfn::of(table), ..of(Kind::Unpin) },
            MmuextOp::NewBaseptr { table } => Self { frame: Mfn::of(table), ..of(Kind::NewBaseptr) },
            MmuextOp::NewUserBaseptr { table } => Self { frame: Mfn::of(table), ..of(Kind::NewUserBaseptr) },
            MmuextOp::TlbFlushLocal => of(Kind::TlbFlushLocal),
            MmuextOp::TlbFlushMulti { .. } => of(Kind::TlbFlushMulti),
            MmuextOp::TlbFlushAll => of(Kind::TlbFlushAll),
            MmuextOp::InvlpgLocal { address } => Self { address: Va::of(address), ..of(Kind::InvlpgLocal) },
            MmuextOp::InvlpgMulti { address, .. } => Self { address: Va::of(address), ..of(Kind::InvlpgMulti) },
            MmuextOp::InvlpgAll { address } => Self { address: Va::of(address), ..of(Kind::InvlpgAll) },
            MmuextOp::SetLdt { base, entries } => Self { address: Va::of(base), value: entries, ..of(Kind::SetLdt) },
            MmuextOp::ClearPage { frame } => Self { frame: Mfn::of(frame), ..of(Kind::ClearPage) },
            MmuextOp::CopyPage { destination, source } => {
                Self { frame: Mfn::of(destination), value: source.number(), ..of(Kind::CopyPage) }
            }
            _ => of(Kind::Other),
        }
    }
}

const fn detail_of(flush: &VaFlush) -> u32 {
    match flush {
        VaFlush::None => PVMMU_FLUSH_NONE,
        VaFlush::Tlb(FlushScope::Local) => PVMMU_FLUSH_TLB_LOCAL,
        VaFlush::Tlb(FlushScope::All) => PVMMU_FLUSH_TLB_ALL,
        VaFlush::Tlb(FlushScope::Vcpus(_)) => PVMMU_FLUSH_TLB_MULTI,
        VaFlush::Invlpg(FlushScope::Local) => PVMMU_FLUSH_INVLPG_LOCAL,
        VaFlush::Invlpg(FlushScope::All) => PVMMU_FLUSH_INVLPG_ALL,
        VaFlush::Invlpg(FlushScope::Vcpus(_)) => PVMMU_FLUSH_INVLPG_MULTI,
    }
}
