//! Choices between the requests that an arrival, a cut or a report may stand for.
//!
//! Protocol. Ways are counted from the likeliest on, which is taken unless [`Choices::follow`] was told otherwise. While
//! nothing is followed, nothing is noted: then there is no doubt that choices could be looked at for again.

use std::collections::BTreeMap;
use std::sync::Arc;

use hypercall::VcpuId;

use super::Moment;

/// Which choice: when it is made, for which vCPU's requests, and the how manieth then.
pub(super) type Place = (Moment, VcpuId, usize);

/// What is chosen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// For how many writes of its entry an arrival stands.
    Count,
    /// For how many one stands that was not looked at.
    Cut,
    /// Which of several requests, or chains of writes, is meant.
    Equals,
    /// Whether, and where, writes stand behind some that will not be attempted.
    Narrowing,
    /// Which TLB flushes are meant.
    Flushes,
    /// Whether what is overtaken will not be attempted.
    Order,
}

/// How choices are made.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    /// Bit n: of the n-th kind of choice, the second way is taken rather than the likeliest.
    pub(super) second: u8,
    /// Where another is taken.
    pub(super) others: BTreeMap<Place, usize>,
}

impl Way {
    /// Those that go by one rule everywhere.
    pub(super) fn plain() -> impl Iterator<Item = Self> {
        let kinds = 1 << Of::Count as u8 | 1 << Of::Cut as u8 | 1 << Of::Equals as u8;
        (1..=kinds).map(|second| Self { second, others: BTreeMap::new() })
    }

    /// What is chosen at `place`, of `ways` ways.
    pub(super) fn at(&self, place: &Place, of: Of, ways: usize) -> usize {
        let plain = usize::from(self.second >> of as u8 & 1);
        self.others.get(place).copied().filter(|way| *way < ways).unwrap_or(plain)
    }
}

/// The same, for all vCPUs.
pub(super) type Ways = Arc<Way>;

/// A choice that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Made {
    pub(super) place: Place,
    pub(super) ways: usize,
    pub(super) taken: usize,
}

/// One vCPU's.
#[derive(Clone, Debug, Default)]
pub(super) struct Choices {
    follows: Option<Ways>,
    now: Moment,
    count: usize,
    /// Those that were made.
    pub(super) made: Vec<Made>,
}

impl Choices {
    /// From now on choices are made by `ways`, and noted; by themselves if there are none.
    pub(super) fn follow(&mut self, ways: Option<Ways>) {
        self.follows = ways;
        self.made.clear();
    }

    /// What is chosen from now on is chosen at `now`.
    pub(super) fn at(&mut self, now: Moment) {
        if self.now != now {
            (self.now, self.count) = (now, 0);
        }
    }

    /// One of `ways` ways, from 0 on.
    pub(super) fn choose(&mut self, vcpu: VcpuId, of: Of, ways: usize) -> usize {
        let Some(follows) = self.follows.as_ref().filter(|_| ways > 1) else { return 0 };
        let place = (self.now, vcpu, self.count);
        self.count += 1;
        let taken = follows.at(&place, of, ways);
        self.made.push(Made { place, ways, taken });
        taken
    }
}
