//! From a frame number to a position, for numbers that lie far apart.

use hypercall::Mfn;

/// Frame numbers per leaf.
const LEAF: usize = 1024;

/// Two levels of arrays; absent leaves cost one word.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Position plus one, so that 0 means that the number is not there.
    leaves: Vec<Option<Box<[u32; LEAF]>>>,
}

impl Directory {
    /// The directory in which the n-th number of `mfns` has position n. Each number occurs once.
    pub(crate) fn of(mfns: impl Iterator<Item = Mfn>) -> Self {
        let mut leaves: Vec<Option<Box<[u32; LEAF]>>> = Vec::new();
        for (position, mfn) in (1..).zip(mfns) {
            let (leaf, index) = split(mfn);
            if leaves.len() <= leaf {
                leaves.resize(leaf + 1, None);
            }
            leaves[leaf].get_or_insert_with(|| Box::new([0; LEAF]))[index] = position;
        }
        Self { leaves }
    }

    /// The position of `mfn`.
    #[inline]
    pub(crate) fn position(&self, mfn: Mfn) -> Option<usize> {
        let (leaf, index) = split(mfn);
        let position = self.leaves.get(leaf)?.as_ref()?[index];
        position.checked_sub(1).map(|position| position as usize)
    }
}

const fn split(mfn: Mfn) -> (usize, usize) {
    (mfn.number() as usize / LEAF, mfn.number() as usize % LEAF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_far_apart_have_their_positions_and_no_others() {
        let numbers = [0x1000, 0, 0xff_ffff, 0x1001];
        let directory = Directory::of(numbers.into_iter().map(Mfn::new));
        for (position, number) in numbers.into_iter().enumerate() {
            assert_eq!(directory.position(Mfn::new(number)), Some(position));
        }
        for absent in [1, 0x1002, 0x100_0000, u64::MAX >> 12] {
            assert_eq!(directory.position(Mfn::new(absent)), None);
        }
    }
}
