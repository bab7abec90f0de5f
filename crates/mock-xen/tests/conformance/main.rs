//! The measured answers of Xen 4.17, case by case, through the raw interface.
//!
//! Each test bears the numbers of the cases it holds in the conformance table of the project's
//! notes on Xen; data pages are called A to D and the window page W there and here. Cases that no
//! lone guest can show (65, and 163, which needs a guest's stack) are not here; what the mock does
//! not model is in `unmodelled`.

mod access;
mod arrays;
mod dom0;
mod hypervisor;
mod l1;
mod linear;
mod mmuext;
mod multicall;
mod other_calls;
mod pins;
mod plain;
mod preemption;
mod registers;
mod tlb;
mod unmodelled;
mod unprivileged;
mod upper;
mod va_mapping;
mod vcpus;
mod walker;
