//! Arguments in the guest's own memory.
//!
//! Addresses need not be aligned. Every access goes through the TLB of the vCPU and the base pointer
//! it has at that moment, so an operation that changes the tables is in force for what is read
//! next as far as it flushes. A store holds the table lock shared: a frame it found writable cannot
//! become a table before the store is through.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use hypercall::{Mfn, PAGE_SIZE, VcpuId};
use parking_lot::Mutex;

use super::walk::{Slot, is_guest_address};
use super::{Access, ArgumentSource, Processor};
use crate::machine::{Machine, Tables};
use crate::not_modelled::NotModelled;
use crate::vcpu::VcpuState;

/// The guest's memory as one vCPU sees it.
#[derive(Debug)]
pub(crate) struct GuestMemory<'a> {
    machine: &'a Machine,
    vcpu: VcpuId,
    state: &'a Mutex<VcpuState>,
    /// Whether an access went to a frame that is no memory.
    met_device: Cell<bool>,
}

impl<'a> GuestMemory<'a> {
    pub(crate) const fn new(machine: &'a Machine, vcpu: VcpuId, state: &'a Mutex<VcpuState>) -> Self {
        Self { machine, vcpu, state, met_device: Cell::new(false) }
    }

    /// The aligned word that holds the byte at `address`.
    fn locate(&self, tables: &Tables, address: u64, access: Access) -> Option<Slot<'a>> {
        if !is_guest_address(address) {
            return None;
        }
        let processor = Processor { vcpu: self.vcpu, base: self.state.lock().base };
        self.word(self.machine.translate(tables, processor, address, access).ok()?.frame, address)
    }

    /// The same for a load, without a lock where the TLB knows.
    fn locate_to_read(&self, address: u64) -> Option<Slot<'a>> {
        match self.machine.kept(self.vcpu, address) {
            Some(mfn) if is_guest_address(address) => self.word(mfn, address),
            _ => self.locate(&self.machine.tables(), address, Access::Read),
        }
    }

    fn word(&self, mfn: Mfn, address: u64) -> Option<Slot<'a>> {
        let frame = self.machine.frames.get(mfn);
        self.met_device.set(self.met_device.get() || frame.is_none());
        Some((frame?, (address % PAGE_SIZE / 8) as usize))
    }

    /// The little-endian number of `bytes` bytes, at most 8, at `address`; higher bits are junk.
    fn read_number(&self, address: u64, bytes: u64) -> Option<u64> {
        let load = |address| {
            let (frame, index) = self.locate_to_read(address)?;
            Some(self.machine.frames.load(frame, index))
        };
        let offset = address % 8;
        let low = load(address)? >> (8 * offset);
        if offset + bytes <= 8 {
            return Some(low);
        }
        let high = load(address.wrapping_add(bytes - 1))?;
        Some(low | high << (64 - 8 * offset))
    }

    /// Stores bytes, each aligned word at once, up to the first that cannot be stored.
    fn write_bytes(&self, address: u64, bytes: &[u8]) -> Option<()> {
        let tables = self.machine.tables();
        let (mut at, mut rest) = (address, bytes);
        while !rest.is_empty() {
            let offset = (at % 8) as usize;
            let (now, later) = rest.split_at(rest.len().min(8 - offset));
            let (frame, index) = self.locate(&tables, at, Access::Write)?;
            let replace = |word: u64| {
                let mut all = word.to_le_bytes();
                all[offset..offset + now.len()].copy_from_slice(now);
                Some(u64::from_le_bytes(all))
            };
            let _previous = frame.word(index).fetch_update(Ordering::SeqCst, Ordering::SeqCst, replace);
            (at, rest) = (at.wrapping_add(now.len() as u64), later);
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
            let (frame, first) = self.locate_to_read(address)?;
            words.iter_mut().zip(first..).for_each(|(word, index)| *word = self.machine.frames.load(frame, index));
            return Some(words);
        }
        for (word, offset) in words.iter_mut().zip((0..).step_by(8)) {
            *word = self.read_number(address.wrapping_add(offset), 8)?;
        }
        Some(words)
    }

    fn can_read(&self, address: u64, bytes: u64) -> bool {
        let first = address & !(PAGE_SIZE - 1);
        let pages = (address - first + bytes).div_ceil(PAGE_SIZE);
        (0..pages).all(|page| {
            let at = address.max(first.wrapping_add(page * PAGE_SIZE));
            self.locate_to_read(at).is_some()
        })
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

    fn not_modelled(&self) -> Option<NotModelled> {
        self.met_device.get().then_some(NotModelled::DeviceMemory)
    }
}
