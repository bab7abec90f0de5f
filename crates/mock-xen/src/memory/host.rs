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

/// Memory of the program that plays the guest, by addresses of its own: for a guest in another language, whose arguments are
/// pointers ([`MockXen::hypercall_from`](crate::MockXen::hypercall_from)).
pub trait HostMemory {
    /// The word at `address`, a multiple of 8; `None` where nothing can be read.
    fn load(&self, address: u64) -> Option<u64>;

    /// Stores a word at `address`, a multiple of 8; `None` where that cannot be.
    fn store(&mut self, address: u64, word: u64) -> Option<()>;

    /// The done count at `address`, a multiple of 4.
    fn load_count(&self, address: u64) -> Option<u32>;

    /// Stores a done count at `address`, a multiple of 4; `None` where that cannot be.
    fn store_count(&mut self, address: u64, count: u32) -> Option<()>;
}

/// Such memory as arguments lie in. Xen takes addresses that are no multiples; a program's pointers are.
#[derive(Debug)]
pub(crate) struct Lent<'m, M>(pub(crate) &'m mut M);

impl<M: HostMemory> ArgumentSource for Lent<'_, M> {
    fn may_start_at(&self, address: u64) -> bool {
        address != 0
    }

    fn read<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
            *word = self.0.load(address.checked_add(offset).filter(|at| at.is_multiple_of(8))?)?;
        }
        Some(words)
    }

    fn can_read(&self, address: u64, bytes: u64) -> bool {
        (0..bytes).step_by(8).all(|offset| self.read::<1>(address.wrapping_add(offset)).is_some())
    }

    fn read_done(&self, address: u64) -> Option<u32> {
        if address.is_multiple_of(4) { self.0.load_count(address) } else { None }
    }

    fn write_done(&mut self, address: u64, done: u32) -> Option<()> {
        if address.is_multiple_of(4) { self.0.store_count(address, done) } else { None }
    }

    fn write(&mut self, address: u64, words: &[u64]) -> Option<()> {
        for (word, offset) in words.iter().zip((0..).step_by(8)) {
            self.0.store(address.checked_add(offset).filter(|at| at.is_multiple_of(8))?, *word)?;
        }
        Some(())
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
