//! Loads and stores of the guest's kernel, by virtual address.
//!
//! They go through the vCPU's TLB, so one that follows a change of an entry without a flush may see
//! what was there before. A store to a page that is mapped read-only faults; where the page is an L1
//! table in use, Xen makes the store itself as a checked update, for the hardware domain always and
//! for another one if it has switched that on.

use std::sync::atomic::Ordering;

use hypercall::{Level, Mfn, PAGE_SIZE, Pte, VcpuId, VirtAddr};

use crate::MockXen;
use crate::domain::Assist;
use crate::frames::{Frame, Layout};
use crate::machine::Tables;
use crate::memory::{Access, Fault as ProcessorFault, Processor, is_guest_address};
use crate::planted::Fault;

/// What the guest gets instead of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// `#PF` with this error code, of which bit 0 says that the page was present and bit 1 that the
    /// access was a store.
    #[error("page fault at `{address}` with error code {code}")]
    PageFault {
        /// The address.
        address: VirtAddr,
        /// The error code, as the guest's kernel sees it.
        code: u64,
    },
    /// `#GP`: the address is not canonical.
    #[error("general protection fault: `{0}` is not canonical")]
    GeneralProtection(VirtAddr),
    /// The page is a device's, of which the mock has nothing.
    #[error("`{0}` is no memory: what a device answers is not modelled")]
    Device(Mfn),
    /// The address is no multiple of 8.
    #[error("`{0}` is no multiple of 8: only whole words are loaded and stored here")]
    Unaligned(VirtAddr),
}

const PRESENT: u64 = 1;
const WRITE: u64 = 2;

impl AccessError {
    const fn of(address: VirtAddr, fault: ProcessorFault, access: Access) -> Self {
        let write = if matches!(access, Access::Write) { WRITE } else { 0 };
        match fault {
            ProcessorFault::NoAddress => Self::GeneralProtection(address),
            ProcessorFault::Page { present: false } => Self::PageFault { address, code: write },
            ProcessorFault::Page { present: true } => Self::PageFault { address, code: PRESENT | write },
        }
    }
}

/// An access that the processor let through, or that Xen made in its place.
enum Reached<'a> {
    /// The word of a frame.
    Memory(&'a Frame, usize),
    /// Xen has to see what can be made of the store.
    Forbidden,
}

impl MockXen {
    /// The word at `address`, as `vcpu`'s kernel loads it.
    ///
    /// # Errors
    /// The fault; [`AccessError::Device`] for what is not modelled.
    pub fn load(&self, vcpu: VcpuId, address: VirtAddr) -> Result<u64, AccessError> {
        let processor = self.processor_for(vcpu, address)?;
        if let Some(word) = self.machine.machine_to_physical_at(processor.base, address.value()) {
            return Ok(word);
        }
        let tables = self.machine.tables();
        match self.reach(&tables, processor, address, Access::Read)? {
            Reached::Memory(frame, index) => Ok(self.machine.frames.load(frame, index)),
            Reached::Forbidden => Err(AccessError::PageFault { address, code: PRESENT }),
        }
    }

    /// Stores a word at `address`, as `vcpu`'s kernel does.
    ///
    /// # Errors
    /// As [`MockXen::load`]. Nothing is stored then.
    pub fn store(&self, vcpu: VcpuId, address: VirtAddr, word: u64) -> Result<(), AccessError> {
        let processor = self.processor_for(vcpu, address)?;
        let tables = self.machine.tables();
        match self.reach(&tables, processor, address, Access::Write)? {
            Reached::Memory(frame, index) => {
                frame.store(index, word);
                Ok(())
            }
            Reached::Forbidden if self.is_dropped(processor, address) => Ok(()),
            Reached::Forbidden => self.emulated(&tables, processor, address, word).map(drop),
        }
    }

    /// Exchanges the word at `address` in one step, as `vcpu`'s kernel does; answers with what was
    /// there.
    ///
    /// # Errors
    /// As [`MockXen::store`].
    pub fn exchange(&self, vcpu: VcpuId, address: VirtAddr, word: u64) -> Result<u64, AccessError> {
        let processor = self.processor_for(vcpu, address)?;
        let tables = self.machine.tables();
        match self.reach(&tables, processor, address, Access::Write)? {
            Reached::Memory(frame, index) => Ok(frame.word(index).swap(word, Ordering::SeqCst)),
            Reached::Forbidden => self.emulated(&tables, processor, address, word).map(Pte::bits),
        }
    }

    fn processor_for(&self, vcpu: VcpuId, address: VirtAddr) -> Result<Processor, AccessError> {
        if !address.value().is_multiple_of(8) {
            return Err(AccessError::Unaligned(address));
        }
        Ok(Processor { vcpu, base: self.base_of(vcpu) })
    }

    fn reach(
        &self,
        tables: &Tables,
        processor: Processor,
        address: VirtAddr,
        access: Access,
    ) -> Result<Reached<'_>, AccessError> {
        let mfn = match self.machine.translate(tables, processor, address.value(), access) {
            Ok(found) => {
                self.tell_use(processor, address, access, found);
                found.frame
            }
            Err(ProcessorFault::Page { present: true }) => return Ok(Reached::Forbidden),
            Err(fault) => return Err(AccessError::of(address, fault, access)),
        };
        let frame = self.machine.frames.get(mfn).ok_or(AccessError::Device(mfn))?;
        Ok(Reached::Memory(frame, (address.value() % PAGE_SIZE / 8) as usize))
    }

    /// The L1 entry by which a forbidden store was forbidden, if it is what Xen looks for: present
    /// and read-only, at an address of the guest's own range.
    fn read_only_entry(&self, processor: Processor, address: VirtAddr) -> Option<Pte> {
        let (table, index) = self.machine.frames.walk(processor.base, address.value(), Level::L1)?;
        let entry = Pte::from_bits(table.load(index));
        let read_only = entry.is_present() && !entry.flags().contains(hypercall::PteFlags::RW);
        (read_only && is_guest_address(address.value())).then_some(entry)
    }

    /// Whether Xen drops the store: one of the hardware domain to a page of I/O memory that it may
    /// only read.
    fn is_dropped(&self, processor: Processor, address: VirtAddr) -> bool {
        let entry = self.read_only_entry(processor, address);
        self.machine.domain.is_privileged() && entry.is_some_and(|entry| Layout::is_read_only_io(entry.frame()))
    }

    /// A store to a page mapped read-only, made by Xen if the page is an L1 table in use.
    fn emulated(
        &self,
        tables: &Tables,
        processor: Processor,
        address: VirtAddr,
        word: u64,
    ) -> Result<Pte, AccessError> {
        let fault = AccessError::PageFault { address, code: PRESENT | WRITE };
        let (domain, planted) = (&self.machine.domain, self.machine.planted);
        let emulates = domain.is_privileged() || domain.has(Assist::WritablePageTables);
        let entry = self.read_only_entry(processor, address).filter(|_| emulates).ok_or(fault)?;
        let table = self.machine.frames.guest(entry.frame()).ok_or(fault)?;
        let in_use = table.state.lock().table();
        match in_use {
            Some(Level::L1) => {}
            Some(_) if planted.has(Fault::UpperStoreDropped) => return Ok(entry),
            _ => return Err(fault),
        }
        let place = (table, (address.value() % PAGE_SIZE / 8) as usize);
        match self.machine.emulate_store(tables, place, Pte::from_bits(word)) {
            Err(_) if planted.has(Fault::EmulationRefusalIgnored) => Ok(entry),
            result => result.map_err(|_| fault),
        }
    }
}
