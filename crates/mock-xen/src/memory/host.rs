//! Arguments in the memory of the program that runs the mock.

use hypercall::{ArgumentMemory, MmuUpdate};

use super::ArgumentSource;

/// A prepared call brings its arguments along, at addresses of the program's own.
impl ArgumentSource for ArgumentMemory<'_> {
    fn may_start_at(&self, _address: u64) -> bool {
        true
    }

    fn read<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
            *word = ArgumentMemory::read(self, address.checked_add(offset)?)?;
        }
        Some(words)
    }

    fn can_read(&self, address: u64, bytes: u64) -> bool {
        (0..bytes).step_by(8).all(|offset| ArgumentMemory::read(self, address.wrapping_add(offset)).is_some())
    }

    fn read_done(&self, address: u64) -> Option<u32> {
        ArgumentMemory::read_done(self, address)
    }

    fn write_done(&mut self, address: u64, done: u32) -> Option<()> {
        ArgumentMemory::write_done(self, address, done)
    }

    /// A batch has no memory that Xen writes words into: multicall entries lie beside it.
    fn write(&mut self, _address: u64, _words: &[u64]) -> Option<()> {
        None
    }
}

/// A slice of updates and a done count, at made-up addresses.
#[derive(Debug)]
pub(crate) struct SliceMemory<'a> {
    pub(crate) updates: &'a [MmuUpdate],
    pub(crate) done: u32,
}

impl SliceMemory<'_> {
    /// Where the updates lie.
    pub(crate) const UPDATES: u64 = 0x1000;
    /// Where the done count lies.
    pub(crate) const DONE: u64 = 8;

    fn word(&self, address: u64) -> Option<u64> {
        let position = address.checked_sub(Self::UPDATES)? / 8;
        let update = self.updates.get(position as usize / 2)?;
        Some(if position.is_multiple_of(2) { update.slot.bits() } else { update.value })
    }
}

impl ArgumentSource for SliceMemory<'_> {
    fn may_start_at(&self, _address: u64) -> bool {
        true
    }

    fn read<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
            *word = self.word(address.checked_add(offset)?)?;
        }
        Some(words)
    }

    /// Only updates lie here.
    fn can_read(&self, _address: u64, bytes: u64) -> bool {
        bytes == 0
    }

    fn read_done(&self, address: u64) -> Option<u32> {
        (address == Self::DONE).then_some(self.done)
    }

    fn write_done(&mut self, address: u64, done: u32) -> Option<()> {
        (address == Self::DONE).then(|| self.done = done)
    }

    fn write(&mut self, _address: u64, _words: &[u64]) -> Option<()> {
        None
    }
}
