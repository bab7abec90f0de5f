//! What a program's values stand for: once to see what it names, once per step to lay its arguments
//! out.

use hypercall::PAGE_SHIFT;

use super::room::{Place, Room};
use super::world::{FrameSet, World};
use crate::arena::{ARGUMENT_WORDS, page_at};
use crate::code::{Plain, Values};
use crate::frame::Frame;
use crate::machine::Machine;

/// Reads a step only to learn which frames it names and whether its buffers have room.
pub(crate) struct Scan {
    pub(crate) named: FrameSet,
    pub(crate) room: Room,
}

impl Values for Scan {
    fn plain(&mut self, plain: Plain) -> u64 {
        match plain {
            Plain::Mfn(frame) | Plain::Page(frame, _) | Plain::Word(frame, ..) => self.named.add(frame),
            Plain::Literal(address) => page_at(address).into_iter().for_each(|page| self.named.add(page.into())),
        }
        0
    }

    fn open(&mut self, words: usize, edge: bool) -> Option<usize> {
        self.room.open(words, edge)
    }

    fn set(&mut self, _index: usize, _word: u64) {}
}

/// The arguments of one step as they were laid out.
#[derive(Debug)]
pub(crate) struct Written {
    words: [u64; ARGUMENT_WORDS],
    pub(crate) room: Room,
    /// A frame it names that the machine does not have, or in which it looks for what machines differ in.
    pub(crate) missing: Option<Frame>,
}

impl Written {
    pub(crate) const fn new() -> Self {
        Self { words: [0; ARGUMENT_WORDS], room: Room::new(), missing: None }
    }

    /// Word `index` as the interpreter laid it out.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// Word `index` has changed since.
    pub(crate) fn note(&mut self, index: usize, word: u64) {
        if let Some(place) = self.words.get_mut(index) {
            *place = word;
        }
    }

    /// Empties the last step's buffers, so that an array that is too long runs into zeros.
    pub(crate) fn clear(&mut self, machine: &mut impl Machine) {
        for Place { first, words } in self.room.places() {
            for index in *first..first + words {
                machine.put_argument(index, 0);
                if let Some(word) = self.words.get_mut(index) {
                    *word = 0;
                }
            }
        }
        (self.room, self.missing) = (Room::new(), None);
    }
}

/// Lays a step's arguments out.
pub(crate) struct Layout<'a, M> {
    pub(crate) machine: &'a mut M,
    pub(crate) world: &'a World,
    pub(crate) written: &'a mut Written,
}

impl<M: Machine> Layout<'_, M> {
    fn mfn(&mut self, frame: Frame) -> u64 {
        let mfn = self.world.mfn(frame);
        if mfn.is_none() {
            self.written.missing = Some(frame);
        }
        mfn.map_or(0, hypercall::Mfn::number)
    }
}

impl<M: Machine> Values for Layout<'_, M> {
    fn plain(&mut self, plain: Plain) -> u64 {
        match plain {
            Plain::Literal(number) => number,
            Plain::Mfn(frame) => self.mfn(frame),
            Plain::Page(frame, offset) => (self.mfn(frame) << PAGE_SHIFT).wrapping_add(offset),
            Plain::Word(frame, index, flipped) => {
                let word = self.world.load(frame, index);
                if !self.world.is_portable(index, word) {
                    self.written.missing = Some(frame);
                }
                word ^ flipped
            }
        }
    }

    fn open(&mut self, words: usize, edge: bool) -> Option<usize> {
        self.written.room.open(words, edge)
    }

    fn set(&mut self, index: usize, word: u64) {
        self.machine.put_argument(index, word);
        self.written.note(index, word);
    }
}
