//! Memory that C provides, and what lies in it.
//!
//! Protocol. [`init`] writes a value behind a mark of its type; [`check`] finds it again by that mark. What lies there is
//! shared until [`Kept::take`] has it for one caller, who alone may change it.

use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::{Code, Refusal};

/// A structure of C's, by what lies in it.
pub(crate) trait Storage: Sized {
    /// What lies in it.
    type Value;
    /// The first word of one that is initialised.
    const MARK: u64;
    /// The storage is large enough.
    const FITS: () = assert!(
        size_of::<Kept<Self::Value>>() <= size_of::<Self>() && align_of::<Kept<Self::Value>>() <= align_of::<Self>(),
        "the library has outgrown a structure of the C header: raise its number of words"
    );
}

/// A value behind its mark.
#[repr(C)]
pub(crate) struct Kept<T> {
    mark: AtomicU64,
    busy: AtomicBool,
    value: UnsafeCell<T>,
}

/// A value that one caller has.
pub(crate) struct Taken<'k, T>(&'k Kept<T>);

impl<T> Kept<T> {
    /// The value, for one caller until that drops it.
    ///
    /// # Errors
    /// `PVMMU_ERROR_BUSY`: somebody has it.
    #[inline]
    pub(crate) fn take(&self) -> Result<Taken<'_, T>, Refusal> {
        if self.busy.swap(true, Ordering::Acquire) { Err(Refusal::plain(Code::Busy)) } else { Ok(Taken(self)) }
    }

    /// It is no value any more.
    pub(crate) fn forget(&self) {
        self.mark.store(0, Ordering::Release);
    }

    /// Where the value lies, for who is kept from sharing it by other means.
    pub(crate) const fn get(&self) -> *mut T {
        self.value.get()
    }
}

impl<T> Deref for Taken<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: 1. `busy` was not set before and is until the drop, so nobody else has it by `take`; 2. what is reached by
        // `get` is never taken.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Taken<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Taken<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::Release);
    }
}

/// What lies in `storage`, which is argument `argument` of the call.
///
/// # Safety
/// 1. Where `storage` is neither null nor unaligned, it is memory of an `S` that stays until the call ends, and that
///    the kernel leaves to this library.
///
/// # Errors
/// It is null, unaligned or not initialised.
#[inline]
pub(crate) unsafe fn check<'s, S: Storage>(storage: *const S, argument: u64) -> Result<&'s Kept<S::Value>, Refusal> {
    if storage.is_null() || !storage.is_aligned() {
        return Err(no_storage(storage.addr(), argument));
    }
    // SAFETY: 1. the caller's promise; 2. the mark is the first word, and an atomic is one whatever it holds.
    let mark = unsafe { &*storage.cast::<AtomicU64>() }.load(Ordering::Acquire);
    if mark != S::MARK {
        return Err(Refusal::of(Code::NotInitialised, mark));
    }
    // SAFETY: 1. the caller's promise; 2. `init` has written it, as the mark says.
    Ok(unsafe { &*storage.cast::<Kept<S::Value>>() })
}

#[cold]
fn no_storage(address: usize, argument: u64) -> Refusal {
    if address == 0 { Refusal::null(argument) } else { Refusal::of(Code::Unaligned, address as u64) }
}

/// Puts `value` into `storage`, of which C has `bytes` bytes.
///
/// # Safety
/// 1. Where `storage` is neither null nor unaligned, `bytes` bytes there are the caller's to write.
///
/// # Errors
/// It is null, unaligned or too small.
#[inline]
pub(crate) unsafe fn init<S: Storage>(
    storage: *mut S,
    bytes: usize,
    argument: u64,
    value: S::Value,
) -> Result<(), Refusal> {
    // SAFETY: 1. the caller's promise; 2. it writes the value.
    unsafe { init_by(storage, bytes, argument, |place| place.write(value)) }
}

/// The same where `write` puts the value: one that is too large to pass through a kernel's stack.
///
/// # Safety
/// 1. As [`init`]. 2. `write` puts a value where it is told.
///
/// # Errors
/// As [`init`].
#[inline]
pub(crate) unsafe fn init_by<S: Storage>(
    storage: *mut S,
    bytes: usize,
    argument: u64,
    write: impl FnOnce(*mut S::Value),
) -> Result<(), Refusal> {
    const { S::FITS };
    if storage.is_null() || !storage.is_aligned() {
        return Err(no_storage(storage.addr(), argument));
    }
    if bytes < size_of::<S>() && !crate::is_planted!(SizeUnchecked) {
        return Err(Refusal::Value { code: Code::Size, value: bytes as u64, limit: size_of::<S>() as u64 });
    }
    let kept = storage.cast::<Kept<S::Value>>();
    // SAFETY: 1. the caller's promise; it fits, as `FITS` says.
    unsafe {
        write((&raw mut (*kept).value).cast());
        (&raw mut (*kept).busy).write(AtomicBool::new(false));
        (&raw mut (*kept).mark).write(AtomicU64::new(S::MARK));
    }
    Ok(())
}
