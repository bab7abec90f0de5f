//! Random programs of several tasks on two vCPUs: the referee finds nothing, and memory ends as if
//! every operation had been applied when it was asked for.

use std::collections::BTreeMap;

use hypercall::{Mfn, MmuextOp, Operation, Pte, PteSlot, VirtAddr};
use mock_xen::referee::Profile as Judged;
use proptest::prelude::*;
use pv_mmu::{Profile, TaskState};

use crate::world::{OnMock, Watch, World, invlpg, preserving, update};

const TASKS: usize = 4;

#[derive(Clone, Debug)]
enum Act {
    Enter,
    Leave,
    Pause,
    Resume,
    Set(usize, usize, usize),
    Clear(usize, usize),
    Flush(u64),
    FlushAll,
    Read(usize, usize),
    Interrupt(usize, usize, usize),
    /// The vCPU runs another task, which may come from the other vCPU.
    Switch(usize),
    /// Goes on on the other vCPU.
    OtherVcpu,
}

fn act() -> impl Strategy<Value = Act> {
    let (table, index, page) = (0..2_usize, 0..6_usize, 0..9_usize);
    prop_oneof![
        3 => Just(Act::Enter),
        3 => Just(Act::Leave),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        8 => (table.clone(), index.clone(), page.clone()).prop_map(|(t, i, p)| Act::Set(t, i, p)),
        2 => (table.clone(), index.clone()).prop_map(|(t, i)| Act::Clear(t, i)),
        2 => (0..4_u64).prop_map(Act::Flush),
        1 => Just(Act::FlushAll),
        1 => (table.clone(), index.clone()).prop_map(|(t, i)| Act::Read(t, i)),
        1 => (table, index, page).prop_map(|(t, i, p)| Act::Interrupt(t, i, p)),
        2 => (0..TASKS).prop_map(Act::Switch),
        2 => Just(Act::OtherVcpu),
    ]
}

/// Tasks, what runs where, and what memory must hold in the end.
struct Play<'w> {
    world: &'w World,
    watches: Vec<Watch<'w>>,
    states: Vec<TaskState>,
    running: [usize; 2],
    expected: BTreeMap<PteSlot, Pte>,
}

impl Play<'_> {
    fn act(&mut self, vcpu: usize, act: &Act) {
        let task = self.running[vcpu];
        let (watch, state) = (&self.watches[task], &mut self.states[task]);
        let mut dynamic = watch.dynamic(state);
        // Each task has entries of its own, as if it held their lock: two vCPUs that write one entry
        // without a lock have no order to keep.
        let slot = |table, index| self.world.slot(table, 6 * task + index);
        // A refused call changes nothing; which calls are refused is other tests' business.
        match *act {
            Act::Enter => {
                let _ = dynamic.enter();
            }
            Act::Leave => {
                let _ = dynamic.leave();
            }
            Act::Pause => {
                let _ = dynamic.pause();
            }
            Act::Resume => {
                let _ = dynamic.resume();
            }
            Act::Set(table, index, page) => {
                dynamic.set(slot(table, index), self.world.page(page));
                self.expected.insert(slot(table, index), self.world.stored(page));
            }
            Act::Clear(table, index) => {
                dynamic.set(slot(table, index), Pte::EMPTY);
                self.expected.insert(slot(table, index), Pte::EMPTY);
            }
            Act::Flush(page) => dynamic.mmuext(invlpg(page)),
            Act::FlushAll => dynamic.mmuext(MmuextOp::TlbFlushAll),
            Act::Read(table, index) => dynamic.read(slot(table, index)),
            Act::Interrupt(table, index, page) => {
                watch.interrupt(&update(slot(table, index), self.world.page(page))).expect("nothing is refused");
                self.expected.insert(slot(table, index), self.world.stored(page));
            }
            Act::Switch(next) => self.switch(vcpu, next),
            Act::OtherVcpu => {}
        }
    }

    fn switch(&mut self, vcpu: usize, next: usize) {
        if self.running.contains(&next) {
            return;
        }
        let stack = Operation::StackSwitch { ss: 0xe02b, sp: VirtAddr::unchecked((next as u64 + 1) << 12) };
        self.watches[self.running[vcpu]].switch_to(&self.watches[next], &[stack]);
        self.running[vcpu] = next;
    }

    /// Every task closes what it has open.
    fn finish(&mut self, kernel: &OnMock<'_>) {
        for task in 0..TASKS {
            let vcpu = usize::from(self.running[0] != task);
            kernel.current.set(vcpu);
            self.switch(vcpu, task);
            while self.states[task].depth() > 0 || self.states[task].is_paused() {
                let mut dynamic = self.watches[task].dynamic(&mut self.states[task]);
                let _ = dynamic.resume();
                let _ = dynamic.leave();
            }
        }
    }
}

proptest! {
    #[test]
    fn the_referee_finds_nothing(acts in prop::collection::vec(act(), 0..60), nested: bool) {
        let (judged, profile) =
            if nested { (Judged::Nested, Profile::Nested) } else { (Judged::Strict, Profile::Strict) };
        let world = World::new(judged);
        let kernel = world.kernel::<false>();
        let watches = (0..TASKS as u64).map(|id| Watch::new(&world, &kernel, id)).collect();
        let states = (0..TASKS).map(|_| TaskState::with_profile(profile)).collect();
        let mut play = Play { world: &world, watches, states, running: [0, 1], expected: BTreeMap::new() };
        let mut vcpu = 0;
        for act in &acts {
            if matches!(act, Act::OtherVcpu) {
                vcpu = 1 - vcpu;
            }
            kernel.current.set(vcpu);
            play.act(vcpu, act);
        }
        play.finish(&kernel);
        let verdict = world.referee().verdict();
        prop_assert!(verdict.is_clean() && verdict.pending == 0, "{}", verdict);
        for (slot, pte) in &play.expected {
            prop_assert_eq!(world.memory(*slot), *pte);
        }
        prop_assert!(world.xen.audit().is_ok());
    }
}

/// What the property above would say of a batcher that loses a write.
#[test]
fn a_lost_write_is_found() {
    let world = World::strict();
    let kernel = world.kernel::<false>();
    let watch = Watch::new(&world, &kernel, 1);
    world.referee().enter(watch.asker(), true);
    let lost = preserving(PteSlot::of(Mfn::new(world.tables[0].number()), 1), world.page(0));
    world.referee().answered(world.referee().ask(watch.asker(), lost));
    world.referee().leave(watch.asker());
    world.referee().left(watch.asker(), true);
    world.assert_broken(&[mock_xen::referee::Rule::R2]);
}
