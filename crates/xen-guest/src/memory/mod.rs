//! The kernel's memory: which machine frame is where, its own page tables, pages for use as tables,
//! and accesses that may fault.

pub mod p2m;
pub mod pages;
pub mod probe;
pub mod tables;
pub mod types;

pub use pages::{Page, take_page};
pub use probe::{Fault, load};
