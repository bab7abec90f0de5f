//! The bundled traces on the real Xen, and what has to be found when the two sides are not led through the same.
//!
//! Where QEMU or Xen cannot be had, the tests that need them say so and pass, unless `CI=true`: then they fail.

use hypercall::{Errno, MmuUpdate, Operation, Pfn, Pte, PteFlags, VcpuId};
use mmu_replay::{Head, ListWriter};
use mmu_trace::{BUNDLED, EventKind, Summary};

use super::*;
use crate::replay::Replay;
use crate::replay::extract::requests;
use crate::replay::request::{Source, address_of};
use crate::replay::testing::{RW, Script, at};

const FORK: usize = 0;
const LARGE: usize = 1;
const CHURN: usize = 2;

fn bundled(index: usize) -> Replay {
    Replay::prepare(BUNDLED[index].name, BUNDLED[index].gzip).unwrap()
}

/// A trace as recorded, on the mock and, with the steps changed, on the real Xen.
fn against(lab: &Lab, replay: &Replay, change: impl FnOnce(&mut Vec<Step>)) -> Outcome {
    let mut steps = replay.steps.clone();
    change(&mut steps);
    let mock = replay.lead(PolicyName::PvMmu, Mode::AsRecorded, || {}).unwrap();
    let real = List::of(&replay.frames, &steps).unwrap().lead(lab).unwrap();
    real.outcome(&replay.steps, Mode::AsRecorded, &mock, &mock.end).unwrap()
}

fn beside(outcome: &Outcome) -> &BesideMock {
    outcome.beside_mock.as_ref().unwrap()
}

/// The updates of direct writes, with the number of their steps.
fn updates(steps: &mut [Step]) -> impl DoubleEndedIterator<Item = &mut MmuUpdate> {
    steps.iter_mut().filter_map(|step| match &mut step.act {
        Act::Work { source: Source::PteWrite, operations } => match operations.as_mut_slice() {
            [Operation::Update { update, .. }] => Some(update),
            _ => None,
        },
        _ => None,
    })
}

/// Both modes of a trace on the real Xen, with at least so many entries compared.
fn is_equal_throughout(index: usize, entries: u64, end_entries: u64) {
    if Lab::for_test(BUNDLED[index].name).is_none() {
        return;
    }
    let replay = bundled(index);
    let both = |vcpu| replay.steps.iter().any(|step| step.vcpu == VcpuId::new(vcpu));
    assert!(both(0) && both(1), "steps of both vCPUs");
    let modes = [Mode::AsRecorded, Mode::Ported].map(|mode| (PolicyName::PvMmu, mode));
    let outcomes = replay.on_xen(&modes).unwrap();
    let [pair, ported] = outcomes.as_chunks::<2>().0 else { panic!("two columns for each mode") };
    for [mock, real] in [pair, ported] {
        let what = format!("{} {:?}: {:?}", replay.subject.name, real.mode, real.beside_mock);
        assert!(mock.is_clean() && real.is_clean(), "{what}");
        assert_eq!((&real.by_cause, real.updates_issued), (&mock.by_cause, mock.updates_issued), "{what}");
        assert_eq!((real.updates_merged, real.largest_batch), (mock.updates_merged, mock.largest_batch), "{what}");
        assert_eq!(real.oracle, mock.oracle, "{what}");
        assert!(beside(real).entries >= entries && beside(real).end_entries >= end_entries, "{what}");
    }
}

#[test]
fn the_first_trace_is_on_xen_as_on_the_mock() {
    is_equal_throughout(FORK, 5_000, 2_700);
}

#[test]
fn the_large_trace_is_on_xen_as_on_the_mock() {
    is_equal_throughout(LARGE, 2_500, 1_400);
}

#[test]
fn the_churn_trace_is_on_xen_as_on_the_mock() {
    is_equal_throughout(CHURN, 3_300, 4_000);
}

#[test]
fn a_dropped_request_shows_in_the_end_state_and_in_the_calls() {
    let Some(lab) = Lab::for_test("dropped") else { return };
    let outcome = against(lab, &bundled(LARGE), |steps| {
        let is_write = |step: &Step| matches!(step.act, Act::Work { source: Source::PteWrite, .. });
        let dropped = steps.iter_mut().rev().find(|step| is_write(step)).unwrap();
        dropped.act = Act::Work { source: Source::PteWrite, operations: Vec::new() };
    });
    let beside = beside(&outcome);
    assert!(!beside.end_state_equal && !beside.hypercalls_equal && beside.refusals_equal, "{beside:?}");
    assert!(!outcome.is_clean());
}

#[test]
fn a_changed_request_shows_where_its_entry_is_taken_away_or_at_the_end() {
    let Some(lab) = Lab::for_test("changed") else { return };
    for (index, last) in [(LARGE, false), (LARGE, true), (CHURN, false)] {
        let outcome = against(lab, &bundled(index), |steps| {
            let mut updates = updates(steps);
            let changed = if last { updates.next_back() } else { updates.nth(100) };
            changed.unwrap().value ^= 1 << 9;
        });
        let beside = beside(&outcome);
        assert!(beside.hypercalls_equal && beside.refusals_equal, "{beside:?}");
        assert_eq!(last, !beside.end_state_equal, "{beside:?}");
        assert!(!beside.entries_equal || !beside.end_state_equal, "{beside:?}");
        assert!(!beside.differences.is_empty() && !outcome.is_clean());
    }
}

/// Has a direct write map an L4 older than the trace writable.
fn map_a_table(replay: &Replay, steps: &mut [Step]) {
    let table = replay.frames.machine(replay.frames.older()[0].0);
    updates(steps).next().unwrap().value = Pte::new(table, PteFlags::PRESENT | PteFlags::RW).bits();
}

#[test]
fn what_xen_alone_refuses_is_found() {
    let Some(lab) = Lab::for_test("refused on Xen") else { return };
    let replay = bundled(LARGE);
    let outcome = against(lab, &replay, |steps| map_a_table(&replay, steps));
    assert!(!beside(&outcome).refusals_equal && !outcome.is_clean(), "{outcome:?}");
    assert_eq!(outcome.refused[0].errno, Errno::BUSY.to_string());
}

#[test]
fn what_both_refuse_is_told_alike() {
    let Some(lab) = Lab::for_test("refused on both") else { return };
    let mut replay = bundled(LARGE);
    let mut steps = replay.steps.clone();
    map_a_table(&replay, &mut steps);
    replay.steps = steps;
    let outcome = against(lab, &replay, |_| {});
    let mock = replay.lead(PolicyName::PvMmu, Mode::AsRecorded, || {}).unwrap();
    assert_eq!((&outcome.refused, outcome.refused.len()), (&mock.ledger.refused, 1));
    assert!(beside(&outcome).refusals_equal && !outcome.is_clean());
}

#[test]
fn the_kernel_refuses_what_is_no_list_and_what_it_has_no_room_for() {
    let Some(lab) = Lab::for_test("no list") else { return };
    let refused = |bytes: &[u8]| lab.run(&Machine::default(), COMMAND, bytes).unwrap_err().to_string();
    assert!(refused(b"no list of steps").contains("another kind or version"));
    let replay = bundled(LARGE);
    let list = List::of(&replay.frames, &replay.steps).unwrap();
    assert!(refused(&list.bytes[..list.bytes.len() / 2]).contains("ends in the middle"));
    let head = Head { vcpus: 3, tasks: 1, frames: 1, older: 0, steps: 0 };
    let list = ListWriter::begin(carry::Bytes::default(), &head).into_sink();
    assert!(refused(list.bytes()).contains("3 vCPUs are asked for, there is room for 2"));
}

#[test]
fn what_differs_is_told_in_words() {
    let called = |hypercalls| Called { hypercalls, ..Called::default() };
    let step = |hypercalls| StepCalls { line: 7, cause: super::super::cause::Cause::Leave, hypercalls, operations: 0 };
    assert_eq!(calls_differ(&[called(1)], &[step(1)]), [""; 0]);
    assert_eq!(calls_differ(&[called(1)], &[step(2)]), ["line 7: 1 hypercalls here and 2 on the mock"]);
    let held = |word| Held { line: 8, word, recorded: None };
    assert_eq!(entries_differ(&[5], &[held(5)]), [""; 0]);
    assert_eq!(entries_differ(&[5], &[held(6)]), ["line 8: the entry held 0x5 here and 0x6 on the mock"]);
    assert_eq!(entries_differ(&[5], &[held(5), held(6)]), ["1 entries were found here and 2 on the mock"]);
    let refused = |errno: &str| ledger::Refused {
        line: 9,
        vcpu: 1,
        operation: "this".into(),
        errno: errno.into(),
        faulted: false,
    };
    assert_eq!(refusals_differ(&[refused("a")], &[refused("a")]), [""; 0]);
    assert_eq!(refusals_differ(&[refused("a")], &[refused("b")]).len(), 2);
    assert_eq!(refusals_differ(&[refused("a"), refused("a")], &[refused("a")]), ["2 refusals here and 1 on the mock"]);
    let faulted = |errno| ledger::Refused { faulted: true, ..refused(errno) };
    assert_eq!(refusals_differ(&[faulted("a")], &[faulted("b")]), [""; 0]);
    assert_eq!(refusals_differ(&[faulted("a")], &[refused("a")]).len(), 2);
}

#[test]
fn a_list_names_the_traces_frames_and_leaves_the_kernels_entry_alone() {
    let mut script = Script::new();
    script.set_pte(5, 1, 9, RW).set_l4(6, 7, 0, 8);
    script.push(EventKind::SetPte { slot: at(5, 2), value: Some(0xb8067), raw: 0xb8067 });
    let frames = Frames::learn(&requests(&script.events).unwrap()).unwrap();
    let mut naming = Naming::of(&frames);
    assert_eq!(naming.count(), 5, "the device is no memory");
    for (pfn, mfn) in frames.memory() {
        let name = naming.frame(mfn).unwrap();
        assert_eq!(Back(&naming).frame(name), Some(mfn));
        let place = naming.direct_map(address_of(pfn)).unwrap();
        assert_eq!((place.value() >> 12, Back(&naming).direct_map(place)), (name.number(), Some(address_of(pfn))));
    }
    assert_eq!(Back(&naming).frame(naming.frame(Mfn::new(0xb8)).unwrap()), Some(Mfn::new(0xb8)));
    assert_eq!((naming.frame(Mfn::new(0xb9)), Back(&naming).frame(Mfn::new(0))), (None, None));
    let slot = |index| PteSlot::of(frames.machine(Pfn::new(6)), index);
    assert_eq!(naming.slot(slot(0)).unwrap().index(), 0, "not an L4 yet");
    naming.root(slot(0).table(), true);
    for index in [0, 2, 511] {
        let named = naming.slot(slot(index)).unwrap();
        assert_ne!(named.index(), OWN_ENTRY);
        assert_eq!(Back(&naming).slot(named), Some(slot(index)));
    }
    assert_eq!(naming.slot(slot(1)), None, "it stands for entry 0");
}

#[test]
fn a_trace_that_no_other_guest_can_be_led_through_is_an_error_with_its_line() {
    let mut script = Script::new();
    script.set_l4(6, 7, 1, 8);
    let replay = Replay::of("stand-in", &script.events, &Summary::of_events(1)).unwrap();
    let error = List::of(&replay.frames, &replay.steps).err().unwrap().to_string();
    assert!(error.starts_with("line 1: this cannot be replayed on the real Xen: entry 1 of "), "{error}");
}
