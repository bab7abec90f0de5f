//! What the kernel is told when no caller is there to be told.

use crate::error::NamedFailure;

/// An operation is not effective, found by a flush whose caller did not ask for it (R14): `failure`.
pub const PVMMU_REPORT_FAILED: u32 = 0;
/// A region was still open when its task ended; it is flushed now (R2). `value`: its depth.
pub const PVMMU_REPORT_LEAKED_REGION: u32 = 1;
/// `value` regions opened in a pause outlived it, and are closed now (R5).
pub const PVMMU_REPORT_UNBALANCED_PAUSE: u32 = 2;
/// Xen refused a multicall as a whole, with errno `value`; its calls were issued one by one.
pub const PVMMU_REPORT_MULTICALL_REFUSED: u32 = 3;
/// Something this version of the header has no name for.
pub const PVMMU_REPORT_OTHER: u32 = 4;

/// One report.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// One of `PVMMU_REPORT_*`.
    pub kind: u32,
    /// A number, as the kind says.
    pub value: u32,
    /// The operation, where the kind has one.
    pub failure: NamedFailure,
}

impl Report {
    pub(crate) fn of(report: &pv_mmu::Report) -> Self {
        let of = |kind, value| Self { kind, value, ..Self::default() };
        match report {
            pv_mmu::Report::Failed(failure) => {
                Self { failure: NamedFailure::of(failure), ..of(PVMMU_REPORT_FAILED, 0) }
            }
            pv_mmu::Report::LeakedRegion { depth } => of(PVMMU_REPORT_LEAKED_REGION, (*depth).into()),
            pv_mmu::Report::UnbalancedPause { regions } => of(PVMMU_REPORT_UNBALANCED_PAUSE, (*regions).into()),
            pv_mmu::Report::MulticallRefused(errno) => of(PVMMU_REPORT_MULTICALL_REFUSED, errno.number().into()),
            _ => of(PVMMU_REPORT_OTHER, 0),
        }
    }
}
