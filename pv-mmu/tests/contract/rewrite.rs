//! Read-modify-write operations: what they issue, what they answer, and that no note of the hardware is
//! lost, whatever another processor does at whatever moment.

use std::collections::BTreeMap;

use hypercall::{Mfn, MmuextOp, Operation, Pte, PteFlags, PteSlot, UpdateCommand};
use proptest::prelude::*;
use pv_mmu::{HarvestError, Held, HeldBuffer, Operations, RangeError, ReadModifyWrite, Region, TaskState};

use crate::{
    kernel::{Kernel, Memory},
    model::{Model, Use},
    world::{preserving, update},
};

type Small = Kernel<Model, Model, 6, 4, 20>;

const USED: PteFlags = PteFlags::ACCESSED;
const WRITTEN: PteFlags = PteFlags::ACCESSED_DIRTY;
const RO: PteFlags = PteFlags::PRESENT.union(PteFlags::USER);
const RW: PteFlags = RO.union(PteFlags::RW);

fn kernel() -> (Model, Small) {
    let model = Model::default();
    (model.clone(), Kernel::new(model.clone(), [model.clone()]))
}

fn slot(n: usize) -> PteSlot {
    PteSlot::of(Mfn::new(1), n)
}

fn pte(n: u64, flags: PteFlags) -> Pte {
    Pte::new(Mfn::new(0x100 + n), flags)
}

fn preset(model: &Model, n: usize, pte: Pte) {
    model.0.borrow_mut().entries.insert(slot(n).address(), pte.bits());
}

fn applied(model: &Model) -> Vec<Operation> {
    std::mem::take(&mut model.0.borrow_mut().applied)
}

#[test]
fn a_range_is_emptied_by_one_array_and_what_it_held_is_told() {
    let (model, kernel) = kernel();
    let (first, swap) = (pte(1, RW | WRITTEN), Pte::from_bits(0x7060));
    [(0, first), (2, swap), (3, pte(3, RO))].iter().for_each(|(n, pte)| preset(&model, *n, *pte));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let mut buffer = HeldBuffer::<5>::new();
    let mut harvest = region.harvest(&mut buffer);
    harvest.get_and_clear_range(slot(0), 5).unwrap();
    assert!(applied(&model).is_empty(), "it waits");
    let held: Vec<_> = harvest.finish().iter().map(|held| (held.slot(), held.pte())).collect();
    assert_eq!(held, [(slot(0), first), (slot(2), swap), (slot(3), pte(3, RO))]);
    let none = Pte::EMPTY;
    assert_eq!(applied(&model), [preserving(slot(0), none), update(slot(2), none), preserving(slot(3), none)]);
    assert_eq!(model.0.borrow().hypercalls, [3]);
    assert_eq!(model.read(slot(0)).bits(), 0x60, "the notes stay");
    assert_eq!(model.read(slot(2)), Pte::EMPTY, "bits of a swap entry are no notes");
    region.leave().unwrap();
}

#[test]
fn a_cleaning_harvest_leaves_nothing() {
    let (model, kernel) = kernel();
    preset(&model, 0, pte(1, RW | WRITTEN));
    preset(&model, 1, pte(2, RW));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let mut buffer = HeldBuffer::<2>::new();
    let mut harvest = region.harvest(&mut buffer).cleaning();
    harvest.get_and_clear_range(slot(0), 2).unwrap();
    assert_eq!(harvest.finish().len(), 2);
    region.leave().unwrap();
    assert_eq!((model.read(slot(0)), model.read(slot(1))), (Pte::EMPTY, Pte::EMPTY));
    assert_eq!(model.0.borrow().hypercalls, [2, 1], "only what holds notes is written again");
}

#[test]
fn what_is_pending_for_an_entry_goes_out_before_it_is_emptied() {
    let (model, kernel) = kernel();
    preset(&model, 0, pte(1, RW));
    model.0.borrow_mut().poison.insert(pte(2, RW).bits());
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(2, RW));
    let held = region.get_and_clear(slot(0)).unwrap();
    assert_eq!(held.pte(), pte(1, RW), "the pending write was refused, so this is what was there");
    assert_eq!(region.leave().unwrap_err().count(), 1);
}

#[test]
fn an_entry_that_is_not_emptied_is_not_told_as_emptied() {
    let (model, kernel) = kernel();
    (0..3).for_each(|n| preset(&model, n, pte(n as u64, RW)));
    model.0.borrow_mut().refused_slot = Some(slot(1));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let mut buffer = HeldBuffer::<3>::new();
    let mut harvest = region.harvest(&mut buffer);
    harvest.get_and_clear_range(slot(0), 3).unwrap();
    let held: Vec<_> = harvest.finish().iter().map(|held| held.slot()).collect();
    assert_eq!(held, [slot(0), slot(2)]);
    let failures = region.leave().unwrap_err();
    assert_eq!((failures.count(), model.read(slot(1))), (1, pte(1, RW)));
    let mut outside = kernel.mmu().outside(&mut task, kernel.task());
    let refused = outside.get_and_clear(slot(1)).map(|(held, _)| held.slot()).unwrap_err();
    assert_eq!((refused.slot, refused.to_string().contains("was not emptied")), (slot(1), true));
    assert_eq!(outside.read_pte(slot(1)), pte(1, RW));
    assert_eq!(kernel.failed().len(), 1);
}

#[test]
fn bad_ranges_and_full_buffers_change_nothing() {
    let (model, kernel) = kernel();
    preset(&model, 0, pte(1, RW));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let beyond = RangeError::BeyondTable { slot: slot(510), count: 3 };
    assert_eq!(region.wrprotect_range(slot(510), 3), Err(beyond));
    assert_eq!(region.test_and_clear_young_range(slot(0), 0), Err(RangeError::Empty));
    assert_eq!(region.modify_range(slot(0), 513, |_, _| None).map_err(|_| ()), Err(()));
    let mut buffer = HeldBuffer::<2>::new();
    let mut harvest = region.harvest(&mut buffer);
    assert_eq!(harvest.get_and_clear_range(slot(510), 3), Err(HarvestError::Range(beyond)));
    assert_eq!(harvest.get_and_clear_range(slot(0), 3), Err(HarvestError::Full { room: 2 }));
    assert!(harvest.finish().is_empty());
    region.leave().unwrap();
    assert!(model.0.borrow().hypercalls.is_empty());
}

#[test]
fn the_room_left_in_a_buffer_is_told() {
    let (model, kernel) = kernel();
    (0..3).for_each(|n| preset(&model, n, pte(n as u64, RW)));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let mut buffer = HeldBuffer::<3>::new();
    let mut harvest = region.harvest(&mut buffer);
    harvest.get_and_clear(slot(1)).unwrap();
    assert_eq!((harvest.room(), format!("{harvest:?}").contains("room: 2")), (2, true), "{harvest:?}");
    let full = harvest.get_and_clear_range(slot(0), 3).unwrap_err();
    assert_eq!((full, full.to_string().contains("2 more entries")), (HarvestError::Full { room: 2 }, true));
    harvest.get_and_clear_range(slot(3), 2).unwrap();
    assert_eq!(harvest.room(), 2, "what is empty takes none");
    assert_eq!(harvest.finish().len(), 1);
    region.leave().unwrap();
}

#[test]
fn notes_are_gathered_from_whichever_table_the_entry_is_in() {
    let (model, kernel) = kernel();
    let elsewhere = |n| PteSlot::of(Mfn::new(2), n);
    let places = [slot(1), elsewhere(1), elsewhere(2), slot(2)];
    for at in places {
        model.0.borrow_mut().entries.insert(at.address(), pte(1, RW).bits());
    }
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let mut buffer = HeldBuffer::<4>::new();
    let mut harvest = region.harvest(&mut buffer);
    places.into_iter().for_each(|at| harvest.get_and_clear(at).unwrap());
    model.0.borrow_mut().touch(elsewhere(1), Use::Store);
    model.0.borrow_mut().touch(slot(2), Use::Load);
    let held = harvest.finish();
    let noted: Vec<_> = held.iter().map(|held| (held.was_accessed(), held.was_dirty())).collect();
    assert_eq!(noted, [(false, false), (true, true), (false, false), (true, false)]);
    assert!(held.iter().all(|held| held.was_present() && held.frame() == pte(1, RW).frame()));
    region.leave().unwrap();
}

#[test]
fn a_change_of_a_range_knows_the_notes_below_what_is_pending() {
    let (model, kernel) = kernel();
    (3..6).for_each(|n| preset(&model, n, pte(n as u64, if n == 4 { RW | USED } else { RW })));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    (3..6).for_each(|n| region.commit_pte(slot(n), pte(n as u64, RO)));
    let mut known = Vec::new();
    region
        .modify_range(slot(3), 3, |_, entry| {
            known.push((entry.frame(), entry.flags(), entry.noted_so_far(), entry.is_writable()));
            None
        })
        .unwrap();
    let frame = |n: u64| pte(n, RO).frame();
    let none = PteFlags::NONE;
    assert_eq!(known, [(frame(3), RO, none, false), (frame(4), RO, USED, false), (frame(5), RO, none, false)]);
    region.leave().unwrap();
}

#[test]
fn write_protection_keeps_the_notes_and_leaves_read_only_entries_alone() {
    let (model, kernel) = kernel();
    [pte(1, RW), pte(2, RO), pte(3, RW | USED), Pte::from_bits(2)]
        .iter()
        .enumerate()
        .for_each(|(n, pte)| preset(&model, n, *pte));
    let mut task = TaskState::new();
    let mut outside = kernel.mmu().outside(&mut task, kernel.task());
    outside.wrprotect_range(slot(0), 4).unwrap().deferred();
    assert_eq!(applied(&model), [preserving(slot(0), pte(1, RO)), preserving(slot(2), pte(3, RO | USED))]);
    assert_eq!(model.0.borrow().hypercalls, [2]);
}

#[test]
fn a_change_is_committed_with_the_notes_made_meanwhile() {
    let (model, kernel) = kernel();
    preset(&model, 0, pte(1, RW));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let change = region.modify_start(slot(0));
    assert_eq!((change.known().pte(), change.known().noted_so_far()), (pte(1, RW), PteFlags::NONE));
    preset(&model, 0, pte(1, RW | WRITTEN));
    let writable = change.known().flags();
    region.modify_commit(change, pte(1, writable.without(PteFlags::RW)));
    region.leave().unwrap();
    assert_eq!(model.read(slot(0)), pte(1, RO | WRITTEN));
}

#[test]
fn a_used_entry_grows_old_and_stays_dirty() {
    let (model, kernel) = kernel();
    let before = [pte(1, RW | WRITTEN), pte(2, RO | USED), pte(3, RW | USED), pte(4, RW), Pte::EMPTY];
    before.iter().enumerate().for_each(|(n, pte)| preset(&model, n, *pte));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let young = region.test_and_clear_young_range(slot(0), 5).unwrap();
    assert_eq!((0..5).map(|n| young.contains(n)).collect::<Vec<_>>(), [true, true, true, false, false]);
    assert_eq!(young.count(), 3);
    region.leave().unwrap();
    let after = [pte(1, RW | PteFlags::DIRTY), pte(2, RO), pte(3, RW), pte(4, RW), Pte::EMPTY];
    (0..5).for_each(|n| assert_eq!(model.read(slot(n)), after[n]));
    // Only the entry whose dirty bit may yet be set needs two updates.
    assert_eq!(model.0.borrow().hypercalls, [3, 1]);
}

#[test]
fn a_swap_entry_has_no_age_whatever_its_bits_are() {
    let (model, kernel) = kernel();
    preset(&model, 0, Pte::from_bits(0x7060));
    preset(&model, 1, pte(1, RW));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    assert!(!region.test_and_clear_young(slot(0)) && !region.test_and_clear_young(slot(1)));
    region.leave().unwrap();
    assert!(applied(&model).is_empty());
}

#[test]
fn a_used_entry_whose_change_is_refused_is_refused_once_and_stays_as_it_was() {
    let (model, kernel) = kernel();
    preset(&model, 0, pte(1, RW | USED));
    model.0.borrow_mut().refused_slot = Some(slot(0));
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    assert!(region.test_and_clear_young(slot(0)));
    assert_eq!(region.leave().unwrap_err().count(), 1);
    assert_eq!(model.read(slot(0)), pte(1, RW | USED));
}

#[test]
fn s46_an_entry_is_put_back_as_it_was() {
    let (model, kernel) = kernel();
    preset(&model, 0, pte(1, RW | USED));
    model.0.borrow_mut().walker.uses = [None, Some((slot(0), Use::Store))].into();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let held = region.get_and_clear(slot(0)).unwrap();
    assert!(held.was_dirty(), "a store between the read and the update");
    region.set_pte(slot(0), held.pte());
    region.leave().unwrap();
    assert_eq!(model.read(slot(0)), pte(1, RW | WRITTEN));
}

#[test]
fn b18_a_read_modify_write_cannot_pass_a_pending_write() {
    // What Linux's ptep_get_and_clear does on Xen: it acts on memory, past the queue, and the write that
    // was queued before becomes effective behind it.
    let (model, kernel) = kernel();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    region.set_pte(slot(0), pte(1, RW));
    region.wrprotect(slot(0));
    assert_eq!(region.get_and_clear(slot(0)).unwrap().pte(), pte(1, RO));
    region.set_pte(slot(1), pte(2, RW | USED));
    assert!(region.test_and_clear_young(slot(1)));
    region.leave().unwrap();
    assert!(model.read(slot(0)).is_none());
    assert_eq!(model.read(slot(1)), pte(2, RW));
}

#[derive(Clone, Debug)]
enum Act {
    /// Maps a page where there is none.
    Map(usize, bool),
    Zap(usize, usize),
    ZapOne(usize),
    WriteProtect(usize, usize),
    MakeWritable(usize, usize),
    Age(usize, usize),
    AgeOne(usize),
    Interrupted(usize),
    Barrier,
    Flush,
    Switch,
}

const SLOTS: usize = 5;

fn act() -> impl Strategy<Value = Act> {
    let range = || (0..SLOTS).prop_flat_map(|from| (Just(from), 1..=SLOTS - from));
    prop_oneof![
        6 => (0..SLOTS, any::<bool>()).prop_map(|(n, writable)| Act::Map(n, writable)),
        2 => range().prop_map(|(from, count)| Act::Zap(from, count)),
        1 => (0..SLOTS).prop_map(Act::ZapOne),
        2 => range().prop_map(|(from, count)| Act::WriteProtect(from, count)),
        2 => range().prop_map(|(from, count)| Act::MakeWritable(from, count)),
        2 => range().prop_map(|(from, count)| Act::Age(from, count)),
        1 => (0..SLOTS).prop_map(Act::AgeOne),
        1 => (0..SLOTS).prop_map(Act::Interrupted),
        1 => Just(Act::Barrier),
        1 => Just(Act::Flush),
        1 => Just(Act::Switch),
    ]
}

fn uses() -> impl Strategy<Value = Vec<Option<(PteSlot, Use)>>> {
    let used = (0..SLOTS, prop_oneof![Just(Use::Load), Just(Use::Store)]);
    prop::collection::vec(prop::option::of(used.prop_map(|(n, used)| (slot(n), used))), 0..200)
}

/// What a program has been told, and what must be in memory but for accessed and dirty.
#[derive(Default)]
struct Told {
    held: Vec<Held>,
    young: BTreeMap<PteSlot, usize>,
    expected: [Pte; SLOTS],
    pages: u64,
}

impl Told {
    fn zapped(&mut self, from: usize, count: usize, held: &[Held]) {
        self.held.extend(held.iter().filter(|held| held.was_present()));
        self.expected[from..from + count].fill(Pte::EMPTY);
    }

    fn protect(&mut self, from: usize, count: usize, flags: PteFlags) {
        let present = |pte: &&mut Pte| pte.is_present();
        let entries = self.expected[from..from + count].iter_mut().filter(present);
        entries.for_each(|pte| *pte = pte.with_flags(flags));
    }

    fn aged(&mut self, n: usize, young: bool) {
        *self.young.entry(slot(n)).or_default() += usize::from(young);
    }

    fn act(&mut self, kernel: &Small, region: &mut Region<'_, Small>, act: &Act) {
        match *act {
            Act::Map(n, writable) if self.expected[n] == Pte::EMPTY => {
                self.pages += 1;
                self.expected[n] = pte(self.pages, if writable { RW } else { RO });
                region.set_pte(slot(n), self.expected[n]);
            }
            Act::Map(..) => {}
            Act::Zap(from, count) => {
                let mut buffer = HeldBuffer::<SLOTS>::new();
                let mut harvest = region.harvest(&mut buffer);
                harvest.get_and_clear_range(slot(from), count).expect("there is room");
                self.zapped(from, count, harvest.finish());
            }
            Act::ZapOne(n) => self.zapped(n, 1, &[region.get_and_clear(slot(n)).expect("nothing is refused")]),
            Act::WriteProtect(from, count) => {
                region.wrprotect_range(slot(from), count).expect("a range");
                self.protect(from, count, RO);
            }
            Act::MakeWritable(from, count) => {
                let writable = |_, known: pv_mmu::Known| {
                    known.is_present().then(|| known.pte().with_flags(known.pte().flags() | PteFlags::RW))
                };
                region.modify_range(slot(from), count, writable).expect("a range");
                self.protect(from, count, RW);
            }
            Act::Age(from, count) => {
                let young = region.test_and_clear_young_range(slot(from), count).expect("a range");
                (0..count).for_each(|n| self.aged(from + n, young.contains(n)));
            }
            Act::AgeOne(n) => {
                let young = region.test_and_clear_young(slot(n));
                self.aged(n, young);
            }
            Act::Interrupted(n) => {
                let held = kernel.mmu().interrupt(kernel.interrupt()).get_and_clear(slot(n));
                self.zapped(n, 1, &[held.expect("nothing is refused")]);
            }
            Act::Barrier => region.mmuext(MmuextOp::TlbFlushLocal),
            Act::Flush => region.flush(),
            Act::Switch => kernel.mmu().switch(kernel.switch()).finish(),
        }
    }
}

/// Runs a program in one region while the other processor does what `uses` says.
fn play(acts: &[Act], uses: Vec<Option<(PteSlot, Use)>>) -> (Model, Told) {
    let (model, kernel) = kernel();
    model.0.borrow_mut().walker.uses = uses.into();
    let (mut task, mut told) = (TaskState::new(), Told::default());
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    acts.iter().for_each(|act| told.act(&kernel, &mut region, act));
    region.leave().expect("nothing is refused");
    (model, told)
}

proptest! {
    #[test]
    fn no_note_is_lost_whatever_is_used_when(acts in prop::collection::vec(act(), 0..25), uses in uses()) {
        let (model, told) = play(&acts, uses);
        let state = model.0.borrow();
        let held: Vec<_> = told.held.iter().map(|held| (held.slot(), held.pte())).collect();
        prop_assert_eq!(&held, &state.emptied, "what was held, with the notes of that moment");
        for (slot, lost) in &state.overwritten {
            prop_assert_eq!(*lost, USED, "only being old is asked for, and only of entries that were used");
            let young = told.young.get(slot).copied().unwrap_or(0);
            let grown_old = state.overwritten.iter().filter(|(other, _)| other == slot).count();
            prop_assert!(grown_old <= young, "{:?} grew old {} times and was young {}", slot, grown_old, young);
        }
        for (n, expected) in told.expected.iter().enumerate() {
            let held = Pte::from_bits(state.entries.get(&slot(n).address()).copied().unwrap_or(0));
            prop_assert_eq!(held.with_flags(held.flags().without(WRITTEN)), *expected);
        }
    }
}

/// The fault that all of it is against: a normal update where one that preserves is due.
#[test]
fn a_normal_update_loses_a_note_and_that_is_seen() {
    let (model, kernel) = kernel();
    preset(&model, 0, pte(1, RW));
    model.0.borrow_mut().walker.uses = [None, Some((slot(0), Use::Store))].into();
    let mut task = TaskState::new();
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let known = region.read_pte(slot(0));
    region.set_pte(slot(0).with_command(UpdateCommand::Normal), known.with_flags(RO));
    region.leave().unwrap();
    assert_eq!(model.0.borrow().overwritten, [(slot(0), WRITTEN)]);
}
