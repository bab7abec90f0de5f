//! Room for a step's buffers in the arguments.
//!
//! Buffers are laid out one behind the other, from behind the words that the interpreter keeps for
//! its own calls; one that is to lie at the edge ends where the arguments end. All are forgotten
//! when the next step starts.

use crate::arena::ARGUMENT_WORDS;

/// Words at the start of the arguments for the interpreter's own calls.
pub(crate) const OWN_WORDS: usize = 64;
/// Most buffers of one step.
const BUFFERS: usize = 64;

/// Where a buffer lies, in words of the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) first: usize,
    pub(crate) words: usize,
}

/// The buffers of one step, in the order in which they were opened.
#[derive(Debug)]
pub(crate) struct Room {
    low: usize,
    high: usize,
    places: [Place; BUFFERS],
    count: usize,
}

impl Room {
    pub(crate) const fn new() -> Self {
        Self { low: OWN_WORDS, high: ARGUMENT_WORDS, places: [Place { first: 0, words: 0 }; BUFFERS], count: 0 }
    }

    /// Room for a buffer; answers with its first word.
    pub(crate) fn open(&mut self, words: usize, edge: bool) -> Option<usize> {
        let left = self.high - self.low;
        let at_edge = edge && self.high == ARGUMENT_WORDS;
        if words > left || edge && !at_edge {
            return None;
        }
        let place = self.places.get_mut(self.count)?;
        let first = if edge { self.high - words } else { self.low };
        *place = Place { first, words };
        self.count += 1;
        if edge {
            self.high = first;
        } else {
            self.low += words;
        }
        Some(first)
    }

    /// Every buffer.
    pub(crate) fn places(&self) -> &[Place] {
        self.places.get(..self.count).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_behind_each_other_and_at_the_edge() {
        let mut room = Room::new();
        assert_eq!(room.open(3, false), Some(OWN_WORDS));
        assert_eq!(room.open(2, true), Some(ARGUMENT_WORDS - 2));
        assert_eq!(room.open(1, false), Some(OWN_WORDS + 3));
        assert_eq!(room.open(1, true), None, "there is one edge");
        assert_eq!(room.open(ARGUMENT_WORDS, false), None);
        assert_eq!(room.places().len(), 3);
    }

    #[test]
    fn there_is_an_end_to_buffers() {
        let mut room = Room::new();
        assert_eq!((0..=BUFFERS).filter(|_| room.open(1, false).is_some()).count(), BUFFERS);
    }
}
