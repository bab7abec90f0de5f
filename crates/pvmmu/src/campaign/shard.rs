//! Which part of a campaign a shard does.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most shards of a campaign; more than any machine room has processors to spare.
const MOST: u32 = 100_000;

/// Shard I of N, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Shard {
    index: u32,
    of: u32,
}

/// A text that names no shard.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no shard: expected I/N, shard I of N, with 1 <= I <= N <= {MOST}, such as 2/4")]
pub(crate) struct NoShard(String);

impl Shard {
    /// Which it is, from 1.
    pub(crate) const fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    pub(crate) const fn of(self) -> u32 {
        self.of
    }

    /// This one's part of a list: the I-th and every N-th behind it, so that heavy neighbours are shared out.
    pub(crate) fn deal<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.index as usize - 1).step_by(self.of as usize).collect()
    }

    /// This one's part of `total` units in a row. Those of neighbours meet.
    pub(crate) fn stretch(self, total: u64) -> Range<u64> {
        let end = |index: u32| (u128::from(total) * u128::from(index) / u128::from(self.of)) as u64;
        end(self.index - 1)..end(self.index)
    }

    /// All of as many.
    pub(crate) fn all(of: u32) -> impl Iterator<Item = Self> {
        (1..=of).map(move |index| Self { index, of })
    }
}

/// The list of `total` whose parts these are, in the order of their shards; `Err` with the place of the first part
/// that is not as long as its share.
pub(crate) fn weave<T>(total: usize, parts: Vec<Vec<T>>) -> Result<Vec<T>, usize> {
    let of = parts.len();
    if let Some(place) = (0..of).find(|place| parts[*place].len() != total.saturating_sub(*place).div_ceil(of)) {
        return Err(place);
    }
    let mut parts: Vec<_> = parts.into_iter().map(Vec::into_iter).collect();
    Ok((0..total).filter_map(|place| parts[place % of].next()).collect())
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.of)
    }
}

impl FromStr for Shard {
    type Err = NoShard;

    fn from_str(text: &str) -> Result<Self, NoShard> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if (1..=of).contains(&index) && of <= MOST => Ok(Self { index, of }),
            _ => Err(NoShard(text.into())),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = NoShard;

    fn try_from(text: String) -> Result<Self, NoShard> {
        text.parse()
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_of_a_list_are_the_list_and_have_nothing_in_common() {
        for (length, of) in [(0, 1), (1, 1), (2, 3), (60, 4), (61, 4), (7, 7)] {
            let parts: Vec<Vec<u32>> = Shard::all(of).map(|shard| shard.deal((0..length).collect())).collect();
            assert!(parts.iter().all(|part| part.len().abs_diff(parts[0].len()) <= 1), "{parts:?}");
            assert_eq!(weave(length as usize, parts), Ok((0..length).collect()));
        }
        assert_eq!(weave(5, vec![vec![0, 2, 4], vec![1]]), Err(1));
        assert_eq!(weave(3, vec![vec![0], vec![1, 3]]), Err(0));
        assert_eq!(weave(3, vec![vec![0, 3], vec![], vec![1]]), Err(0));
    }

    #[test]
    fn stretches_meet_from_the_first_unit_to_the_last() {
        for (total, of) in [(20_000, 3), (5, 7), (u64::MAX, 1000), (0, 2)] {
            let ends: Vec<_> = Shard::all(of).map(|shard| shard.stretch(total)).collect();
            assert_eq!((ends[0].start, ends[of as usize - 1].end), (0, total));
            assert!(ends.windows(2).all(|pair| pair[0].end == pair[1].start), "{ends:?}");
        }
    }

    #[test]
    fn what_is_no_shard_is_refused() {
        assert_eq!("2/4".parse::<Shard>().unwrap().to_string(), "2/4");
        for text in ["", "1", "0/4", "5/4", "1/0", "0/0", "-1/4", "a/4", "1/4/4", "1/ 4", "1/100001", "1/99999999999"] {
            assert_eq!(text.parse::<Shard>(), Err(NoShard(text.into())));
        }
    }
}
