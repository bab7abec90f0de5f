//! First pass: which frames the guest has, and what they were when the trace began.
//!
//! A pfn and its mfn are learnt from every present entry of which both words are recorded and from every remapping of
//! the direct map; a frame of which only the pfn shows gets an mfn that nothing else uses, and the other way round: it is
//! the machine that an operation names, so what the guest calls a page of its own changes nothing. What a frame was when the
//! trace began shows from what is done first with it: an update of a pinned table, a pin given up or a base pointer
//! loaded mean that it was a table already.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use hypercall::{Level, Mfn, Pfn, Pte, PteFlags, VcpuId};

use super::error::ReplayError;
use super::limits::{Budget, Excess, VCPUS, is_memory};
use super::request::{EntryWrite, GuestOp, Request, Wish, Word};

/// What a frame was when the trace began, if not plain memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Older {
    /// A validated table of this level.
    Table(Level),
    /// Mapped read-only: an L2 or L3, the trace does not show which.
    ReadOnly,
}

/// Where machine frames that no event names may lie: above 4 GiB, where a PC has memory and no devices.
const INVENTED: u64 = 0x10_0000;

/// What the trace tells about the guest's memory.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    machine: BTreeMap<Pfn, Mfn>,
    older: Vec<(Pfn, Older)>,
    vcpus: u32,
}

impl Frames {
    /// Learns from all requests of a trace.
    ///
    /// # Errors
    /// [`ReplayError::FrameMoved`] where two requests contradict each other, [`ReplayError::Excess`] where the guest
    /// cannot be rebuilt.
    pub(crate) fn learn(requests: &[Request]) -> Result<Self, ReplayError> {
        let mut scan = Scan::default();
        for request in requests {
            scan.line = request.line;
            scan.vcpu(request.vcpu)?;
            scan.wish(&request.wish)?;
        }
        scan.name_the_nameless()?;
        scan.affordable()?;
        Ok(scan.finish())
    }

    /// The guest's memory, in the order of its own numbers. A frame with one number on both sides is a device's: that
    /// is how Linux counts what is no memory.
    pub(crate) fn memory(&self) -> impl Iterator<Item = (Pfn, Mfn)> {
        let pairs = self.machine.iter().map(|(pfn, mfn)| (*pfn, *mfn));
        pairs.filter(|(pfn, mfn)| pfn.number() != mfn.number())
    }

    /// Frames of devices.
    pub(crate) fn devices(&self) -> impl Iterator<Item = Mfn> {
        self.machine.iter().filter(|(pfn, mfn)| pfn.number() == mfn.number()).map(|(_, mfn)| *mfn)
    }

    /// The machine frame of a frame the trace names.
    ///
    /// # Panics
    /// For a frame that no request of the trace this was learnt from names.
    pub(crate) fn machine(&self, frame: Pfn) -> Mfn {
        self.machine[&frame]
    }

    /// The frames that were tables before the trace began.
    pub(crate) fn older(&self) -> &[(Pfn, Older)] {
        &self.older
    }

    /// How many vCPUs the trace shows.
    pub(crate) fn vcpus(&self) -> u32 {
        self.vcpus
    }

    /// The machine word of a recorded one.
    pub(crate) fn word(&self, word: Word) -> Pte {
        match word {
            Word::Machine { raw, .. } => Pte::from_bits(raw),
            Word::Pseudo(bits) => {
                let pte = Pte::from_bits(bits);
                if pte.is_present() { Pte::new(self.machine(pseudo_frame(pte)), pte.flags()) } else { pte }
            }
        }
    }
}

/// The guest's frame in a word that holds the guest's number.
fn pseudo_frame(pte: Pte) -> Pfn {
    Pfn::new(pte.frame().number())
}

#[derive(Default)]
struct Scan {
    line: u64,
    vcpus: u32,
    /// Every frame named, with what it was before.
    first: BTreeMap<Pfn, Option<Older>>,
    /// The same frames in the order of the trace, with the line.
    order: Vec<(u64, Pfn)>,
    /// Frames in which entries are written.
    tables: HashSet<Pfn>,
    machine: HashMap<Pfn, (Mfn, u64)>,
    pseudo: HashMap<Mfn, (Pfn, u64)>,
    /// Frames that are mapped by their mfn alone, with the line that does so last.
    nameless: BTreeMap<Mfn, u64>,
}

impl Scan {
    fn vcpu(&mut self, vcpu: VcpuId) -> Result<(), ReplayError> {
        let number = vcpu.number();
        if number >= VCPUS {
            return Err(ReplayError::Excess { line: self.line, excess: Excess::Vcpu(number) });
        }
        self.vcpus = self.vcpus.max(number + 1);
        Ok(())
    }

    fn wish(&mut self, wish: &Wish) -> Result<(), ReplayError> {
        match wish {
            Wish::Work(work) => work.operations.iter().try_for_each(|operation| self.operation(operation)),
            Wish::Store(write) => self.write(write, None),
            Wish::TableAlloc { frame } => {
                self.named(*frame, None);
                Ok(())
            }
            Wish::TableRelease { frame, level } => {
                self.named(*frame, Some(Older::Table(*level)));
                Ok(())
            }
            Wish::ProtStart { slot, .. } => {
                self.named(slot.table, Some(Older::Table(Level::L1)));
                Ok(())
            }
            Wish::Enter | Wish::Leave | Wish::Flush | Wish::SwitchOut | Wish::SwitchIn { .. } => Ok(()),
        }
    }

    fn operation(&mut self, operation: &GuestOp) -> Result<(), ReplayError> {
        match *operation {
            GuestOp::Write(write) | GuestOp::WriteKeepingAd(write) => {
                self.write(&write, Some(Older::Table(write.level)))?
            }
            GuestOp::Remap { frame, raw, .. } => {
                let writable = Pte::from_bits(raw).flags().contains(PteFlags::RW);
                self.named(frame, writable.then_some(Older::ReadOnly));
                self.pair(frame, Pte::from_bits(raw).frame())?;
            }
            GuestOp::Pin { table, .. } => self.named(table, None),
            GuestOp::Unpin { table, level } => self.named(table, Some(Older::Table(level))),
            GuestOp::Base { table: Some(table), .. } => self.named(table, Some(Older::Table(Level::L4))),
            GuestOp::Base { table: None, .. } | GuestOp::Tlb(_) | GuestOp::StackSwitch { .. } => {}
        }
        Ok(())
    }

    fn write(&mut self, write: &EntryWrite, table: Option<Older>) -> Result<(), ReplayError> {
        for slot in [Some(write.slot), write.user_slot].into_iter().flatten() {
            self.named(slot.table, table);
            self.tables.insert(slot.table);
        }
        let (pseudo, raw) = match write.word {
            Word::Machine { pseudo, raw } => (pseudo, Some(Pte::from_bits(raw))),
            Word::Pseudo(pseudo) => (Some(pseudo), None),
        };
        let Some(pseudo) = pseudo.map(Pte::from_bits) else {
            let nameless = raw.filter(|raw| raw.is_present()).map(|raw| (raw.frame(), self.line));
            self.nameless.extend(nameless);
            return Ok(());
        };
        if !pseudo.is_present() {
            return Ok(());
        }
        self.named(pseudo_frame(pseudo), None);
        raw.map_or(Ok(()), |raw| self.pair(pseudo_frame(pseudo), raw.frame()))
    }

    /// Gives every frame of which only the mfn shows a pfn that nothing else has; a device's is its mfn.
    fn name_the_nameless(&mut self) -> Result<(), ReplayError> {
        let mut free = self.first.keys().map(|pfn| pfn.number() + 1).max().unwrap_or(0);
        for (mfn, line) in std::mem::take(&mut self.nameless) {
            if self.pseudo.contains_key(&mfn) {
                continue;
            }
            let pfn = if is_memory(mfn) { free } else { mfn.number() };
            free = free.max(pfn + 1);
            self.line = line;
            self.named(Pfn::new(pfn), None);
            self.pair(Pfn::new(pfn), mfn)?;
        }
        Ok(())
    }

    fn named(&mut self, frame: Pfn, first: Option<Older>) {
        if let Entry::Vacant(entry) = self.first.entry(frame) {
            entry.insert(first);
            self.order.push((self.line, frame));
        }
    }

    fn pair(&mut self, pfn: Pfn, mfn: Mfn) -> Result<(), ReplayError> {
        let line = self.line;
        let (known_mfn, earlier) = *self.machine.entry(pfn).or_insert((mfn, line));
        let (known_pfn, earlier_too) = *self.pseudo.entry(mfn).or_insert((pfn, line));
        if (known_mfn, known_pfn) == (mfn, pfn) {
            return Ok(());
        }
        let earlier = if known_mfn == mfn { earlier_too } else { earlier };
        Err(ReplayError::FrameMoved { line, pfn: pfn.number(), mfn: mfn.number(), earlier })
    }

    /// A device's frame takes no memory.
    fn affordable(&self) -> Result<(), ReplayError> {
        let mut budget = Budget::default();
        for &(line, pfn) in &self.order {
            let mfn = self.machine.get(&pfn).map(|(mfn, _)| *mfn);
            if mfn.is_none_or(|mfn| mfn.number() != pfn.number()) {
                let taken = budget.frame(pfn, mfn, self.tables.contains(&pfn));
                taken.map_err(|excess| ReplayError::Excess { line, excess })?;
            }
        }
        Ok(())
    }

    fn finish(self) -> Frames {
        let memory = self.machine.iter().filter(|(pfn, (mfn, _))| pfn.number() != mfn.number());
        let mut free = memory.map(|(_, (mfn, _))| mfn.number() + 1).fold(INVENTED, u64::max);
        let mut machine = BTreeMap::new();
        for frame in self.first.keys() {
            let invented = (!self.machine.contains_key(frame)).then(|| Mfn::new(free));
            free += u64::from(invented.is_some());
            machine.insert(*frame, invented.unwrap_or_else(|| self.machine[frame].0));
        }
        let older = self.first.iter().filter_map(|(frame, level)| Some((*frame, (*level)?))).collect();
        Frames { machine, older, vcpus: self.vcpus }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::extract::requests;
    use crate::replay::testing::{RW, Script, at, entry, mfn};
    use mmu_trace::{EventKind, Level as Recorded};

    fn learn(script: &Script) -> Result<Frames, ReplayError> {
        Frames::learn(&requests(&script.events).unwrap())
    }

    #[test]
    fn pairs_are_learnt_and_the_rest_invented() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).on(3, 8).set_pte(5, 2, 0xa, RW);
        let frames = learn(&script).unwrap();
        assert_eq!(frames.machine(Pfn::new(9)), Mfn::new(mfn(9)));
        let invented = frames.machine(Pfn::new(5));
        assert!(invented > Mfn::new(mfn(0xa)));
        assert_eq!(frames.vcpus(), 4);
    }

    #[test]
    fn a_device_is_no_memory() {
        let mut script = Script::new();
        script.push(EventKind::SetPte { slot: at(5, 1), value: Some(0xb8067), raw: 0xb8067 });
        let memory: Vec<u64> = learn(&script).unwrap().memory().map(|(pfn, _)| pfn.number()).collect();
        assert_eq!(memory, [5]);
    }

    #[test]
    fn an_l4_entry_names_the_guests_frame() {
        let mut script = Script::new();
        script.alloc(9, Recorded::L3, false).set_l4(5, 6, 0, 9).set_l2(9, 0, 0xb);
        let frames = learn(&script).unwrap();
        let word = frames.word(Word::Pseudo(0x9067));
        assert_eq!(word, Pte::new(frames.machine(Pfn::new(9)), PteFlags::from_bits_truncate(0x67)));
        assert_eq!(frames.word(Word::Pseudo(0)), Pte::EMPTY);
    }

    #[test]
    fn what_a_frame_was_shows_from_its_first_use() {
        let mut script = Script::new();
        script.set_pte(1, 0, 0x99, RW);
        script.alloc(2, Recorded::L1, false).set_pte(2, 0, 0x99, RW);
        script.set_l4(4, 5, 0, 6);
        script.load_base(7);
        script.push(EventKind::Unpin { mm: 1, l4: at(8, 0) });
        script.bracket(&[Script::MMUEXT, Script::remap(3, true), Script::remap(8, true)]);
        let older: Vec<(u64, Older)> =
            learn(&script).unwrap().older().iter().map(|(frame, older)| (frame.number(), *older)).collect();
        let table = Older::Table;
        assert_eq!(older, [(1, table(Level::L1)), (3, Older::ReadOnly), (7, table(Level::L4)), (8, table(Level::L4))]);
    }

    #[test]
    fn a_guest_that_cannot_be_rebuilt_is_an_error_with_its_line() {
        let error = |script: &mut Script| learn(script.set_pte(5, 0, 8, RW)).err().unwrap().to_string();
        let mut script = Script::new();
        assert!(error(script.set_pte(5, 1, 9, RW).alloc(1 << 50, Recorded::L1, false)).starts_with("line 2: pfn 0x4"));
        let mut script = Script::new();
        assert!(error(script.set_pte(5, 1, 1 << 30, RW)).starts_with("line 1: pfn 0x40000000 is said to be mfn"));
        let mut script = Script::new();
        assert!(error(script.on(128, 7)).starts_with("line 1: vcpu 128"));
        let mut script = Script::new();
        (1..9000).for_each(|frame| _ = script.alloc(frame << 18, Recorded::L1, false));
        let error = error(&mut script);
        assert!(error.starts_with("line ") && error.contains("page tables"), "{error}");
    }

    #[test]
    fn a_device_far_up_does_not_move_what_is_invented() {
        let mut script = Script::new();
        let far = entry(1 << 36, RW);
        script.push(EventKind::SetPte { slot: at(5, 1), value: Some(far), raw: far });
        assert_eq!(learn(&script).unwrap().machine(Pfn::new(5)), Mfn::new(INVENTED));
    }

    #[test]
    fn a_frame_that_moves_is_an_error() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW);
        script.push(EventKind::SetPte { slot: at(5, 2), value: Some(0x9067), raw: 0xa067 });
        assert!(learn(&script).unwrap_err().to_string().starts_with("line 2: pfn 0x9 is mfn 0xa here"));
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW);
        script.push(EventKind::SetPte { slot: at(5, 2), value: Some(0x8067), raw: mfn(9) << 12 | 0x67 });
        assert!(learn(&script).is_err());
    }

    #[test]
    fn a_frame_of_which_only_the_mfn_shows_gets_a_pfn_of_its_own() {
        let mut script = Script::default();
        let bare = |slot, mfn: u64| EventKind::SetPte { slot, value: None, raw: entry(mfn, 0x67) };
        script.set_pte(5, 1, 8, 0x67);
        script.push(bare(at(5, 2), mfn(8))).push(bare(at(5, 3), 0x7777)).push(bare(at(5, 4), 0xfee00));
        script.push(EventKind::SetPte { slot: at(5, 5), value: None, raw: 0 });
        let frames = learn(&script).unwrap();
        assert_eq!(frames.machine(Pfn::new(9)), Mfn::new(0x7777), "the first that nothing else has");
        assert_eq!(frames.machine(Pfn::new(8)), Mfn::new(mfn(8)), "what is known keeps its name");
        assert_eq!(frames.devices().collect::<Vec<_>>(), [Mfn::new(0xfee00)]);
        assert_eq!(frames.memory().count(), 3);
    }
}
