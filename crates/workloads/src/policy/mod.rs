//! The ways of doing what is wanted.

mod linux;
mod pv_mmu;
mod raw;
mod single;

pub(crate) use self::{linux::Linux, pv_mmu::PvMmu, raw::Raw, single::Single};
use crate::{Error, Gathered, Ground, Job};

/// A way by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// This library.
    PvMmu,
    /// Linux 6.1's.
    Linux,
    /// No queue: each operation a hypercall of its own.
    Single,
    /// The limit of updating: one array that is there already, one call.
    Raw,
}

impl Policy {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::PvMmu, Self::Linux, Self::Single, Self::Raw];

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PvMmu => "pv-mmu",
            Self::Linux => "linux",
            Self::Single => "single",
            Self::Raw => "raw",
        }
    }
}

/// A way of doing what is wanted; whatever it keeps between its three steps.
pub trait Way<G: Ground>: Sized {
    /// Gets what it keeps ready. Not measured: for what exists once, such as a vCPU's buffers.
    ///
    /// # Errors
    /// [`Error`].
    fn prepare(job: &Job, ground: &G) -> Result<Self, Error>;

    /// Does the work. What entries held goes to `gathered`, in their order.
    ///
    /// # Errors
    /// [`Error`].
    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error>;

    /// What is left for the state after the work. Not measured: a way that leaves anything is none to live by.
    ///
    /// # Errors
    /// [`Error`].
    fn finish(self, _: &Job, _: &G, _: &mut Gathered) -> Result<(), Error> {
        Ok(())
    }
}
