//! Random programs: batched and one by one come to the same, nothing is lost, doubled or unaccounted
//! for, whatever is refused on the way.

use hypercall::{DomId, Mfn, MmuUpdate, MmuextOp, Operation, Pte, PteSlot, UpdateCommand, VirtAddr};
use proptest::prelude::*;
use pv_mmu::{Operations, Stats, TaskState};

use crate::{
    kernel::{Kernel, Memory},
    model::{Model, State, Use},
};

/// Small enough that random programs meet every limit.
type Tiny<const STOP: bool> = Kernel<Model, Model, 6, 4, 20, STOP>;

#[derive(Clone, Debug)]
enum Ask {
    Set(PteSlot, u64),
    Commit(PteSlot, u64),
    Upper(PteSlot, u64),
    Range(usize, usize),
    Flush(MmuextOp),
    Stack(u64),
    Explicit,
    Interrupt(PteSlot, u64),
    Switch,
    Pause(PteSlot, u64),
}

fn slot() -> impl Strategy<Value = PteSlot> {
    (1..3_u64, 0..5_usize).prop_map(|(table, index)| PteSlot::of(Mfn::new(table), index))
}

fn flush() -> impl Strategy<Value = MmuextOp> {
    prop_oneof![
        Just(MmuextOp::TlbFlushAll),
        Just(MmuextOp::TlbFlushLocal),
        (0..3_u64).prop_map(|page| MmuextOp::InvlpgLocal { address: VirtAddr::unchecked(page << 12) }),
        (0..3_u64).prop_map(|page| MmuextOp::Pin { level: hypercall::Level::L1, table: Mfn::new(page) }),
    ]
}

/// Values carry a number in the frame, so that each operation can be told from every other.
fn ask() -> impl Strategy<Value = Ask> {
    let value = 0..0x80_u64;
    prop_oneof![
        6 => (slot(), value.clone()).prop_map(|(slot, value)| Ask::Set(slot, value)),
        3 => (slot(), value.clone()).prop_map(|(slot, value)| Ask::Commit(slot, value)),
        1 => (slot(), value.clone()).prop_map(|(slot, value)| Ask::Upper(slot, value)),
        1 => (0..4_usize, 1..9_usize).prop_map(|(from, count)| Ask::Range(from, count)),
        3 => flush().prop_map(Ask::Flush),
        1 => any::<u64>().prop_map(Ask::Stack),
        1 => Just(Ask::Explicit),
        1 => (slot(), value.clone()).prop_map(|(slot, value)| Ask::Interrupt(slot, value)),
        1 => Just(Ask::Switch),
        1 => (slot(), value).prop_map(|(slot, value)| Ask::Pause(slot, value)),
    ]
}

const SLOTS: usize = 5;

const fn first(n: usize) -> PteSlot {
    PteSlot::of(Mfn::new(1), n)
}

/// What happens to an entry.
#[derive(Clone, Copy, Debug)]
enum Event {
    Ask(MmuUpdate),
    Use(PteSlot, Use),
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    let ask = |command| {
        (0..SLOTS, 0..0x80_u64)
            .prop_map(move |(n, word)| Event::Ask(MmuUpdate::new(first(n).with_command(command), Pte::from_bits(word))))
    };
    prop_oneof![
        3 => ask(UpdateCommand::Normal),
        4 => ask(UpdateCommand::PreserveAd),
        3 => (0..SLOTS, prop_oneof![Just(Use::Load), Just(Use::Store)]).prop_map(|(n, used)| Event::Use(first(n), used)),
        1 => Just(Event::Flush),
    ]
}

/// Runs a program in one region and answers with the operations one by one, as asked.
fn run<const STOP: bool>(kernel: &Tiny<STOP>, program: &[Ask]) -> (Vec<Operation>, Vec<Operation>) {
    let mut task = TaskState::new();
    let mut asked = Vec::new();
    let mut told = Vec::new();
    let mut number = 0x100_0000;
    let mut value = |low: u64| {
        number += 0x1000;
        number | low
    };
    let mut note = |slot: PteSlot, value: u64| {
        let update = MmuUpdate::new(slot, Pte::from_bits(value));
        asked.push(Operation::Update { update, subject: hypercall::Subject::SELF });
        Pte::from_bits(value)
    };
    let mut region = kernel.mmu().enter(&mut task, kernel.task());
    let mut others = Vec::new();
    for step in program {
        match *step {
            Ask::Set(slot, low) => region.set_pte(slot, note(slot, value(low))),
            Ask::Commit(slot, low) => {
                region.commit_pte(slot, note(slot.with_command(UpdateCommand::PreserveAd), value(low)));
            }
            Ask::Upper(slot, low) => region.set_upper(slot, note(slot, value(low))),
            Ask::Range(from, count) => {
                let first = PteSlot::of(Mfn::new(1), from);
                let ptes = |n: usize| note(first.offset(n).expect("within the table"), value(n as u64));
                region.set_ptes(first, count, ptes).expect("within the table");
            }
            Ask::Flush(op) => {
                region.mmuext(op);
                others.push(Operation::Mmuext { op, domain: DomId::SELF });
            }
            Ask::Stack(ss) => region.operation(&Operation::StackSwitch { ss, sp: VirtAddr::unchecked(0) }),
            Ask::Explicit => region.flush(),
            Ask::Interrupt(slot, low) => {
                let done = kernel.mmu().interrupt(kernel.interrupt()).set_pte(slot, note(slot, value(low)));
                told.extend(done.err().map(|failure| *failure.operation()));
            }
            Ask::Switch => kernel.mmu().switch(kernel.switch()).finish(),
            Ask::Pause(slot, low) => {
                let done = region.pause().set_pte(slot, note(slot, value(low)));
                told.extend(done.err().map(|failure| *failure.operation()));
            }
        }
    }
    if let Err(failures) = region.leave() {
        told.extend(failures.iter().map(|failure| *failure.operation()));
    }
    told.extend(kernel.failed().iter().map(|failure| *failure.operation()));
    (asked, told)
}

/// The n-th value of a program, whatever its low bits.
fn poisoned(n: &u64) -> impl Iterator<Item = u64> + use<> {
    let frame = 0x100_0000 + n * 0x1000;
    (0..0x80).map(move |low| frame | low)
}

fn balance(stats: &Stats) -> bool {
    stats.queued
        == stats.applied + stats.refused + stats.not_attempted + stats.merged + stats.superseded + stats.pending
        && stats.flushes == stats.flushes_by_reason.iter().sum::<u64>()
        && stats.flushes == stats.batch_sizes.iter().sum::<u64>()
}

fn expected(asked: &[Operation]) -> State {
    let mut state = State::default();
    for operation in asked {
        if let Operation::Update { update, .. } = operation {
            state.store(*update);
        }
    }
    state
}

fn updates(operations: &[Operation]) -> usize {
    operations.iter().filter(|operation| matches!(operation, Operation::Update { .. })).count()
}

proptest! {
    #[test]
    fn batched_and_one_by_one_come_to_the_same(program in prop::collection::vec(ask(), 0..40)) {
        let model = Model::default();
        let kernel = Tiny::<false>::new(model.clone(), [model.clone()]);
        let (asked, told) = run(&kernel, &program);
        let state = model.0.borrow();
        prop_assert_eq!(&state.entries, &expected(&asked).entries);
        prop_assert!(told.is_empty());
        let stats = kernel.mmu().stats();
        prop_assert!(balance(&stats) && stats.pending == 0, "{:?}", stats);
        prop_assert_eq!(updates(&state.applied) as u64 + stats.merged, asked.len() as u64);
        prop_assert!(state.hypercalls.len() as u64 == stats.flushes + stats.direct);
    }

    #[test]
    fn the_accessor_reads_what_was_written_last(program in prop::collection::vec(ask(), 0..20), slot in slot()) {
        let model = Model::default();
        let kernel = Tiny::<false>::new(model.clone(), [model.clone()]);
        let mut task = TaskState::new();
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        let mut state = State::default();
        for step in &program {
            let (Ask::Set(slot, value) | Ask::Commit(slot, value)) = *step else { continue };
            let command = if matches!(step, Ask::Set(..)) { UpdateCommand::Normal } else { UpdateCommand::PreserveAd };
            let update = MmuUpdate::new(slot.with_command(command), Pte::from_bits(value));
            state.store(update);
            match command {
                UpdateCommand::Normal => region.set_pte(slot, update.pte()),
                _ => region.commit_pte(slot, update.pte()),
            }
        }
        let last = state.entries.get(&slot.address()).copied().unwrap_or(0);
        prop_assert_eq!(region.read_pte(slot).bits(), last);
        region.leave().unwrap();
        prop_assert_eq!(model.read(slot).bits(), last);
    }

    /// The algebra of merging, against one-by-one application: what the hardware notes before a flush, it notes
    /// before the first of the updates that wait for it.
    #[test]
    fn joined_updates_keep_the_notes_that_single_ones_keep(
        initial in prop::collection::vec(0..0x80_u64, SLOTS),
        program in prop::collection::vec(event(), 0..40),
    ) {
        let (model, mut single) = (Model::default(), State::default());
        for (n, word) in initial.iter().enumerate() {
            model.0.borrow_mut().entries.insert(first(n).address(), *word);
            single.entries.insert(first(n).address(), *word);
        }
        let kernel = Kernel::<Model, Model>::new(model.clone(), [model.clone()]);
        let (mut task, mut waiting) = (TaskState::new(), Vec::new());
        let mut region = kernel.mmu().enter(&mut task, kernel.task());
        for event in program {
            match event {
                Event::Ask(update) if update.slot.command() == Some(UpdateCommand::Normal) => {
                    region.set_pte(update.slot, update.pte());
                    waiting.push(update);
                }
                Event::Ask(update) => {
                    region.commit_pte(update.slot, update.pte());
                    waiting.push(update);
                }
                Event::Use(slot, used) => {
                    model.0.borrow_mut().touch(slot, used);
                    single.touch(slot, used);
                }
                Event::Flush => {
                    region.flush();
                    waiting.drain(..).for_each(|update| single.store(update));
                }
            }
        }
        region.leave().unwrap();
        waiting.drain(..).for_each(|update| single.store(update));
        prop_assert_eq!(&model.0.borrow().entries, &single.entries);
    }

    #[test]
    fn every_operation_is_applied_or_named(
        program in prop::collection::vec(ask(), 0..40),
        poison in prop::collection::btree_set(1..60_u64, 0..8),
        no_multicall: bool,
    ) {
        let model = Model::default();
        model.0.borrow_mut().poison =
            poison.iter().flat_map(poisoned).collect();
        model.0.borrow_mut().no_multicall = no_multicall;
        let kernel = Tiny::<false>::new(model.clone(), [model.clone()]);
        let (asked, told) = run(&kernel, &program);
        accounted(&kernel.mmu().stats(), &model.0.borrow(), &asked, &told)?;
    }

    #[test]
    fn stopping_accounts_for_everything_too(
        program in prop::collection::vec(ask(), 0..40),
        poison in prop::collection::btree_set(1..60_u64, 0..8),
    ) {
        let model = Model::default();
        model.0.borrow_mut().poison =
            poison.iter().flat_map(poisoned).collect();
        let kernel = Tiny::<true>::new(model.clone(), [model.clone()]);
        let (asked, told) = run(&kernel, &program);
        accounted(&kernel.mmu().stats(), &model.0.borrow(), &asked, &told)?;
    }
}

/// Failures beyond those a task keeps go to the platform, so what was told is what failed.
fn accounted(stats: &Stats, state: &State, asked: &[Operation], told: &[Operation]) -> Result<(), TestCaseError> {
    prop_assert!(balance(stats) && stats.pending == 0, "{:?}", stats);
    prop_assert_eq!(updates(&state.applied) + updates(told) + stats.merged as usize, asked.len());
    prop_assert_eq!(told.len() as u64, stats.refused + stats.not_attempted);
    let mut seen = std::collections::BTreeSet::new();
    let numbers = state.applied.iter().chain(told).filter_map(|operation| match operation {
        Operation::Update { update, .. } => Some(update.value >> 12),
        _ => None,
    });
    for number in numbers {
        prop_assert!(seen.insert(number), "update {:#x} is accounted for twice", number);
    }
    Ok(())
}
