//! `mmuext_op`'s unit: pins, base pointers, TLB and cache flushes.

use core::mem::{offset_of, size_of};

use crate::abi::{self, mmuext_op};
use crate::{DecodeError, Level, Mfn, VcpuMask, VirtAddr};

/// One operation of `mmuext_op` (`struct mmuext_op` in `xen/include/public/xen.h`).
///
/// ```
/// use hypercall::{Level, Mfn, MmuextOp};
///
/// let pin = MmuextOp::Pin { level: Level::L4, table: Mfn::new(0x101) };
/// let words = pin.encode(0);
/// assert_eq!((words.command, words.arg1), (3, 0x101), "MMUEXT_PIN_L4_TABLE");
/// assert_eq!(MmuextOp::decode(words, |_| None), Ok(pin));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MmuextOp {
    /// Validate a frame as a table of `level` and keep it so until it is unpinned.
    Pin {
        /// The level it becomes.
        level: Level,
        /// The table.
        table: Mfn,
    },
    /// Give up a pin.
    Unpin {
        /// The table.
        table: Mfn,
    },
    /// Load the kernel base pointer.
    NewBaseptr {
        /// An L4 table.
        table: Mfn,
    },
    /// Load the user-mode base pointer; frame 0 stands for none.
    NewUserBaseptr {
        /// An L4 table, or frame 0.
        table: Mfn,
    },
    /// Flush this vCPU's TLB.
    TlbFlushLocal,
    /// Invalidate one address on this vCPU.
    InvlpgLocal {
        /// Any address in the page.
        address: VirtAddr,
    },
    /// Flush the TLBs of some vCPUs.
    TlbFlushMulti {
        /// Which.
        vcpus: VcpuMask,
    },
    /// Invalidate one address on some vCPUs.
    InvlpgMulti {
        /// Any address in the page.
        address: VirtAddr,
        /// Which.
        vcpus: VcpuMask,
    },
    /// Flush every vCPU's TLB.
    TlbFlushAll,
    /// Invalidate one address on every vCPU.
    InvlpgAll {
        /// Any address in the page.
        address: VirtAddr,
    },
    /// Write back and invalidate this processor's caches.
    FlushCache,
    /// Write back and invalidate every processor's caches.
    FlushCacheGlobal,
    /// Load the local descriptor table.
    SetLdt {
        /// Page-aligned address of the table.
        base: VirtAddr,
        /// Descriptors in it, at most 8192; 0 for none.
        entries: u64,
    },
    /// Fill a frame with zeros.
    ClearPage {
        /// The frame.
        frame: Mfn,
    },
    /// Copy a frame.
    CopyPage {
        /// Written.
        destination: Mfn,
        /// Read.
        source: Mfn,
    },
    /// Mark a superpage; answered with `-EOPNOTSUPP`.
    MarkSuper {
        /// The first frame.
        frame: Mfn,
    },
    /// Unmark a superpage; answered with `-EOPNOTSUPP`.
    UnmarkSuper {
        /// The first frame.
        frame: Mfn,
    },
}

/// An operation's words in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MmuextWords {
    /// Command number.
    pub command: u32,
    /// Unused; Xen does not read it.
    pub padding: u32,
    /// A frame or a linear address.
    pub arg1: u64,
    /// A count, the address of a vCPU bitmap, or a frame.
    pub arg2: u64,
}

const _: () = {
    assert!(size_of::<MmuextWords>() == size_of::<mmuext_op>());
    assert!(offset_of!(MmuextWords, command) == offset_of!(mmuext_op, cmd));
    assert!(offset_of!(MmuextWords, arg1) == offset_of!(mmuext_op, arg1));
    assert!(offset_of!(MmuextWords, arg2) == offset_of!(mmuext_op, arg2));
};

impl MmuextWords {
    /// 8-byte words per operation.
    pub const WORDS: usize = 3;

    /// The operation as it lies in memory.
    #[must_use]
    pub const fn to_memory(self) -> [u64; Self::WORDS] {
        [self.command as u64 | (self.padding as u64) << 32, self.arg1, self.arg2]
    }

    /// The operation that lies in memory as `words`.
    #[must_use]
    pub const fn from_memory(words: [u64; Self::WORDS]) -> Self {
        Self { command: words[0] as u32, padding: (words[0] >> 32) as u32, arg1: words[1], arg2: words[2] }
    }
}

impl MmuextOp {
    /// Whether it does nothing but drop TLB entries.
    #[must_use]
    pub const fn is_tlb_flush(&self) -> bool {
        matches!(
            self,
            Self::TlbFlushLocal
                | Self::TlbFlushMulti { .. }
                | Self::TlbFlushAll
                | Self::InvlpgLocal { .. }
                | Self::InvlpgMulti { .. }
                | Self::InvlpgAll { .. }
        )
    }

    /// The vCPU bitmap the operation points at.
    #[must_use]
    pub const fn vcpus(&self) -> Option<&VcpuMask> {
        match self {
            Self::TlbFlushMulti { vcpus } | Self::InvlpgMulti { vcpus, .. } => Some(vcpus),
            _ => None,
        }
    }

    /// The words, given the address at which the vCPU bitmap lies, where there is one.
    #[must_use]
    pub const fn encode(&self, bitmap: u64) -> MmuextWords {
        let (command, arg1, arg2) = match *self {
            Self::Pin { level, table } => (abi::MMUEXT_PIN_L1_TABLE + level as u32 - 1, table.number(), 0),
            Self::Unpin { table } => (abi::MMUEXT_UNPIN_TABLE, table.number(), 0),
            Self::NewBaseptr { table } => (abi::MMUEXT_NEW_BASEPTR, table.number(), 0),
            Self::NewUserBaseptr { table } => (abi::MMUEXT_NEW_USER_BASEPTR, table.number(), 0),
            Self::TlbFlushLocal => (abi::MMUEXT_TLB_FLUSH_LOCAL, 0, 0),
            Self::InvlpgLocal { address } => (abi::MMUEXT_INVLPG_LOCAL, address.value(), 0),
            Self::TlbFlushMulti { .. } => (abi::MMUEXT_TLB_FLUSH_MULTI, 0, bitmap),
            Self::InvlpgMulti { address, .. } => (abi::MMUEXT_INVLPG_MULTI, address.value(), bitmap),
            Self::TlbFlushAll => (abi::MMUEXT_TLB_FLUSH_ALL, 0, 0),
            Self::InvlpgAll { address } => (abi::MMUEXT_INVLPG_ALL, address.value(), 0),
            Self::FlushCache => (abi::MMUEXT_FLUSH_CACHE, 0, 0),
            Self::FlushCacheGlobal => (abi::MMUEXT_FLUSH_CACHE_GLOBAL, 0, 0),
            Self::SetLdt { base, entries } => (abi::MMUEXT_SET_LDT, base.value(), entries),
            Self::ClearPage { frame } => (abi::MMUEXT_CLEAR_PAGE, frame.number(), 0),
            Self::CopyPage { destination, source } => (abi::MMUEXT_COPY_PAGE, destination.number(), source.number()),
            Self::MarkSuper { frame } => (abi::MMUEXT_MARK_SUPER, frame.number(), 0),
            Self::UnmarkSuper { frame } => (abi::MMUEXT_UNMARK_SUPER, frame.number(), 0),
        };
        MmuextWords { command, padding: 0, arg1, arg2 }
    }

    /// The operation with these words; `bitmap` reads the vCPU bitmap at an address.
    ///
    /// # Errors
    /// [`DecodeError::UnknownCommand`] for a number Xen does not know, [`DecodeError::Unreadable`]
    /// where `bitmap` has nothing at the address.
    pub fn decode(words: MmuextWords, bitmap: impl Fn(u64) -> Option<VcpuMask>) -> Result<Self, DecodeError> {
        let (frame, address) = (Mfn::new(words.arg1), VirtAddr::unchecked(words.arg1));
        let vcpus = || bitmap(words.arg2).ok_or(DecodeError::Unreadable(words.arg2));
        Ok(match words.command {
            abi::MMUEXT_PIN_L1_TABLE..=abi::MMUEXT_PIN_L4_TABLE => {
                Self::Pin { level: Level::ALL[words.command as usize % 4], table: frame }
            }
            abi::MMUEXT_UNPIN_TABLE => Self::Unpin { table: frame },
            abi::MMUEXT_NEW_BASEPTR => Self::NewBaseptr { table: frame },
            abi::MMUEXT_NEW_USER_BASEPTR => Self::NewUserBaseptr { table: frame },
            abi::MMUEXT_TLB_FLUSH_LOCAL => Self::TlbFlushLocal,
            abi::MMUEXT_INVLPG_LOCAL => Self::InvlpgLocal { address },
            abi::MMUEXT_TLB_FLUSH_MULTI => Self::TlbFlushMulti { vcpus: vcpus()? },
            abi::MMUEXT_INVLPG_MULTI => Self::InvlpgMulti { address, vcpus: vcpus()? },
            abi::MMUEXT_TLB_FLUSH_ALL => Self::TlbFlushAll,
            abi::MMUEXT_INVLPG_ALL => Self::InvlpgAll { address },
            abi::MMUEXT_FLUSH_CACHE => Self::FlushCache,
            abi::MMUEXT_FLUSH_CACHE_GLOBAL => Self::FlushCacheGlobal,
            abi::MMUEXT_SET_LDT => Self::SetLdt { base: address, entries: words.arg2 },
            abi::MMUEXT_CLEAR_PAGE => Self::ClearPage { frame },
            abi::MMUEXT_COPY_PAGE => Self::CopyPage { destination: frame, source: Mfn::new(words.arg2) },
            abi::MMUEXT_MARK_SUPER => Self::MarkSuper { frame },
            abi::MMUEXT_UNMARK_SUPER => Self::UnmarkSuper { frame },
            command => return Err(DecodeError::UnknownCommand { number: abi::HYPERCALL_MMUEXT_OP, command }),
        })
    }
}
