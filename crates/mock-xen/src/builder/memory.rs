//! The guest's memory while it is declared: pairs of frame numbers, in the order of declaration.

use std::collections::BTreeSet;

use hypercall::{Mfn, Pfn};

use super::BuildError;
use crate::frames::Layout;

/// Where the first frame lies when none was declared.
const FIRST: u64 = 0x1000;

/// The pairs.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pairs: Vec<(Pfn, Mfn)>,
    next_pfn: u64,
    next_mfn: u64,
}

impl Memory {
    pub(super) fn declare(&mut self, pfn: Pfn, mfn: Mfn) {
        self.pairs.push((pfn, mfn));
        self.next_pfn = self.next_pfn.max(pfn.number() + 1);
        self.next_mfn = self.next_mfn.max(mfn.number() + 1);
    }

    /// Declares one frame more, with numbers above all declared so far.
    pub(super) fn add_frame(&mut self) -> Mfn {
        let first = if self.next_mfn == 0 { FIRST } else { self.next_mfn };
        let mfn = Layout::first_memory(Mfn::new(first), 1);
        self.declare(Pfn::new(self.next_pfn), mfn);
        mfn
    }

    pub(super) fn get(&self, index: usize) -> Option<(Pfn, Mfn)> {
        self.pairs.get(index).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Pfn, Mfn)> {
        self.pairs.iter().copied()
    }

    /// The first machine frame number behind all.
    pub(super) const fn end(&self) -> Mfn {
        Mfn::new(self.next_mfn)
    }

    /// # Errors
    /// A number that occurs twice or cannot be memory.
    pub(super) fn check(&self) -> Result<(), BuildError> {
        let (mut pfns, mut mfns) = (BTreeSet::new(), BTreeSet::new());
        for (pfn, mfn) in self.iter() {
            if !Layout::can_be_memory(mfn) {
                return Err(BuildError::NotMemory(mfn));
            }
            if !mfns.insert(mfn) {
                return Err(BuildError::MfnTwice(mfn));
            }
            if !pfns.insert(pfn) {
                return Err(BuildError::PfnTwice(pfn));
            }
        }
        Ok(())
    }
}
