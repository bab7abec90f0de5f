//! Recounting every reference from what refers: the invariant behind all of Xen's answers.
//!
//! A frame's general count is one for its allocation, one for every present entry of a table in use
//! that names it, one for a pin and one for every base pointer and descriptor table loaded. Its type
//! count is the same without the allocation and without read-only L1 entries, and all who count
//! there agree on the type. An entry by which a table maps itself is not counted.
//!
//! Between two passes of a hypercall, a partial table adds one of each of its own, its entries count
//! as far as it has come, and a table that a vCPU has to put away counts for that vCPU. Nothing else
//! is counted, at any moment at which no vCPU is in Xen, except what Xen itself has lost.
//!
//! And no processor may keep a translation by which it could write to a table or to descriptors.

use std::collections::HashMap;
use std::fmt;

use hypercall::{ENTRIES_PER_TABLE, Level, Mfn, Pte, PteFlags, VcpuId, VirtAddr};

use crate::MockXen;
use crate::frames::{Frame, FrameState, FrameType, FrameView, Frames, Owner};
use crate::running::OldTable;
use crate::validate::promote::guest_entries;

/// Frames whose counts are not what refers to them, or that can be written and must not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditFailure {
    /// In ascending order.
    pub miscounts: Vec<Miscount>,
    /// Translations kept that let a vCPU write where that is forbidden.
    pub stale: Vec<StaleTranslation>,
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
    /// Linear entries found: those in the frame, and those for it.
    pub linear: (i16, i16),
}

/// A translation kept by which a vCPU could write to a table or to descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleTranslation {
    /// Whose.
    pub vcpu: VcpuId,
    /// The page.
    pub address: VirtAddr,
    /// The frame behind it.
    pub mfn: Mfn,
}

impl fmt::Display for AuditFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} frames are counted wrongly", self.miscounts.len())?;
        for Miscount { mfn, found, general, typed, linear } in &self.miscounts {
            write!(
                f,
                "; `{mfn}`: the frame table says {:?} {} of {} (pinned: {}, validated: {}, partial: {}, linear: {}), \
                 in use are {typed:?} of {general}, linear {linear:?}",
                found.kind,
                found.type_count,
                found.general_count,
                found.pinned,
                found.validated,
                found.partial,
                found.linear
            )?;
        }
        for StaleTranslation { vcpu, address, mfn } in &self.stale {
            write!(f, "; {vcpu} can still write to `{mfn}`, at `{address}`")?;
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
    /// Entries of this table that map others of its level, and entries of others that map it.
    linear: (i16, i16),
}

impl Uses {
    /// A reference on a type, which comes with a general one.
    fn typed(&mut self, kind: FrameType) {
        self.general += 1;
        self.type_alone(kind);
    }

    fn type_alone(&mut self, kind: FrameType) {
        match self.typed.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => self.typed.push((kind, 1)),
        }
    }

    fn explain(&self, state: &FrameState) -> bool {
        let typed = match self.typed[..] {
            [] => state.type_count == 0,
            [(kind, count)] => (kind, count) == (state.kind, state.type_count) && (state.validated != state.partial),
            _ => false,
        };
        let pin_is_a_table = !state.pinned || matches!(state.kind, FrameType::Table(_));
        let (maps, mapped) = self.linear;
        let linear = (maps == 0 || mapped == 0) && (state.type_count == 0 || maps - mapped == state.linear);
        typed && pin_is_a_table && linear && self.general + state.lost == state.general_count
    }
}

#[derive(Debug)]
struct Recount<'a> {
    frames: &'a Frames,
    uses: HashMap<Mfn, Uses>,
}

impl Recount<'_> {
    fn kind(&self, mfn: Mfn) -> Option<FrameType> {
        Some(self.frames.get(mfn)?.state.lock().kind)
    }

    fn of(&mut self, mfn: Mfn) -> &mut Uses {
        self.uses.entry(mfn).or_default()
    }

    fn frame(&mut self, frame: &Frame, state: &FrameState) {
        let uses = self.of(frame.mfn);
        match (frame.owner, frame.is_special()) {
            (Owner::Xen, _) => uses.typed(FrameType::None),
            (_, true) => uses.typed(FrameType::Writable),
            (_, false) => uses.general += 1,
        }
        if state.pinned {
            uses.typed(state.kind);
        }
        if state.partial {
            uses.typed(state.kind);
        }
        let entries = if state.partial { state.progress.entries } else { ENTRIES_PER_TABLE };
        if let FrameType::Table(level) = state.kind
            && (state.partial || state.table().is_some())
        {
            guest_entries(frame, level, 0..entries).for_each(|(_, entry)| self.entry(frame, level, entry));
        }
        if state.partial && state.progress.next_held {
            self.of(Pte::from_bits(frame.load(entries)).frame()).general += 1;
        }
    }

    fn entry(&mut self, table: &Frame, level: Level, entry: Pte) {
        let Some(below) = level.below() else {
            let uses = self.of(entry.frame());
            match entry.flags().contains(PteFlags::RW) {
                true => uses.typed(FrameType::Writable),
                false => uses.general += 1,
            }
            return;
        };
        if entry.frame() == table.mfn {
            return;
        }
        if self.kind(entry.frame()) == Some(FrameType::Table(level)) {
            self.linear_use((table.mfn, entry.frame()), level);
        } else {
            self.of(entry.frame()).typed(FrameType::Table(below));
        }
    }

    fn linear_use(&mut self, (table, target): (Mfn, Mfn), level: Level) {
        self.of(table).linear.0 += 1;
        let target = self.of(target);
        target.linear.1 += 1;
        target.typed(FrameType::Table(level));
    }

    /// A table that a vCPU has to put away.
    fn old_table(&mut self, old: OldTable) {
        match self.kind(old.frame).filter(|_| !old.partial) {
            Some(kind) => self.of(old.frame).typed(kind),
            None => self.of(old.frame).general += 1,
        }
    }
}

impl MockXen {
    /// Recounts every reference. No vCPU may be in Xen; one may be between two passes of a call.
    ///
    /// # Errors
    /// The frames whose counts are wrong, and those that could be written and must not.
    pub fn audit(&self) -> Result<(), AuditFailure> {
        let old: Vec<_> = self.all_vcpus().filter_map(|vcpu| vcpu.running.lock().old_table).collect();
        let _stopped = self.machine.stopped();
        let recount = self.recount(&old);
        let nothing = Uses::default();
        let mut miscounts = Vec::new();
        for frame in self.machine.frames.iter() {
            let state = *frame.state.lock();
            let uses = recount.uses.get(&frame.mfn).unwrap_or(&nothing);
            if !uses.explain(&state) {
                let Uses { general, ref typed, linear } = *uses;
                let found = state.view(frame.owner);
                miscounts.push(Miscount { mfn: frame.mfn, found, general, typed: typed.clone(), linear });
            }
        }
        miscounts.sort_by_key(|miscount| miscount.mfn);
        let stale: Vec<_> = self.stale_translations().collect();
        if miscounts.is_empty() && stale.is_empty() { Ok(()) } else { Err(AuditFailure { miscounts, stale }) }
    }

    fn recount(&self, old: &[OldTable]) -> Recount<'_> {
        let mut recount = Recount { frames: &self.machine.frames, uses: HashMap::new() };
        for frame in self.machine.frames.iter() {
            let state = *frame.state.lock();
            recount.frame(frame, &state);
        }
        old.iter().for_each(|old| recount.old_table(*old));
        for vcpu in self.all_vcpus() {
            let state = vcpu.state.lock();
            let base = state.initialised.then_some(state.base);
            let bases = [base, state.user_base].into_iter().flatten();
            bases.for_each(|base| recount.of(base).typed(FrameType::Table(Level::L4)));
            state.gdt.0.iter().for_each(|frame| recount.of(*frame).typed(FrameType::Descriptors));
        }
        recount
    }

    fn stale_translations(&self) -> impl Iterator<Item = StaleTranslation> {
        let vcpus = (0..self.vcpu_count()).map(VcpuId::new);
        let kept = vcpus.flat_map(|vcpu| self.machine.tlbs.entries(vcpu).into_iter().map(move |kept| (vcpu, kept)));
        kept.filter_map(|(vcpu, (address, entry))| {
            let state = *self.machine.frames.get(entry.frame)?.state.lock();
            let forbidden = state.type_count > 0 && state.kind != FrameType::Writable && entry.writable;
            forbidden.then_some(StaleTranslation { vcpu, address, mfn: entry.frame })
        })
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
            corrupt(&mut xen.machine.frames.guest(mfn).unwrap().state.lock());
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
