//! The measured answers of Xen 4.17, case by case, through the raw interface.
//!
//! Each test bears the numbers of the cases it holds in the conformance table of the project's
//! notes on Xen; data pages are called A to D and the window page W there and here. Cases that need
//! what the mock does not model are in `unmodelled`; those that need events are not here.

mod arrays;
mod dom0;
mod l1;
mod mmuext;
mod multicall;
mod pins;
mod plain;
mod registers;
mod unmodelled;
mod upper;
mod va_mapping;
