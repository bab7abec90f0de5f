//! What the first steps share.
#![forbid(unsafe_code)]

pub mod kernel;
