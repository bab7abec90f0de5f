//! One region, of one update to many.

use anyhow::Result;
use serde::Serialize;
use workloads::Policy;

use crate::bench;
use crate::cli::MeasuredOn;

/// A region of some size.
#[derive(Debug, Serialize)]
pub(super) struct Size {
    pub(super) updates: u64,
    pub(super) hypercalls: u64,
    pub(super) cost: u64,
    pub(super) cost_per_update: f64,
}

/// By their names.
const SIZES: [&str; 7] = ["fill-1", "fill-8", "fill-64", "fill-512", "fill-2000", "fill-20000", "fill-100000"];

/// Measured on what, in what unit, and the rows.
///
/// # Errors
/// As `pvmmu bench`.
pub(super) fn measure(on: MeasuredOn) -> Result<(&'static str, &'static str, Vec<Size>)> {
    let (measured, rows) = bench::costs(on, &SIZES, Policy::PvMmu)?;
    let size = |row: &bench::Row| Size {
        updates: row.updates,
        hypercalls: row.hypercalls,
        cost: row.cost,
        cost_per_update: row.cost_per_update.unwrap_or_default(),
    };
    Ok((measured.name, measured.unit, rows.iter().map(size).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_grows_by_whole_batches() {
        let (name, unit, sizes) = measure(MeasuredOn::Mock).unwrap();
        assert_eq!((name, unit), ("mock", "hypercalls"));
        let calls: Vec<_> = sizes.iter().map(|size| (size.updates, size.hypercalls)).collect();
        assert_eq!(calls, [(1, 1), (8, 1), (64, 1), (512, 1), (2000, 4), (20_000, 40), (100_000, 196)]);
    }
}
