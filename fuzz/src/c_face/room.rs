//! Memory that a kernel in C gives the face: exactly as large as the header says, and full of whatever was there before.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Room for a `T` that C knows only by its size.
pub(super) struct Room<T>(NonNull<T>);

impl<T> Room<T> {
    /// Room in which each byte is `fill`.
    pub(super) fn new(fill: u8) -> Self {
        let layout = Layout::new::<T>();
        // SAFETY: 1. no structure of the header is empty.
        let memory = unsafe { alloc(layout) };
        let Some(place) = NonNull::new(memory.cast::<T>()) else { handle_alloc_error(layout) };
        // SAFETY: 1. it has just been allocated, for a `T`.
        unsafe { place.write_bytes(fill, 1) };
        Self(place)
    }

    pub(super) const fn at(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Room<T> {
    fn drop(&mut self) {
        // SAFETY: 1. allocated in `new`, with this layout.
        unsafe { dealloc(self.0.as_ptr().cast(), Layout::new::<T>()) };
    }
}
