//! Random guests: whatever they ask, counts stay right, nothing panics, and equal programs have
//! equal ends: run again, or asked as raw words instead of typed calls.

mod guest;
mod invariants;
mod raw;
mod threads;
mod wish;
