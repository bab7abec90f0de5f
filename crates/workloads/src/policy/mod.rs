//! The ways of doing what is wanted.

mod linux;
mod peer;
mod pv_mmu;
mod queue;
mod raw;
mod single;

pub use self::linux::Buffer as LinuxBuffer;
use self::{
    linux::Linux,
    peer::Played,
    pv_mmu::PvMmu,
    queue::{FreeBsd, Libxc, NetBsd},
    raw::Raw,
    single::Single,
};
use crate::{Error, Gathered, Ground, Job};

/// A way by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// This library.
    PvMmu,
    /// Linux 6.1's.
    Linux,
    /// NetBSD's: 2048 updates, and everything else hands them over first.
    NetBsd,
    /// FreeBSD's: the same with 128.
    FreeBsd,
    /// That of Xen's own tools: the same with 1024.
    Libxc,
    /// No queue: each operation a hypercall of its own.
    Single,
    /// The limit of updating: what is to be handed over is there already.
    Raw,
}

impl Policy {
    /// All there are.
    pub const ALL: [Self; 7] =
        [Self::PvMmu, Self::Linux, Self::NetBsd, Self::FreeBsd, Self::Libxc, Self::Single, Self::Raw];

    /// Has its way visited.
    pub fn visit<G: Ground, V: Visit<G>>(self, visit: V) -> V::Answer {
        match self {
            Self::PvMmu => visit.way::<PvMmu<G::Memory>>(),
            Self::Linux => visit.way::<Played<Linux>>(),
            Self::NetBsd => visit.way::<Played<NetBsd>>(),
            Self::FreeBsd => visit.way::<Played<FreeBsd>>(),
            Self::Libxc => visit.way::<Played<Libxc>>(),
            Self::Single => visit.way::<Played<Single>>(),
            Self::Raw => visit.way::<Raw>(),
        }
    }

    /// What it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PvMmu => "pv-mmu",
            Self::Linux => "linux",
            Self::NetBsd => "netbsd",
            Self::FreeBsd => "freebsd",
            Self::Libxc => "libxc",
            Self::Single => "single",
            Self::Raw => "raw",
        }
    }
}

/// What is to be done with a policy's way, whatever type it is of.
pub trait Visit<G: Ground> {
    /// What comes of it.
    type Answer;

    /// Does it.
    fn way<W: Way<G>>(self) -> Self::Answer;
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
