//! Pages that Rust itself never looks into, for use as page tables and as what tables map.
//!
//! They come out of one pool in the kernel's image, each at most once, and are read and written by probes, or by
//! volatile accesses where nothing can fault. So whatever hypercalls make of them (tables, read-only, not mapped at
//! all) no reference is ever wrong about.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hypercall::{ENTRIES_PER_TABLE, Errno, FlushScope, Mfn, PAGE_SIZE, Pte, PteFlags, PteSlot, VaFlush, VirtAddr};

use super::{Fault, p2m, probe};
use crate::calls;

/// Pages in the pool.
const POOL: usize = 256;

#[repr(C, align(4096))]
struct Pool(UnsafeCell<[[u64; ENTRIES_PER_TABLE]; POOL]>);

// SAFETY: the content is reached by probes and volatile accesses, never by reference.
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

    /// The same page once more.
    ///
    /// # Safety
    /// Whoever has one of the two relies on nothing that is done by the other: not on how the page is mapped, nor on
    /// what it holds.
    #[must_use]
    pub const unsafe fn twin(&self) -> Self {
        Self { address: self.address, frame: self.frame }
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
        // SAFETY: no reference leads into the pool.
        unsafe { probe::store(self.word(index), value) }
    }

    /// Reads word `index` as it is mapped, by whom nothing can have unmapped it: a fault ends the domain.
    #[inline]
    pub(crate) fn peek(&self, index: usize) -> u64 {
        // SAFETY: 1. The word is 8-byte aligned and one of the pool, which has no references into it; 2. a volatile
        // load makes none.
        unsafe { self.pointer(index).read_volatile() }
    }

    /// Writes word `index` of a page that is mapped writable: a fault ends the domain.
    #[inline]
    pub(crate) fn poke(&mut self, index: usize, value: u64) {
        // SAFETY: as in `peek`.
        unsafe { self.pointer(index).write_volatile(value) }
    }

    fn pointer(&self, index: usize) -> *mut u64 {
        core::ptr::with_exposed_provenance_mut(self.word(index).value() as usize)
    }

    /// Replaces word `index`, 0 to 511, in one atomic step and answers with what it held; higher bits are cut
    /// off.
    ///
    /// # Errors
    /// As [`Page::write`].
    pub fn exchange(&mut self, index: usize, value: u64) -> Result<u64, Fault> {
        // SAFETY: no reference leads into the pool.
        unsafe { probe::exchange(self.word(index), value) }
    }

    /// Takes from word `index`, 0 to 511, as an entry the right to store, in one atomic step; higher bits are cut
    /// off.
    ///
    /// # Errors
    /// As [`Page::write`].
    pub fn clear_writable(&mut self, index: usize) -> Result<(), Fault> {
        // SAFETY: no reference leads into the pool.
        unsafe { probe::clear_writable(self.word(index)) }
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
