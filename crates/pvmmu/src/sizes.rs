//! How many operations hypercalls carry.

use std::collections::BTreeMap;

/// Hypercalls by the number of their operations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchSizes(BTreeMap<u64, u64>);

/// Hypercalls whose numbers of operations lie between two powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bucket {
    /// The fewest operations that count here, a power of two; up to the next one they do.
    pub(crate) from: u64,
    /// How many hypercalls.
    pub(crate) hypercalls: u64,
}

impl BatchSizes {
    /// A hypercall of so many operations.
    pub(crate) fn count(&mut self, operations: u64) {
        self.count_all(operations, 1);
    }

    /// Several of them.
    pub(crate) fn count_all(&mut self, operations: u64, hypercalls: u64) {
        *self.0.entry(operations).or_default() += hypercalls;
    }

    /// The most operations in one hypercall, 0 if there was none.
    pub(crate) fn largest(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(operations, _)| *operations)
    }

    /// In buckets, from 1 operation on up to the largest; a hypercall of none counts with those of one.
    pub(crate) fn buckets(&self) -> Vec<Bucket> {
        let powers = std::iter::successors(Some(1u64), |from| from.checked_mul(2));
        let bucket = |from: u64| {
            let least = if from == 1 { 0 } else { from };
            let within = self.0.range(least..from.saturating_mul(2));
            Bucket { from, hypercalls: within.map(|(_, hypercalls)| hypercalls).sum() }
        };
        powers.take_while(|from| *from <= self.largest()).map(bucket).collect()
    }
}

impl Bucket {
    /// The sizes that count here.
    pub(crate) fn label(&self) -> String {
        if self.from == 1 { "1".into() } else { format!("{}\u{2013}{}", self.from, self.from * 2 - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_end_where_the_next_power_begins() {
        let mut sizes = BatchSizes::default();
        [1, 1, 2, 3, 4, 9].into_iter().for_each(|size| sizes.count(size));
        let counts: Vec<_> = sizes.buckets().iter().map(|bucket| (bucket.label(), bucket.hypercalls)).collect();
        let labels = ["1", "2\u{2013}3", "4\u{2013}7", "8\u{2013}15"].map(String::from);
        assert_eq!(counts, labels.into_iter().zip([2, 2, 1, 1]).collect::<Vec<_>>());
        assert_eq!((sizes.largest(), BatchSizes::default().buckets()), (9, vec![]));
    }
}
