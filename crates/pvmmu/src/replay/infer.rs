//! Second pass: requests in the hypervisor's terms, and the writes that left no event.
//!
//! Linux clears and write-protects entries by atomics, which no probe shows. Four things show them after the fact: the
//! entry maps another frame next; its table is released; the frame it maps writable becomes a table; its protection is
//! changed from a value it was not known to have. The first three are placed right before what shows them, but a clear
//! in a copy-on-write before the TLB flush that is its point. Tables that nothing has validated (a table is live while
//! the direct map has it read-only) are plain memory: what happens in them unseen is overwritten when they are used
//! again, and nothing has to be inferred.

use std::collections::{BTreeMap, HashMap, HashSet};

use hypercall::{
    DomId, FlushScope, Level, Mfn, MmuUpdate, MmuextOp, Operation, Pfn, Pte, PteFlags, PteSlot, Subject, UpdateCommand,
    VaFlush, VcpuId, VcpuMask, VirtAddr,
};

use super::frames::{Frames, Older};
use super::program::{Act, GuestEvent, Inferred, MachineSlot, Program, Step};
use super::request::{EntryWrite, GuestOp, Request, Slot, Source, Span, TaskKey, TlbFlush, Wish, Work, address_of};

/// Turns a trace's requests into steps.
pub(crate) fn program(requests: &[Request], frames: &Frames) -> Program {
    let followers = followers(requests);
    let mut pass = Pass::new(frames);
    for (request, follower) in requests.iter().zip(followers) {
        pass.before(request, follower.map(|index| &requests[index]));
        pass.request(request);
    }
    pass.program
}

/// For each request the next one of the same task.
fn followers(requests: &[Request]) -> Vec<Option<usize>> {
    let mut next: HashMap<TaskKey, usize> = HashMap::new();
    let mut followers: Vec<_> =
        requests.iter().enumerate().rev().map(|(index, request)| next.insert(request.task, index)).collect();
    followers.reverse();
    followers
}

struct Pass<'a> {
    frames: &'a Frames,
    /// What the L1 tables hold as far as the requests tell, empty entries left out.
    entries: HashMap<Pfn, BTreeMap<usize, Pte>>,
    /// Tables the direct map has read-only.
    live: HashSet<Pfn>,
    /// L1 tables that are older than the trace: what they hold is not known.
    older: HashSet<Pfn>,
    /// Frames that are set up as an L4.
    roots: HashSet<Pfn>,
    program: Program,
}

impl<'a> Pass<'a> {
    fn new(frames: &'a Frames) -> Self {
        let with = |what: Older| move |&(frame, older): &(Pfn, Older)| (older == what).then_some(frame);
        Self {
            frames,
            entries: HashMap::new(),
            live: frames.older().iter().map(|(frame, _)| *frame).collect(),
            older: frames.older().iter().filter_map(with(Older::Table(Level::L1))).collect(),
            roots: frames.older().iter().filter_map(with(Older::Table(Level::L4))).collect(),
            program: Program { steps: Vec::new(), inferred: Inferred::default(), prot_starts: 0 },
        }
    }

    /// Places what must have happened before `request`.
    fn before(&mut self, request: &Request, follower: Option<&Request>) {
        match &request.wish {
            Wish::Work(Work { source: Source::Tlb, .. }) => {
                if let Some(write) =
                    follower.filter(|next| Span::is_one(request.span, next.span)).and_then(direct_write)
                {
                    self.clear_for(request, &write);
                }
            }
            Wish::Work(work) => {
                for operation in &work.operations {
                    self.before_operation(request, operation);
                }
            }
            Wish::TableRelease { frame, level: Level::L1 } if self.live.contains(frame) => {
                self.clear_all(request, *frame)
            }
            Wish::TableAlloc { frame } => self.fresh(request, *frame),
            Wish::Store(write) if write.level == Level::L4 => {
                self.root(request, write.slot.table);
                write.user_slot.into_iter().for_each(|slot| self.root(request, slot.table));
            }
            _ => {}
        }
    }

    fn before_operation(&mut self, request: &Request, operation: &GuestOp) {
        match operation {
            GuestOp::Write(write) | GuestOp::WriteKeepingAd(write) if write.level == Level::L1 => {
                self.clear_for(request, write);
            }
            GuestOp::Remap { frame, raw, .. } if !is_writable(*raw) => self.unmap_writable(request, *frame),
            _ => {}
        }
    }

    fn request(&mut self, request: &Request) {
        let act = match &request.wish {
            Wish::Enter => Act::Enter,
            Wish::Leave => Act::Leave,
            Wish::Flush => Act::Flush,
            Wish::SwitchOut => Act::SwitchOut,
            Wish::SwitchIn { next } => Act::SwitchIn { next: *next },
            Wish::Work(work) => {
                work.operations.iter().for_each(|operation| self.note(operation));
                let operations = work.operations.iter().flat_map(|op| self.operations(op)).collect();
                Act::Work { source: work.source, operations }
            }
            Wish::Store(write) => return self.store(request, write),
            Wish::ProtStart { slot, raw } => return self.prot_start(request, *slot, *raw),
            Wish::TableAlloc { .. } | Wish::TableRelease { .. } => return,
        };
        self.push(request, act);
    }

    /// Remembers what an operation changes.
    fn note(&mut self, operation: &GuestOp) {
        match operation {
            GuestOp::Write(write) | GuestOp::WriteKeepingAd(write) if write.level == Level::L1 => {
                let pte = self.frames.word(write.word);
                self.remember(write.slot, pte);
            }
            GuestOp::Remap { frame, raw, .. } if is_writable(*raw) => {
                self.live.remove(frame);
            }
            GuestOp::Remap { frame, .. } => {
                self.live.insert(*frame);
            }
            _ => {}
        }
    }

    fn remember(&mut self, slot: Slot, pte: Pte) {
        let entries = self.entries.entry(slot.table).or_default();
        if pte == Pte::EMPTY {
            entries.remove(&slot.index);
        } else {
            entries.insert(slot.index, pte);
        }
    }

    fn held(&self, slot: Slot) -> Option<Pte> {
        self.entries.get(&slot.table)?.get(&slot.index).copied()
    }

    /// Clears an entry that is about to map another frame.
    fn clear_for(&mut self, request: &Request, write: &EntryWrite) {
        let new = self.frames.word(write.word);
        let Some(old) = self.held(write.slot).filter(|old| old.is_present() && new.is_present()) else { return };
        if self.live.contains(&write.slot.table) && old.frame() != new.frame() {
            self.trapped(request, write.slot, Pte::EMPTY);
            self.program.inferred.clear_frame_changes += 1;
        }
    }

    fn clear_all(&mut self, request: &Request, table: Pfn) {
        let entries = self.entries.get(&table).into_iter().flatten();
        let present: Vec<usize> = entries.filter(|(_, pte)| pte.is_present()).map(|(index, _)| *index).collect();
        for index in present {
            self.trapped(request, Slot { table, index }, Pte::EMPTY);
            self.program.inferred.clear_table_released += 1;
        }
    }

    /// Clears what live tables still map writable of a frame that is about to be made read-only.
    fn unmap_writable(&mut self, request: &Request, frame: Pfn) {
        let mfn = self.frames.machine(frame);
        let maps = |pte: &Pte| pte.frame() == mfn && pte.is_present() && is_writable(pte.bits());
        let mut slots: Vec<Slot> = self
            .entries
            .iter()
            .filter(|(table, _)| self.live.contains(table))
            .flat_map(|(table, entries)| {
                entries.iter().map(|(index, pte)| (Slot { table: *table, index: *index }, pte))
            })
            .filter_map(|(slot, pte)| maps(pte).then_some(slot))
            .collect();
        slots.sort_unstable();
        for slot in slots {
            self.trapped(request, slot, Pte::EMPTY);
            self.program.inferred.clear_frame_becomes_table += 1;
        }
    }

    /// A frame that becomes a table comes zeroed from the allocator.
    fn fresh(&mut self, request: &Request, frame: Pfn) {
        self.entries.remove(&frame);
        self.roots.remove(&frame);
        self.older.remove(&frame);
        let frame = self.frames.machine(frame);
        self.push(request, Act::Guest(GuestEvent::Zero { frame }));
    }

    /// No event shows an L4's birth: it is the first store to one.
    fn root(&mut self, request: &Request, table: Pfn) {
        if self.roots.contains(&table) {
            return;
        }
        self.fresh(request, table);
        self.roots.insert(table);
        let frame = self.frames.machine(table);
        self.push(request, Act::Guest(GuestEvent::CopyKernelHalf { frame }));
    }

    fn store(&mut self, request: &Request, write: &EntryWrite) {
        let value = self.frames.word(write.word).bits();
        for slot in [Some(write.slot), write.user_slot].into_iter().flatten() {
            let slot = self.machine_slot(slot);
            self.push(request, Act::Guest(GuestEvent::Store { slot, value }));
        }
    }

    fn prot_start(&mut self, request: &Request, slot: Slot, raw: u64) {
        self.program.prot_starts += 1;
        let shown = Pte::from_bits(raw);
        match self.held(slot) {
            None if self.older.contains(&slot.table) => {
                self.trapped(request, slot, shown);
                self.program.inferred.first_seen += 1;
            }
            Some(held) if write_protected(held, shown) => {
                self.trapped(request, slot, shown);
                self.program.inferred.write_protect += 1;
            }
            _ => {
                let slot = self.machine_slot(slot);
                self.push(request, Act::Compare { slot, raw });
            }
        }
    }

    fn trapped(&mut self, request: &Request, slot: Slot, pte: Pte) {
        self.remember(slot, pte);
        let slot = self.machine_slot(slot);
        self.push(request, Act::Guest(GuestEvent::Trapped { slot, value: pte.bits() }));
    }

    fn push(&mut self, request: &Request, act: Act) {
        let Request { line, vcpu, task, interrupt, span, .. } = *request;
        self.program.steps.push(Step { line, vcpu, task, interrupt, span, act });
    }

    fn machine_slot(&self, slot: Slot) -> MachineSlot {
        MachineSlot { table: self.frames.machine(slot.table), index: slot.index }
    }

    /// The same in the hypervisor's terms: two updates for an L4 entry that user mode has too, else one operation.
    fn operations(&self, operation: &GuestOp) -> Vec<Operation> {
        let machine = |frame| self.frames.machine(frame);
        let op = match *operation {
            GuestOp::Write(write) => return self.updates(&write, UpdateCommand::Normal),
            GuestOp::WriteKeepingAd(write) => return self.updates(&write, UpdateCommand::PreserveAd),
            GuestOp::Remap { frame, raw, flush } => return vec![remap(address_of(frame), raw, flush)],
            GuestOp::StackSwitch { ss, sp } => {
                return vec![Operation::StackSwitch { ss, sp: VirtAddr::unchecked(sp) }];
            }
            GuestOp::Pin { table, level } => MmuextOp::Pin { level, table: machine(table) },
            GuestOp::Unpin { table, .. } => MmuextOp::Unpin { table: machine(table) },
            GuestOp::Base { user, table } => base(user, table.map(machine)),
            GuestOp::Tlb(flush) => self.tlb(flush),
        };
        vec![Operation::Mmuext { op, domain: DomId::SELF }]
    }

    fn updates(&self, write: &EntryWrite, command: UpdateCommand) -> Vec<Operation> {
        let pte = self.frames.word(write.word);
        let update = |slot: Slot| {
            let place = PteSlot::of(self.frames.machine(slot.table), slot.index).with_command(command);
            Operation::Update { update: MmuUpdate::new(place, pte), subject: Subject::SELF }
        };
        [Some(write.slot), write.user_slot].into_iter().flatten().map(update).collect()
    }

    /// Which vCPUs a flush of several meant is not recorded, so it goes to all.
    fn tlb(&self, flush: TlbFlush) -> MmuextOp {
        let vcpus = || (0..self.frames.vcpus()).map(VcpuId::new).collect::<VcpuMask>();
        match flush {
            TlbFlush::Local => MmuextOp::TlbFlushLocal,
            TlbFlush::All => MmuextOp::TlbFlushAll,
            TlbFlush::One(address) => MmuextOp::InvlpgLocal { address },
            TlbFlush::Multi => MmuextOp::TlbFlushMulti { vcpus: vcpus() },
            TlbFlush::OneMulti(address) => MmuextOp::InvlpgMulti { address, vcpus: vcpus() },
        }
    }
}

fn direct_write(request: &Request) -> Option<EntryWrite> {
    let Wish::Work(Work { source: Source::PteWrite, operations }) = &request.wish else { return None };
    let [GuestOp::Write(write)] = operations.as_slice() else { return None };
    Some(*write)
}

fn is_writable(raw: u64) -> bool {
    Pte::from_bits(raw).flags().contains(PteFlags::RW)
}

/// Whether the entry is what it was known to be, but read-only.
fn write_protected(held: Pte, shown: Pte) -> bool {
    held.is_present()
        && shown.is_present()
        && held.frame() == shown.frame()
        && is_writable(held.bits())
        && !is_writable(shown.bits())
}

fn remap(va: VirtAddr, raw: u64, flush: bool) -> Operation {
    let flush = if flush { VaFlush::Tlb(FlushScope::Local) } else { VaFlush::None };
    Operation::UpdateVaMapping { va, pte: Pte::from_bits(raw), flush }
}

fn base(user: bool, table: Option<Mfn>) -> MmuextOp {
    let table = table.unwrap_or(Mfn::new(0));
    if user { MmuextOp::NewUserBaseptr { table } } else { MmuextOp::NewBaseptr { table } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::extract::requests;
    use crate::replay::testing::{RO, RW, Script, mfn};
    use mmu_trace::{EventKind, Level as Recorded};

    fn steps(script: &Script) -> Program {
        let requests = requests(&script.events).unwrap();
        program(&requests, &Frames::learn(&requests).unwrap())
    }

    /// Each step's kind, and the index of the entry a trapped write is for.
    fn shape(program: &Program) -> Vec<String> {
        let name = |step: &Step| match &step.act {
            Act::Guest(GuestEvent::Trapped { slot, value }) => format!("trapped {} {value:x}", slot.index),
            Act::Guest(GuestEvent::Store { slot, .. }) => format!("store {}", slot.index),
            Act::Guest(GuestEvent::Zero { .. }) => "zero".into(),
            Act::Guest(GuestEvent::CopyKernelHalf { .. }) => "half".into(),
            Act::Compare { slot, .. } => format!("compare {}", slot.index),
            Act::Work { source, operations } => format!("{source:?} {}", operations.len()),
            other => format!("{other:?}"),
        };
        program.steps.iter().map(name).collect()
    }

    #[test]
    fn an_entry_that_changes_its_frame_was_cleared() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).set_pte(5, 1, 9, RO).set_pte(5, 1, 0xa, RW);
        let program = steps(&script);
        assert_eq!(shape(&program), ["PteWrite 1", "PteWrite 1", "trapped 1 0", "PteWrite 1"]);
        assert_eq!(program.inferred, Inferred { clear_frame_changes: 1, ..Inferred::default() });
    }

    #[test]
    fn a_copy_on_write_clears_before_its_flush() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RO).fault().flush_one().set_pte(5, 1, 0xa, RW);
        script.flush_one().fault().set_pte(5, 1, 0xb, RW);
        let cow = ["PteWrite 1", "trapped 1 0", "Tlb 1", "PteWrite 1"];
        let apart = ["Tlb 1", "trapped 1 0", "PteWrite 1"];
        assert_eq!(shape(&steps(&script)), [cow.as_slice(), apart.as_slice()].concat());
    }

    #[test]
    fn nothing_is_inferred_in_a_table_nobody_has_validated() {
        let mut script = Script::new();
        script.alloc(5, Recorded::L1, false).set_pte(5, 1, 9, RW).set_pte(5, 1, 0xa, RW);
        script.release(5, Recorded::L1, false);
        let program = steps(&script);
        assert_eq!(shape(&program), ["zero", "PteWrite 1", "PteWrite 1"]);
        assert_eq!(program.inferred, Inferred::default());
    }

    #[test]
    fn a_live_table_is_cleared_before_its_release_and_zero_when_it_comes_back() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).set_pte(5, 2, 0xa, RW);
        script.release(5, Recorded::L1, true).bracket(&[Script::MMUEXT, Script::remap(5, true)]);
        script.alloc(5, Recorded::L1, false);
        let program = steps(&script);
        assert_eq!(shape(&program), ["PteWrite 1", "PteWrite 1", "trapped 1 0", "trapped 2 0", "Table 2", "zero"]);
        assert_eq!(program.inferred.clear_table_released, 2);
    }

    #[test]
    fn a_frame_that_becomes_a_table_is_mapped_writable_no_more() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).set_pte(5, 2, 9, RO);
        script.alloc(9, Recorded::L1, true).bracket(&[Script::remap(9, false), Script::MMUEXT]);
        let program = steps(&script);
        assert_eq!(shape(&program), ["PteWrite 1", "PteWrite 1", "zero", "trapped 1 0", "Table 2"]);
        assert_eq!(program.inferred.clear_frame_becomes_table, 1);
    }

    #[test]
    fn a_protection_change_compares_unless_it_corrects() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).set_pte(5, 2, 0xa, RW).set_pte(5, 4, 0xb, RW).enter();
        script.protect(5, 1, 9, RW, RO).protect(5, 2, 0xa, RO, RW).protect(5, 3, 0xc, RW, RO).protect(
            5,
            4,
            0xb,
            RW | 8,
            RO,
        );
        script.leave();
        let program = steps(&script);
        let trapped = |index, frame, flags| format!("trapped {index} {:x}", mfn(frame) << 12 | flags);
        let looks: Vec<_> = shape(&program).into_iter().filter(|shape| !shape.starts_with("P")).collect();
        let expected = [
            "Enter".into(),
            "compare 1".into(),
            trapped(2, 0xa, RO),
            trapped(3, 0xc, RW),
            "compare 4".into(),
            "Leave".into(),
        ];
        assert_eq!(looks, expected);
        assert_eq!(program.inferred, Inferred { write_protect: 1, first_seen: 1, ..Inferred::default() });
        assert_eq!(program.prot_starts, 4);
    }

    #[test]
    fn an_l4_is_born_at_its_first_store() {
        let mut script = Script::new();
        script.alloc(9, Recorded::L3, false).set_l4(4, 5, 0, 9).set_l4(4, 5, 1, 9);
        script.alloc(5, Recorded::L1, false).set_l4(4, 5, 2, 9);
        let born = ["zero", "half", "zero", "half", "store 0", "store 0"];
        let again = ["store 1", "store 1", "zero", "zero", "half", "store 2", "store 2"];
        let expected = [&["zero"], born.as_slice(), again.as_slice()].concat();
        assert_eq!(shape(&steps(&script)), expected);
    }

    #[test]
    fn a_pinned_l4_entry_is_two_updates() {
        let mut script = Script::new();
        script.set_l4(4, 5, 0, 9).bracket(&[(hypercall::abi::HYPERCALL_MMU_UPDATE, [0; 3]); 2]);
        let program = steps(&script);
        let Act::Work { operations, .. } = &program.steps[0].act else { panic!("no work") };
        let values: Vec<u64> = operations
            .iter()
            .map(|operation| match operation {
                Operation::Update { update, .. } => update.value & !0xfff,
                _ => 0,
            })
            .collect();
        assert_eq!(values.len(), 2);
        assert_eq!(values[0], values[1]);
    }

    #[test]
    fn flushes_of_several_vcpus_go_to_all() {
        let mut script = Script::new();
        script.on(1, 3).push(EventKind::TlbFlushMulti { cpus: 2, mm: 1, start: 0, end: u64::MAX });
        script.bracket(&[Script::MMUEXT]);
        let program = steps(&script);
        let vcpus = [0, 1].into_iter().map(VcpuId::new).collect();
        let expected = Operation::Mmuext { op: MmuextOp::TlbFlushMulti { vcpus }, domain: DomId::SELF };
        assert!(matches!(&program.steps[0].act, Act::Work { operations, .. } if operations == &[expected]));
    }
}
