//! One guest wish to the hypervisor, typed, and its words.

use core::fmt;

use crate::{
    DomId, Errno, MachAddr, Mfn, MmuUpdate, MmuextOp, Pte, Subject, VcpuMask, VirtAddr,
    abi::{self, UVMF_ALL, UVMF_FLUSHTYPE_MASK, UVMF_INVLPG, UVMF_LOCAL, UVMF_TLB_FLUSH},
};

/// Which vCPUs an `update_va_mapping` flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlushScope {
    /// The calling one.
    Local,
    /// All of the domain's.
    All,
    /// Some of them.
    Vcpus(VcpuMask),
}

/// What an `update_va_mapping` flushes after the entry has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VaFlush {
    /// Nothing.
    None,
    /// Whole TLBs.
    Tlb(FlushScope),
    /// The one address.
    Invlpg(FlushScope),
}

impl VaFlush {
    /// The vCPU bitmap it points at.
    #[must_use]
    pub const fn vcpus(&self) -> Option<&VcpuMask> {
        match self {
            Self::Tlb(FlushScope::Vcpus(vcpus)) | Self::Invlpg(FlushScope::Vcpus(vcpus)) => Some(vcpus),
            _ => None,
        }
    }

    const fn encode(&self, bitmap: u64) -> u64 {
        let (kind, scope) = match self {
            Self::None => return 0,
            Self::Tlb(scope) => (UVMF_TLB_FLUSH, scope),
            Self::Invlpg(scope) => (UVMF_INVLPG, scope),
        };
        kind | match scope {
            FlushScope::Local => UVMF_LOCAL,
            FlushScope::All => UVMF_ALL,
            FlushScope::Vcpus(_) => bitmap,
        }
    }

    fn decode(flags: u64, bitmap: impl Fn(u64) -> Option<VcpuMask>) -> Result<Self, DecodeError> {
        let scope = || {
            Ok(match flags & !UVMF_FLUSHTYPE_MASK {
                UVMF_LOCAL => FlushScope::Local,
                UVMF_ALL => FlushScope::All,
                address => FlushScope::Vcpus(bitmap(address).ok_or(DecodeError::Unreadable(address))?),
            })
        };
        Ok(match flags & UVMF_FLUSHTYPE_MASK {
            UVMF_TLB_FLUSH => Self::Tlb(scope()?),
            UVMF_INVLPG => Self::Invlpg(scope()?),
            _ => Self::None,
        })
    }
}

/// The frames of a global descriptor table, at most 16, and the number of its descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GdtFrames {
    frames: [Mfn; Self::CAPACITY],
    entries: u32,
}

impl GdtFrames {
    /// Frames a table can have.
    pub const CAPACITY: usize = 16;
    /// Descriptors in one frame.
    pub const PER_FRAME: u32 = 512;

    /// A table of `entries` descriptors in `frames`. `None` where the frames are too few or too
    /// many for the entries; Xen itself refuses more than 7168 entries.
    #[must_use]
    pub fn new(frames: &[Mfn], entries: u32) -> Option<Self> {
        if frames.len() > Self::CAPACITY || frames.len() != entries.div_ceil(Self::PER_FRAME) as usize {
            return None;
        }
        let mut table = Self { frames: [Mfn::new(0); Self::CAPACITY], entries };
        table.frames.iter_mut().zip(frames).for_each(|(place, frame)| *place = *frame);
        Some(table)
    }

    /// The frames, in order.
    #[must_use]
    pub fn frames(&self) -> &[Mfn] {
        let used = self.entries.div_ceil(Self::PER_FRAME) as usize;
        self.frames.get(..used).unwrap_or(&self.frames)
    }

    /// The number of descriptors.
    #[must_use]
    pub const fn entries(&self) -> u32 {
        self.entries
    }
}

/// Which base `set_segment_base` loads (`SEGBASE_*` of `xen/include/public/arch-x86/xen-x86_64.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SegmentBase {
    /// The fs base.
    Fs = 0,
    /// The gs base of user mode.
    GsUser = 1,
    /// The gs base of kernel mode.
    GsKernel = 2,
    /// The user gs selector; the base is the selector's number.
    GsUserSelector = 3,
}

/// One guest wish to the hypervisor about page tables or the processor state that goes with them.
///
/// ```
/// use hypercall::{DomId, MmuextOp, Operation, VirtAddr};
///
/// let address = VirtAddr::new(0x7000_0000)?;
/// let flush = Operation::Mmuext { op: MmuextOp::InvlpgAll { address }, domain: DomId::SELF };
/// assert_eq!(flush.vcpus(), None, "all of them, not a set");
/// # Ok::<(), hypercall::AddressError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Operation {
    /// An element of `mmu_update`.
    Update {
        /// Slot and value.
        update: MmuUpdate,
        /// Whose tables and frames.
        subject: Subject,
    },
    /// An element of `mmuext_op`.
    Mmuext {
        /// The operation.
        op: MmuextOp,
        /// Whose frames.
        domain: DomId,
    },
    /// `update_va_mapping`: write the L1 entry by which the current tables map an address.
    UpdateVaMapping {
        /// The address.
        va: VirtAddr,
        /// The new entry.
        pte: Pte,
        /// What to flush afterwards.
        flush: VaFlush,
    },
    /// `update_va_mapping_otherdomain`: the same with another domain's frame.
    UpdateVaMappingOtherdomain {
        /// The address.
        va: VirtAddr,
        /// The new entry.
        pte: Pte,
        /// What to flush afterwards.
        flush: VaFlush,
        /// Whose frame.
        domain: DomId,
    },
    /// `set_gdt`: load the global descriptor table.
    SetGdt(GdtFrames),
    /// `update_descriptor`: write one descriptor of a loaded table.
    UpdateDescriptor {
        /// Machine address of the descriptor.
        address: MachAddr,
        /// Its new value.
        descriptor: u64,
    },
    /// `stack_switch`: the stack Xen enters the kernel on from user mode.
    StackSwitch {
        /// Stack selector.
        ss: u64,
        /// Stack pointer.
        sp: VirtAddr,
    },
    /// `fpu_taskswitch`: set or clear the task-switched flag.
    FpuTaskswitch {
        /// Whether the next FPU instruction traps.
        set: bool,
    },
    /// `set_segment_base`.
    SetSegmentBase {
        /// Which.
        which: SegmentBase,
        /// The base.
        base: u64,
    },
}

/// For messages: an operation of the guest's own by what it does, one that names other domains with them.
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Update { update, subject: Subject::SELF } => write!(f, "{update:?}"),
            Self::Update { update, subject } => write!(f, "{update:?} ({subject:?})"),
            Self::Mmuext { op, domain: DomId::SELF } => write!(f, "{op:?}"),
            Self::Mmuext { op, domain } => write!(f, "{op:?} of {domain}"),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A hypercall's number and argument registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawCall {
    /// Hypercall number.
    pub number: u32,
    /// Arguments 1 to 5 (rdi, rsi, rdx, r10, r8).
    pub args: [u64; 5],
}

/// Why words are no operation of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A hypercall number that is none of [`Operation`]'s.
    UnknownCall(u64),
    /// A command number the hypercall does not have.
    UnknownCommand {
        /// The hypercall.
        number: u32,
        /// The command.
        command: u32,
    },
    /// Nothing can be read at this address.
    Unreadable(u64),
    /// An argument outside what the operation can carry.
    Argument(u64),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownCall(number) => write!(f, "hypercall {number} is no page-table operation"),
            Self::UnknownCommand { number, command } => write!(f, "hypercall {number} has no command {command}"),
            Self::Unreadable(address) => write!(f, "nothing can be read at address {address:#x}"),
            Self::Argument(value) => write!(f, "argument {value:#x} is out of the operation's range"),
        }
    }
}

impl core::error::Error for DecodeError {}

impl From<DecodeError> for Errno {
    /// What Xen answers to such words.
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownCall(_) | DecodeError::UnknownCommand { .. } => Self::NOSYS,
            DecodeError::Unreadable(_) => Self::FAULT,
            DecodeError::Argument(_) => Self::INVAL,
        }
    }
}

impl Operation {
    /// Words of a batch's arena that any one operation needs at most: argument registers and a frame
    /// list.
    pub const MAX_WORDS: usize = 4 + GdtFrames::CAPACITY;

    /// The vCPU bitmap the operation points at.
    #[must_use]
    pub const fn vcpus(&self) -> Option<&VcpuMask> {
        match self {
            Self::Mmuext { op, .. } => op.vcpus(),
            Self::UpdateVaMapping { flush, .. } | Self::UpdateVaMappingOtherdomain { flush, .. } => flush.vcpus(),
            _ => None,
        }
    }

    /// Number and registers of a call that carries its operation in registers; `memory` is the
    /// address of its vCPU bitmap or frame list, where it has one. `None` for the two kinds that
    /// travel in arrays.
    #[must_use]
    pub const fn encode(&self, memory: u64) -> Option<RawCall> {
        let (number, args) = match *self {
            Self::Update { .. } | Self::Mmuext { .. } => return None,
            Self::UpdateVaMapping { va, pte, flush } => {
                (abi::HYPERCALL_UPDATE_VA_MAPPING, [va.value(), pte.bits(), flush.encode(memory), 0, 0])
            }
            Self::UpdateVaMappingOtherdomain { va, pte, flush, domain } => (
                abi::HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN,
                [va.value(), pte.bits(), flush.encode(memory), domain.number() as u64, 0],
            ),
            Self::SetGdt(table) => (abi::HYPERCALL_SET_GDT, [memory, table.entries as u64, 0, 0, 0]),
            Self::UpdateDescriptor { address, descriptor } => {
                (abi::HYPERCALL_UPDATE_DESCRIPTOR, [address.value(), descriptor, 0, 0, 0])
            }
            Self::StackSwitch { ss, sp } => (abi::HYPERCALL_STACK_SWITCH, [ss, sp.value(), 0, 0, 0]),
            Self::FpuTaskswitch { set } => (abi::HYPERCALL_FPU_TASKSWITCH, [set as u64, 0, 0, 0, 0]),
            Self::SetSegmentBase { which, base } => (abi::HYPERCALL_SET_SEGMENT_BASE, [which as u64, base, 0, 0, 0]),
        };
        Some(RawCall { number, args })
    }

    /// The operation of a call that carries it in registers; `read` reads the word at an address.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCall`] for any other hypercall, the arrays included, the other kinds
    /// where arguments cannot be read or carried.
    pub fn decode(call: &RawCall, read: impl Fn(u64) -> Option<u64>) -> Result<Self, DecodeError> {
        let bitmap = |address| read_bitmap(address, &read);
        let [a, b, c, d, _] = call.args;
        let (va, pte) = (VirtAddr::unchecked(a), Pte::from_bits(b));
        Ok(match call.number {
            abi::HYPERCALL_UPDATE_VA_MAPPING => Self::UpdateVaMapping { va, pte, flush: VaFlush::decode(c, bitmap)? },
            abi::HYPERCALL_UPDATE_VA_MAPPING_OTHERDOMAIN => Self::UpdateVaMappingOtherdomain {
                va,
                pte,
                flush: VaFlush::decode(c, bitmap)?,
                domain: DomId::new(d as u16),
            },
            abi::HYPERCALL_SET_GDT => Self::SetGdt(decode_gdt(a, b, read)?),
            abi::HYPERCALL_UPDATE_DESCRIPTOR => Self::UpdateDescriptor {
                address: MachAddr::new(a).map_err(|_| DecodeError::Argument(a))?,
                descriptor: b,
            },
            abi::HYPERCALL_STACK_SWITCH => Self::StackSwitch { ss: a, sp: VirtAddr::unchecked(b) },
            abi::HYPERCALL_FPU_TASKSWITCH => Self::FpuTaskswitch { set: a != 0 },
            abi::HYPERCALL_SET_SEGMENT_BASE => Self::SetSegmentBase { which: decode_base(a)?, base: b },
            number => return Err(DecodeError::UnknownCall(number.into())),
        })
    }
}

/// The vCPU bitmap whose first word is at `address`.
pub(crate) fn read_bitmap(address: u64, read: impl Fn(u64) -> Option<u64>) -> Option<VcpuMask> {
    let mut words = [0; VcpuMask::WORDS];
    for (index, word) in words.iter_mut().enumerate() {
        *word = read(address.wrapping_add(8 * index as u64))?;
    }
    Some(VcpuMask::from_words(words))
}

fn decode_gdt(list: u64, entries: u64, read: impl Fn(u64) -> Option<u64>) -> Result<GdtFrames, DecodeError> {
    let entries = u32::try_from(entries).map_err(|_| DecodeError::Argument(entries))?;
    let mut frames = [Mfn::new(0); GdtFrames::CAPACITY];
    let used = frames
        .get_mut(..entries.div_ceil(GdtFrames::PER_FRAME) as usize)
        .ok_or(DecodeError::Argument(entries.into()))?;
    for (index, frame) in used.iter_mut().enumerate() {
        let address = list.wrapping_add(8 * index as u64);
        *frame = Mfn::new(read(address).ok_or(DecodeError::Unreadable(address))?);
    }
    GdtFrames::new(used, entries).ok_or(DecodeError::Argument(entries.into()))
}

const fn decode_base(which: u64) -> Result<SegmentBase, DecodeError> {
    Ok(match which {
        0 => SegmentBase::Fs,
        1 => SegmentBase::GsUser,
        2 => SegmentBase::GsKernel,
        3 => SegmentBase::GsUserSelector,
        other => return Err(DecodeError::Argument(other)),
    })
}
