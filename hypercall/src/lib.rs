//! The Xen PV hypercall interface for page tables: its types and numbers, typed operations and
//! their words, and the trait through which a hypervisor is called.
//!
//! What flows through here: a guest's [`Operation`]s are laid out by a [`Batch`] as the words Xen's
//! ABI defines, a [`Hypervisor`] is handed the prepared calls, and each call's [`Outcome`] says how
//! many operations were done before the first was refused. A hypervisor may be the real one, a
//! mock, or one of those kept here for tests and measurements: [`Null`] does nothing, [`Recorder`] writes down what
//! passes to another, [`FaultAt`] refuses one operation.
//!
//! The crate allocates nothing, keeps no statics and does not panic. It is the only place of the
//! workspace that names `xen-sys`, of which it uses types and numbers, never functions.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod abi;
mod address;
mod batch;
mod context;
mod domain;
mod errno;
mod fault;
mod hypervisor;
mod mmuext;
mod null;
mod operation;
mod prepared;
mod pte;
mod recorder;
mod span;
mod update;
mod vcpu;
#[cfg(feature = "xen")]
pub mod xen;

pub use address::{AddressError, MachAddr, Mfn, PAGE_SHIFT, PAGE_SIZE, Pfn, VirtAddr};
pub use batch::{Batch, BatchFull};
pub use context::{InterruptContext, SwitchContext, TaskContext};
pub use domain::{DomId, Subject};
pub use errno::Errno;
pub use fault::FaultAt;
pub use hypervisor::{Hypervisor, Outcome, issue_operation};
pub use mmuext::{MmuextOp, MmuextWords};
pub use null::Null;
pub use operation::{DecodeError, FlushScope, GdtFrames, Operation, RawCall, SegmentBase, VaFlush};
pub use prepared::{ArgumentMemory, PreparedCall, PreparedCalls};
pub use pte::{ENTRIES_PER_TABLE, Level, Pte, PteFlags};
pub use recorder::{Record, Recorder};
pub use span::{Entry, EntryKind};
pub use update::{MmuUpdate, PteSlot, UpdateCommand};
pub use vcpu::{VcpuId, VcpuMask};
