//! Why a guest cannot be built.

use hypercall::{Errno, Level, Mfn, Pfn, VcpuId, VirtAddr};

/// A contradiction in what a [`GuestBuilder`](crate::GuestBuilder) was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Not 1 to 128.
    #[error("{0} vCPUs: a guest has 1 to 128")]
    VcpuCount(u32),
    /// A vCPU beyond the guest's.
    #[error("`{0}` was given a base pointer: the guest has no such vCPU")]
    NoSuchVcpu(VcpuId),
    /// A vCPU that cannot be offline: the one the guest boots on, or one with a base pointer.
    #[error("`{0}` cannot be offline: it boots the guest or was given a base pointer")]
    Offline(VcpuId),
    /// A machine frame number that was declared twice.
    #[error("`{0}` was declared twice")]
    MfnTwice(Mfn),
    /// A pseudo-physical frame number that was declared twice.
    #[error("`{0}` was declared twice")]
    PfnTwice(Pfn),
    /// A machine frame number at which the machine has devices, or none at all.
    #[error("`{0}` cannot be memory: take numbers from 0x100 up to 2^28 without 0xfec00 to 0xfffff")]
    NotMemory(Mfn),
    /// A frame that was used before it was declared as memory.
    #[error("`{0}` was given contents or a use but not declared as memory")]
    NotDeclared(Mfn),
    /// A word outside a page.
    #[error("`{mfn}` was given a word {index}: a page has words 0 to 511")]
    NoSuchWord {
        /// The frame.
        mfn: Mfn,
        /// The word.
        index: usize,
    },
    /// A pin or a base pointer for a frame that was not declared a table of the right level.
    #[error("`{mfn}` is used as a table of {wanted:?} but declared as {declared:?}")]
    NotATable {
        /// The frame.
        mfn: Mfn,
        /// The level the use asks for; `None` for any.
        wanted: Option<Level>,
        /// The level declared.
        declared: Option<Level>,
    },
    /// The direct map does not lie in the guest's range.
    #[error("a direct map at `{0}` reaches into Xen's range or beyond the last address")]
    DirectMap(VirtAddr),
    /// The tables as declared are refused by Xen's rules.
    #[error("`{table}` cannot be used as declared: Xen refuses its contents with {errno}")]
    Refused {
        /// The table that was pinned or loaded.
        table: Mfn,
        /// Xen's answer.
        errno: Errno,
    },
}
