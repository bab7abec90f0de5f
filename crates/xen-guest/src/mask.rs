//! Masking of upcalls on the calling vCPU.

use core::marker::PhantomData;

use crate::{calls, percpu};

/// Upcalls are masked on this vCPU until it is dropped; then they are as they were before.
#[must_use = "upcalls are open again when it is dropped"]
#[derive(Debug)]
pub struct Masked {
    was_masked: bool,
    /// It belongs to the vCPU it was made on.
    vcpu: PhantomData<*mut ()>,
}

/// Masks upcalls on this vCPU. Masks nest.
pub fn mask() -> Masked {
    Masked { was_masked: percpu::mask_own(), vcpu: PhantomData }
}

/// Whether upcalls are masked on this vCPU.
pub(crate) fn are_masked() -> bool {
    percpu::is_masked()
}

/// Opens upcalls, whatever masks there are: for the first time on a vCPU, or as the last mask goes.
#[inline]
pub(crate) fn open() {
    // Clearing the mask delivers nothing by itself; Xen looks when it is entered.
    if percpu::open_own() {
        calls::take_upcalls();
    }
}

impl Drop for Masked {
    fn drop(&mut self) {
        if !self.was_masked {
            open();
        }
    }
}
