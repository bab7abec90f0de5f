//! What a batcher answers.

use hypercall::{Errno, Operation};

/// An operation that is not effective, and that the guest has been told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The operation, as asked or as merged.
    pub operation: Operation,
    /// Why it was refused; `None` if it was not attempted.
    pub errno: Option<Errno>,
}

/// A batcher's answer to a call: whether it took the call, and what it reports as failed.
///
/// It is made from what batchers return: from `()` and from a list of failures, the call was taken; from a
/// `bool`, if that is true; from a `Result`, if that is `Ok`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the call was taken.
    pub accepted: bool,
    /// The operations reported as failed.
    pub failures: Vec<Failed>,
}

impl From<bool> for Answer {
    fn from(accepted: bool) -> Self {
        Self { accepted, failures: Vec::new() }
    }
}

impl From<()> for Answer {
    fn from((): ()) -> Self {
        true.into()
    }
}

impl<T, E> From<Result<T, E>> for Answer {
    fn from(result: Result<T, E>) -> Self {
        result.is_ok().into()
    }
}

impl From<Vec<Failed>> for Answer {
    fn from(failures: Vec<Failed>) -> Self {
        Self { accepted: true, failures }
    }
}
