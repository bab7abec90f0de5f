//! Arguments in the guest's own memory.
//!
//! Addresses need not be aligned. Every access walks the tables of the base pointer the vCPU has
//! at that moment, so an operation that changes the tables is in force for what is read next. A
//! store holds the table lock shared: the frame it found writable cannot become a table before the
//! store is through.

use std::sync::atomic::Ordering;

use hypercall::{Mfn, PAGE_SIZE};
use parking_lot::Mutex;

use super::ArgumentSource;
use super::walk::is_guest_address;
use crate::frames::{Frame, Frames};
use crate::vcpu::VcpuState;

/// The guest's memory as one vCPU sees it.
#[derive(Debug)]
pub(crate) struct GuestMemory<'a> {
    frames: &'a Frames,
    vcpu: &'a Mutex<VcpuState>,
}

impl<'a> GuestMemory<'a> {
    pub(crate) const fn new(frames: &'a Frames, vcpu: &'a Mutex<VcpuState>) -> Self {
        Self { frames, vcpu }
    }

    fn base(&self) -> Mfn {
        self.vcpu.lock().base
    }

    /// The frame and the index in it of the aligned word that holds the byte at `address`.
    fn locate(&self, address: u64, write: bool) -> Option<(&'a Frame, usize)> {
        let frame = self.frames.translate(self.base(), address, write).filter(|_| is_guest_address(address))?;
        Some((frame, (address % PAGE_SIZE / 8) as usize))
    }

    /// The little-endian number of `bytes` bytes, at most 8, at `address`; higher bits are junk.
    fn read_number(&self, address: u64, bytes: u64) -> Option<u64> {
        let load = |address| self.locate(address, false).map(|(frame, index)| frame.load(index));
        let offset = address % 8;
        let low = load(address)? >> (8 * offset);
        if offset + bytes <= 8 {
            return Some(low);
        }
        let high = load(address.wrapping_add(bytes - 1))?;
        Some(low | high << (64 - 8 * offset))
    }

    /// The aligned words that `bytes` bytes at `address` lie in, writable, one after the other.
    fn locate_writable(&self, address: u64, bytes: u64) -> Option<Vec<(&'a Frame, usize)>> {
        let first = address & !7;
        let count = (address - first + bytes).div_ceil(8);
        (0..count).map(|word| self.locate(first.wrapping_add(8 * word), true)).collect()
    }

    /// Stores bytes, each aligned word at once.
    fn write_bytes(&self, address: u64, bytes: &[u8]) -> Option<()> {
        let _tables = self.frames.tables.read();
        let words = self.locate_writable(address, bytes.len() as u64)?;
        let mut rest = bytes;
        let mut offset = (address % 8) as usize;
        for (frame, index) in words {
            let (now, later) = rest.split_at(rest.len().min(8 - offset));
            let replace = |word: u64| {
                let mut all = word.to_le_bytes();
                all[offset..offset + now.len()].copy_from_slice(now);
                Some(u64::from_le_bytes(all))
            };
            let _previous = frame.word(index).fetch_update(Ordering::SeqCst, Ordering::SeqCst, replace);
            (rest, offset) = (later, 0);
        }
        Some(())
    }
}

impl ArgumentSource for GuestMemory<'_> {
    fn may_start_at(&self, address: u64) -> bool {
        is_guest_address(address)
    }

    fn read<const N: usize>(&self, address: u64) -> Option<[u64; N]> {
        let mut words = [0; N];
        if address.is_multiple_of(8) && address % PAGE_SIZE + 8 * N as u64 <= PAGE_SIZE {
            let (frame, first) = self.locate(address, false)?;
            words.iter_mut().zip(first..).for_each(|(word, index)| *word = frame.load(index));
            return Some(words);
        }
        for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
            *word = self.read_number(address.wrapping_add(offset), 8)?;
        }
        Some(words)
    }

    fn read_done(&self, address: u64) -> Option<u32> {
        self.read_number(address, 4).map(|number| number as u32)
    }

    fn write_done(&mut self, address: u64, done: u32) -> Option<()> {
        self.write_bytes(address, &done.to_le_bytes())
    }

    fn write(&mut self, address: u64, words: &[u64]) -> Option<()> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write_bytes(address, &bytes)
    }
}
