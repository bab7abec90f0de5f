//! Pages that Rust itself never looks into, for use as page tables and as what tables map.
//!
//! They come out of one pool in the kernel's image, each at most once, and are read and written by
//! probes only. So whatever hypercalls make of them (tables, read-only, not mapped at all) no
//! reference is ever wrong about.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hypercall::{ENTRIES_PER_TABLE, Errno, FlushScope, Mfn, PAGE_SIZE, Pte, PteFlags, PteSlot, VaFlush, VirtAddr};

use super::{Fault, p2m, probe};
use crate::calls;

/// Pages in the pool.
const POOL: usize = 256;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u64; ENTRIES_PER_TABLE]; POOL]>);

// SAFETY: the content is reached by probes only, never by reference.
unsafe impl Sync for Pool {}

static PAGES: Pool = Pool(UnsafeCell::new([[0; ENTRIES_PER_TABLE]; POOL]));
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// One page of the pool, mapped at a fixed address, writable and zero at first.
#[derive(Debug)]
pub struct Page {
    address: VirtAddr,
    frame: Mfn,
}

/// Takes a page out of the pool, for good; `None` when all are taken.
pub fn take_page() -> Option<Page> {
    let number = TAKEN.fetch_update(Relaxed, Relaxed, |taken| (taken < POOL).then_some(taken + 1)).ok()?;
    let start = PAGES.0.get().expose_provenance() as u64;
    let address = VirtAddr::unchecked(start + number as u64 * PAGE_SIZE);
    Some(Page { address, frame: p2m::frame_at(address)? })
}

impl Page {
    /// Flags of the entry that maps it for stores.
    pub const WRITABLE: PteFlags = PteFlags::PRESENT.union(PteFlags::RW).union(PteFlags::ACCESSED_DIRTY);

    /// Where it is mapped.
    #[must_use]
    pub const fn address(&self) -> VirtAddr {
        self.address
    }

    /// The machine frame it is.
    #[must_use]
    pub const fn frame(&self) -> Mfn {
        self.frame
    }

    /// Its word `index` as an entry of the table the page is to be.
    #[must_use]
    pub const fn slot(&self, index: usize) -> PteSlot {
        PteSlot::of(self.frame, index)
    }

    /// Reads word `index`, 0 to 511; higher bits are cut off.
    ///
    /// # Errors
    /// [`Fault`] where the page is not mapped.
    pub fn read(&self, index: usize) -> Result<u64, Fault> {
        probe::load(self.word(index))
    }

    /// Writes word `index`, 0 to 511; higher bits are cut off.
    ///
    /// # Errors
    /// [`Fault`] where the page is not mapped or read-only, and Xen does not emulate the store.
    pub fn write(&mut self, index: usize, value: u64) -> Result<(), Fault> {
        // SAFETY: the pool is reached by probes only.
        unsafe { probe::store(self.word(index), value) }
    }

    /// Maps it read-only, as a page has to be before it can become a table.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    pub fn protect(&mut self) -> Result<(), Errno> {
        self.map(PteFlags::PRESENT | PteFlags::ACCESSED)
    }

    /// Maps it writable. Refused with [`Errno::BUSY`] while it is a table.
    ///
    /// # Errors
    /// The hypervisor's refusal.
    pub fn unprotect(&mut self) -> Result<(), Errno> {
        self.map(Self::WRITABLE)
    }

    fn map(&mut self, flags: PteFlags) -> Result<(), Errno> {
        // SAFETY: no reference leads into the pool.
        unsafe { calls::set_mapping(self.address, Pte::new(self.frame, flags), VaFlush::Invlpg(FlushScope::All)) }
    }

    const fn word(&self, index: usize) -> VirtAddr {
        VirtAddr::unchecked(self.address.value() + (index as u64 * 8) % PAGE_SIZE)
    }
}
