//! A user-space Xen 4.17 for the page-table hypercalls of one privileged PV guest, with the guest's
//! memory, and the judge of what a guest's batching makes of its wishes.
//!
//! A [`GuestBuilder`] lays out frames, page tables and a direct map; [`MockXen`] is the machine that
//! results. It is called in two ways that give the same answers: as raw words whose pointers lead
//! into guest memory ([`MockXen::hypercall`]), and as the typed calls of [`hypercall::Hypervisor`]
//! ([`MockXen::vcpu`]). Answers, done counts, what is left in memory and in argument words are
//! Xen's own. What real Xen would do and this mock cannot is never guessed: see [`NotModelled`].
//!
//! Every operation that arrives is told to a [`Witness`], and [`MockXen::audit`] recounts all
//! references from what refers. The crate depends on `hypercall` for types and numbers only: it
//! decodes raw words itself, so that it shares nothing with what it judges.
//!
//! ```
//! use hypercall::{Errno, Hypervisor, Level, MmuUpdate, Pte, PteFlags, Subject, VcpuId};
//! use mock_xen::GuestBuilder;
//!
//! let mut builder = GuestBuilder::new(1);
//! let page = builder.new_frame();
//! let xen = builder.build().unwrap();
//!
//! let vcpu = VcpuId::new(0);
//! let slot = xen.slot_of(vcpu, xen.direct_map(page).unwrap(), Level::L1).unwrap();
//! let root = xen.processor(vcpu).base;
//! let writable = MmuUpdate::new(slot, Pte::new(root, PteFlags::PRESENT | PteFlags::RW));
//! let outcome = xen.vcpu(vcpu).mmu_update(&[writable], Subject::SELF);
//! assert_eq!(outcome.result, Err(Errno::BUSY), "a page table is never mapped writable");
//! ```
#![forbid(unsafe_code)]

mod access;
mod audit;
mod builder;
mod calls;
mod domain;
mod frames;
mod guest;
mod machine;
mod memento;
mod memory;
mod mock;
mod not_modelled;
mod planted;
pub mod referee;
mod running;
mod schedule;
pub mod testing;
mod tlb;
mod validate;
mod vcpu;
mod walker;
mod witness;

pub use access::AccessError;
pub use audit::{AuditFailure, Miscount, StaleTranslation};
pub use builder::{BuildError, GuestBuilder};
pub use frames::{FrameType, FrameView, Layout, Owner};
pub use guest::StoreError;
pub use memento::Kept;
pub use memory::HostMemory;
pub use mock::{Left, MockXen};
pub use not_modelled::{NotModelled, NotModelledEvent};
pub use planted::Fault;
pub use schedule::{Once, PreemptPoint, Recorded, Schedule, Seeded, Step};
pub use tlb::TlbEntry;
pub use vcpu::{MockVcpu, VcpuState};
pub use walker::{SeededWalker, Walker};
pub use witness::Witness;
