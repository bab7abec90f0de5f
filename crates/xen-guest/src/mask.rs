//! Masking of upcalls on the calling vCPU.

use core::marker::PhantomData;
use core::sync::atomic::Ordering::SeqCst;

use crate::{calls, percpu::vcpu_info};

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
    // A plain store would do: an upcall between the two steps leaves the mask as it was.
    Masked { was_masked: vcpu_info().mask.swap(1, SeqCst) != 0, vcpu: PhantomData }
}

/// Whether upcalls are masked on this vCPU.
pub(crate) fn are_masked() -> bool {
    vcpu_info().mask.load(SeqCst) != 0
}

/// Opens upcalls, whatever masks there are: for the first time on a vCPU.
pub(crate) fn open() {
    let info = vcpu_info();
    info.mask.store(0, SeqCst);
    // Clearing the mask delivers nothing by itself; Xen looks when it is entered.
    if info.pending.load(SeqCst) != 0 {
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
