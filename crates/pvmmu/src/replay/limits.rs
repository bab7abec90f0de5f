//! What a replay can rebuild: a trace that asks for more is refused by its line, before memory is taken for it.
//!
//! The guest's direct map is made of real tables, so one frame far from all others costs a table of each level. The
//! bounds on numbers are those of the machine that the mock stands for.

use std::collections::HashSet;
use std::ops::Range;

use hypercall::{Mfn, Pfn};

/// vCPUs a guest can have on the mock.
pub(crate) const VCPUS: u32 = 128;
/// Tables, of the direct map and in frames the trace names: as many as map 32 GiB page by page.
const TABLES: usize = 1 << 14;
/// Frames of the guest's own count: 16 TiB, which the direct map has room for.
const PFNS: u64 = 1 << 32;
/// Where machine frames are memory: above the first MiB, and as far as physical addresses reach, less a reserve for
/// frames that no event names.
const MEMORY: Range<u64> = 0x100..(1 << 28) - (1 << 20);
/// Machine frames below 4 GiB at which a PC has devices.
const DEVICES: Range<u64> = 0xfec00..0x10_0000;

/// Whether a machine frame is one of memory.
pub(crate) fn is_memory(mfn: Mfn) -> bool {
    MEMORY.contains(&mfn.number()) && !DEVICES.contains(&mfn.number())
}

/// What of a guest cannot be rebuilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Excess {
    /// A vCPU too many.
    #[error("vcpu {0}: a replay has {VCPUS} at most")]
    Vcpu(u32),
    /// A frame of the guest beyond any it can have.
    #[error("pfn {0:#x} is beyond the {PFNS:#x} frames of the largest guest: the line is damaged")]
    Pfn(u64),
    /// A machine frame at which there is no memory.
    #[error("pfn {pfn:#x} is said to be mfn {mfn:#x}, where a machine has no memory: the line is damaged")]
    NotMemory {
        /// The guest's number.
        pfn: u64,
        /// The machine's.
        mfn: u64,
    },
    /// More tables than memory should be taken for.
    #[error(
        "pfn {0:#x} would be the first of more than {TABLES} page tables: the trace is of a guest too large to rebuild"
    )]
    Tables(u64),
}

/// Adds up what the frames of a guest take.
#[derive(Default)]
pub(crate) struct Budget {
    /// Tables of the direct map, by level and place.
    mapping: HashSet<(u32, u64)>,
    /// Frames that are tables themselves.
    tables: usize,
}

impl Budget {
    /// Takes a frame in, which is a table or not.
    ///
    /// # Errors
    /// [`Excess`] where the guest becomes one that cannot be rebuilt.
    pub(crate) fn frame(&mut self, pfn: Pfn, mfn: Option<Mfn>, table: bool) -> Result<(), Excess> {
        let pfn = pfn.number();
        if pfn >= PFNS {
            return Err(Excess::Pfn(pfn));
        }
        if let Some(mfn) = mfn.filter(|mfn| !is_memory(*mfn)) {
            return Err(Excess::NotMemory { pfn, mfn: mfn.number() });
        }
        self.mapping.extend([9, 18, 27].map(|bits| (bits, pfn >> bits)));
        self.tables += usize::from(table);
        if self.mapping.len() + self.tables > TABLES { Err(Excess::Tables(pfn)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_side_by_side_share_the_tables_that_map_them() {
        let mut budget = Budget::default();
        assert!((0..1 << 20).all(|pfn| budget.frame(Pfn::new(pfn), None, false).is_ok()));
        assert_eq!(budget.mapping.len(), 2048 + 4 + 1);
    }

    #[test]
    fn frames_far_apart_exceed_the_tables() {
        let mut budget = Budget::default();
        let taken = (0..).take_while(|at| budget.frame(Pfn::new(at << 18), None, true).is_ok()).count();
        assert!((TABLES / 4..TABLES / 3).contains(&taken), "{taken}");
    }

    #[test]
    fn numbers_that_no_machine_has_are_refused() {
        let refused = |pfn, mfn| Budget::default().frame(Pfn::new(pfn), mfn, false).unwrap_err();
        assert_eq!(refused(1 << 50, None), Excess::Pfn(1 << 50));
        for mfn in [0, 0xff, 0xfee00, 1 << 28, 1 << 38] {
            assert_eq!(refused(9, Some(Mfn::new(mfn))), Excess::NotMemory { pfn: 9, mfn });
        }
        assert_eq!(Budget::default().frame(Pfn::new(9), Some(Mfn::new(0x10_0000)), false), Ok(()));
    }
}
