//! A policy's work as a function of its own, so that a profiler can tell it from what comes before and after.

use workloads::{Error, Gathered, Ground, Job, Policy, Visit, Way, Workload, once_by};

/// One run of a workload.
#[derive(Debug)]
pub struct Apart<'g, G> {
    /// Which.
    pub workload: Workload,
    /// On what.
    pub ground: &'g G,
}

impl<G: Ground> Apart<'_, G> {
    /// Runs it once: what it took, by the ground's clock.
    ///
    /// # Errors
    /// [`Error`]: the policy has no way of doing it here.
    pub fn once(self, policy: Policy) -> Result<u64, Error> {
        policy.visit(self)
    }
}

impl<G: Ground> Visit<G> for Apart<'_, G> {
    type Answer = Result<u64, Error>;

    fn way<W: Way<G>>(self) -> Self::Answer {
        let Self { workload, ground } = self;
        once_by::<Alone<W>, G, _, _>(workload, ground, || ground.ticks(), |before| ground.ticks() - before)
    }
}

/// A way whose work is not inlined: the benchmark of instructions counts within `Alone::work`, by that name.
struct Alone<W>(W);

impl<W: Way<G>, G: Ground> Way<G> for Alone<W> {
    fn prepare(job: &Job, ground: &G) -> Result<Self, Error> {
        W::prepare(job, ground).map(Self)
    }

    #[inline(never)]
    fn work(&mut self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        self.0.work(job, ground, gathered)
    }

    fn finish(self, job: &Job, ground: &G, gathered: &mut Gathered) -> Result<(), Error> {
        self.0.finish(job, ground, gathered)
    }
}
