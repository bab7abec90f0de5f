//! Stacks with a guard page below: Xen ends a domain whose stack cannot take a frame, instead of
//! letting it write into whatever lies there.

use core::cell::UnsafeCell;
use core::mem::offset_of;

use hypercall::{Errno, FlushScope, PAGE_SIZE, Pte, VaFlush, VirtAddr};

use crate::calls;

/// A stack of `BYTES` bytes, a multiple of a page, above a page that [`Stack::guard`] unmaps.
#[repr(C, align(4096))]
pub(crate) struct Stack<const BYTES: usize> {
    guard: UnsafeCell<[u8; PAGE_SIZE as usize]>,
    room: UnsafeCell<[u8; BYTES]>,
}

// SAFETY: Rust never refers to the content; whose stack it is writes it.
unsafe impl<const BYTES: usize> Sync for Stack<BYTES> {}

impl<const BYTES: usize> Stack<BYTES> {
    /// What has to be added to a stack's address for its end.
    pub(crate) const END: usize = offset_of!(Self, room) + BYTES;

    pub(crate) const fn new() -> Self {
        const { assert!(BYTES.is_multiple_of(PAGE_SIZE as usize)) };
        Self { guard: UnsafeCell::new([0; PAGE_SIZE as usize]), room: UnsafeCell::new([0; BYTES]) }
    }

    /// The address behind it, a multiple of the page size.
    pub(crate) fn end(&self) -> u64 {
        self.room.get().expose_provenance() as u64 + BYTES as u64
    }

    /// Where a `T` at its end lies.
    pub(crate) fn top<T>(&self) -> *mut T {
        self.room.get().cast::<u8>().wrapping_add(BYTES - size_of::<T>()).cast()
    }

    /// Unmaps the page below it.
    pub(crate) fn guard(&self) -> Result<(), Errno> {
        let address = VirtAddr::unchecked(self.guard.get().expose_provenance() as u64);
        // SAFETY: nobody refers to the guard page.
        unsafe { calls::set_mapping(address, Pte::EMPTY, VaFlush::Invlpg(FlushScope::All)) }
    }
}
