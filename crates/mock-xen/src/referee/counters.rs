//! How many operations met which fate.

use core::ops::AddAssign;

/// What became of the operations asked for.
///
/// `asked` is the sum of `applied`, `failed`, `not_attempted`, `merged`, `superseded`, `overdue` and
/// what is still pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Operations asked for.
    pub asked: u64,
    /// Operations that arrived, asked for or not, those never looked at left out. Attempts are counted: a TLB flush that is
    /// issued again behind what a refusal had held up arrives twice.
    pub arrivals: u64,
    /// Arrived and applied.
    pub applied: u64,
    /// Arrived and refused, or reported as failed without having arrived.
    pub failed: u64,
    /// Reported as not attempted.
    pub not_attempted: u64,
    /// L1 updates whose effect a later update of the same entry carried.
    pub merged: u64,
    /// TLB flushes that another flush made needless.
    pub superseded: u64,
    /// Not effective when they had to be.
    pub overdue: u64,
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.asked += other.asked;
        self.arrivals += other.arrivals;
        self.applied += other.applied;
        self.failed += other.failed;
        self.not_attempted += other.not_attempted;
        self.merged += other.merged;
        self.superseded += other.superseded;
        self.overdue += other.overdue;
    }
}

impl Counters {
    /// Operations that met their fate.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.applied + self.failed + self.not_attempted + self.merged + self.superseded + self.overdue
    }
}
