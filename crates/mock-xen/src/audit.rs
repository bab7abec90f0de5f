//! Recounting every reference from what refers: the invariant behind all of Xen's answers.
//!
//! A frame's general count is one for its allocation, one for every present entry of a table in use
//! that names it, one for a pin and one for every base pointer and descriptor table loaded. Its type
//! count is the same without the allocation and without read-only L1 entries, and all who count
//! there agree on the type. Nothing else is counted, at any moment at which no hypercall is under
//! way.

use std::collections::HashMap;
use std::fmt;

use hypercall::{Level, Mfn, Pte, PteFlags};

use crate::MockXen;
use crate::frames::{Frame, FrameState, FrameType, FrameView, Tables};
use crate::validate::guest_entries;

/// Frames whose counts are not what refers to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFailure {
    /// In ascending order.
    pub miscounts: Vec<Miscount>,
}

/// A frame whose counts are not what refers to it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Miscount {
    /// The frame.
    pub mfn: Mfn,
    /// What the frame table says.
    pub found: FrameView,
    /// References found.
    pub general: u64,
    /// References found that rely on a type, by type.
    pub typed: Vec<(FrameType, u64)>,
}

impl fmt::Display for AuditFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames are counted wrongly", self.miscounts.len())?;
        for Miscount { mfn, found, general, typed } in &self.miscounts {
            write!(
                f,
                "; `{mfn}`: the frame table says {:?} {} of {} (pinned: {}, validated: {}), in use are {typed:?} of {general}",
                found.kind, found.type_count, found.general_count, found.pinned, found.validated
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for AuditFailure {}

/// References found to one frame.
#[derive(Debug, Default)]
struct Uses {
    general: u64,
    typed: Vec<(FrameType, u64)>,
}

impl Uses {
    fn typed(&mut self, kind: FrameType) {
        self.general += 1;
        match self.typed.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.typed.push((kind, 1)),
        }
    }

    fn explain(&self, state: &FrameState) -> bool {
        let typed = match self.typed[..] {
            [] => state.type_count == 0,
            [(kind, count)] => (kind, count) == (state.kind, state.type_count) && state.validated,
            _ => false,
        };
        let pin_is_a_table = !state.pinned || matches!(state.kind, FrameType::Table(_));
        typed && pin_is_a_table && self.general == state.general_count
    }
}

#[derive(Debug, Default)]
struct Recount {
    uses: HashMap<Mfn, Uses>,
}

impl Recount {
    fn of(&mut self, mfn: Mfn) -> &mut Uses {
        self.uses.entry(mfn).or_default()
    }

    fn frame(&mut self, frame: &Frame, state: &FrameState) {
        let uses = self.of(frame.mfn);
        if frame.is_special() {
            uses.typed(FrameType::Writable);
        } else {
            uses.general += 1;
        }
        if state.pinned {
            uses.typed(state.kind);
        }
        if let Some(level) = state.table() {
            guest_entries(frame, level).for_each(|(_, entry)| self.entry(level, entry));
        }
    }

    fn entry(&mut self, level: Level, entry: Pte) {
        let uses = self.of(entry.frame());
        match level.below() {
            Some(below) => uses.typed(FrameType::Table(below)),
            None if entry.flags().contains(PteFlags::RW) => uses.typed(FrameType::Writable),
            None => uses.general += 1,
        }
    }
}

impl MockXen {
    /// Recounts every reference. No hypercall may be under way.
    ///
    /// # Errors
    /// The frames whose counts are wrong.
    pub fn audit(&self) -> Result<(), AuditFailure> {
        let tables = self.frames.tables.write();
        let recount = self.recount(&tables);
        let nothing = Uses::default();
        let mut miscounts = Vec::new();
        for frame in self.frames.iter() {
            let state = *frame.state.lock();
            let uses = recount.uses.get(&frame.mfn).unwrap_or(&nothing);
            if !uses.explain(&state) {
                let (found, typed) = (state.view(), uses.typed.clone());
                miscounts.push(Miscount { mfn: frame.mfn, found, general: uses.general, typed });
            }
        }
        miscounts.sort_by_key(|miscount| miscount.mfn);
        if miscounts.is_empty() { Ok(()) } else { Err(AuditFailure { miscounts }) }
    }

    fn recount(&self, _tables: &Tables) -> Recount {
        let mut recount = Recount::default();
        for frame in self.frames.iter() {
            let state = *frame.state.lock();
            recount.frame(frame, &state);
        }
        for vcpu in self.vcpu_states() {
            let vcpu = vcpu.lock();
            let bases = [Some(vcpu.base), vcpu.user_base].into_iter().flatten();
            bases.for_each(|base| recount.of(base).typed(FrameType::Table(Level::L4)));
            vcpu.gdt.0.iter().for_each(|frame| recount.of(*frame).typed(FrameType::Descriptors));
        }
        recount
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GuestBuilder;

    fn guest() -> (MockXen, Mfn) {
        let mut builder = GuestBuilder::new(1);
        builder.spare(1);
        let xen = builder.build().unwrap();
        let frame = xen.alloc_frame().unwrap();
        (xen, frame)
    }

    #[test]
    fn a_fresh_guest_is_counted_right() {
        assert_eq!(guest().0.audit(), Ok(()));
    }

    #[test]
    fn every_corrupted_field_is_found() {
        let corruptions: [fn(&mut FrameState); 5] = [
            |state| state.general_count += 1,
            |state| state.type_count += 1,
            |state| state.kind = FrameType::Descriptors,
            |state| state.validated = false,
            |state| state.pinned = true,
        ];
        for corrupt in corruptions {
            let (xen, mfn) = guest();
            corrupt(&mut xen.frames.guest(mfn).unwrap().state.lock());
            let failure = xen.audit().unwrap_err();
            assert_eq!(failure.miscounts.iter().map(|miscount| miscount.mfn).collect::<Vec<_>>(), [mfn]);
            assert!(failure.to_string().contains(&mfn.to_string()));
        }
    }

    #[test]
    fn an_entry_written_behind_xens_back_is_found() {
        let (xen, mfn) = guest();
        let address = xen.direct_map(mfn).unwrap();
        let slot = xen.slot_of(hypercall::VcpuId::new(0), address, Level::L1).unwrap();
        xen.preset(slot.table(), slot.index(), 0);
        assert_eq!(xen.audit().unwrap_err().miscounts[0].mfn, mfn);
    }
}
