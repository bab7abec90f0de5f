//! The MMU services of a sun4v hypervisor for a few virtual processors, and what their translations may be.
//!
//! A processor translates by its TLB, refills that from the TSB (a table in the guest's memory, which the hardware may walk), and where
//! that has nothing, the guest fills both from its page tables. When any of this happens is nobody's to say, so
//! [`Sun4v`] keeps *all that may have happened*: for each page, what the TSB may hold and what each TLB may hold. A store of a valid
//! entry may be in both at once. A TSB entry that is invalidated may be filled again from the page table at once; a TLB entry that is
//! demapped may be filled again from whatever the TSB may hold. Who demaps first and invalidates the TSB then has done
//! neither.
//!
//! Calls are decoded from raw words and answered as the hypervisor of the UltraSPARC T2 answers them, which checks its arguments
//! (the T1's release build does not): `ENOTSUPPORTED` before anything else, then address, context and flags. Services that are not
//! modelled answer [`NotModelled`], which no hypervisor does.
#![forbid(unsafe_code)]

mod call;
mod state;

pub use call::{Answer, NotModelled, Status, Trap};
pub use state::{Fault, Page, Stale, Sun4v};
