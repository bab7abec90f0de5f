//! The bundled traces through every policy and mode, and a planted fault for each checker.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::mem::{Discriminant, discriminant};
use std::path::Path;

use hypercall::{MmuUpdate, Operation, Pte, PteFlags, VcpuId};
use mmu_trace::{Bundled, Event, EventKind, ExtendResult, native};

use super::policy::{Answer, Policy};
use super::program::{Act, GuestEvent};
use super::request::Source;
use super::testing::{RO, RW, Script};
use super::*;

const FORK: usize = 0;
const LARGE: usize = 1;
const CHURN: usize = 2;

const EVERY: [(PolicyName, Mode); 6] = [
    (PolicyName::PvMmu, Mode::AsRecorded),
    (PolicyName::PvMmu, Mode::Ported),
    (PolicyName::Linux, Mode::AsRecorded),
    (PolicyName::Linux, Mode::Ported),
    (PolicyName::Single, Mode::AsRecorded),
    (PolicyName::Single, Mode::Ported),
];

fn bundled(index: usize) -> Replay {
    Replay::prepare(BUNDLED[index].name, BUNDLED[index].gzip).unwrap()
}

fn outcome(replay: &Replay, policy: PolicyName, mode: Mode) -> Outcome {
    replay.outcomes(&[(policy, mode)]).unwrap().remove(0)
}

/// What is promised of a trace.
struct Promise {
    trace: usize,
    /// Recorded hypercalls less those that only a full buffer forced.
    as_recorded: u64,
    /// Largest share of the recorder's hypercalls that is left in `ported`.
    ported: Option<f64>,
}

const PROMISES: [Promise; 3] = [
    Promise { trace: FORK, as_recorded: 3_941, ported: Some(0.65) },
    Promise { trace: LARGE, as_recorded: 2_063, ported: None },
    Promise { trace: CHURN, as_recorded: 8_042, ported: Some(0.25) },
];

/// Leads every policy in every mode through a bundled trace.
fn is_clean_throughout(index: usize) {
    let replay = bundled(index);
    assert_eq!(replay.subject.trace.unknown_lines, 0);
    for outcome in replay.outcomes(&EVERY).unwrap() {
        let what = format!("{} {:?} {:?}", replay.subject.name, outcome.policy, outcome.mode);
        assert_eq!(outcome.violations, [], "{what}");
        assert_eq!(outcome.refused, [], "{what}");
        assert!(outcome.final_state_matches_unbatched, "{what}");
        let (oracle, starts) = (outcome.oracle, replay.subject.prot_starts);
        assert!(starts > 0 && oracle.compared * 100 >= starts * 99, "{what}: {} of {starts} compared", oracle.compared);
        assert_eq!(oracle.matched, oracle.compared, "{what}");
        assert!(outcome.is_clean(), "{what}");
    }
}

#[test]
fn every_policy_and_mode_is_clean_on_the_first_trace() {
    is_clean_throughout(FORK);
}

#[test]
fn every_policy_and_mode_is_clean_on_the_large_trace() {
    is_clean_throughout(LARGE);
}

#[test]
fn every_policy_and_mode_is_clean_on_the_churn_trace() {
    is_clean_throughout(CHURN);
}

#[test]
fn the_linux_policy_reproduces_the_recorder() {
    for index in [FORK, LARGE, CHURN] {
        let replay = bundled(index);
        let linux = outcome(&replay, PolicyName::Linux, Mode::AsRecorded);
        let recorded = &replay.subject.recorded;
        let direct = linux.by_cause[&cause::Cause::PteWrite];
        for (ours, theirs) in [(direct, recorded.direct_pte_calls), (linux.hypercalls() - direct, recorded.flushes)] {
            assert!(ours.abs_diff(theirs) * 50 <= theirs, "{}: {ours} for {theirs}", replay.subject.name);
        }
        assert_eq!(linux.by_cause.keys().collect::<Vec<_>>(), recorded.by_cause.keys().collect::<Vec<_>>());
        for (cause, ours) in &linux.by_cause {
            let theirs = recorded.by_cause[cause];
            assert!(ours.abs_diff(theirs) * 50 <= theirs, "{}, {cause:?}: {ours} for {theirs}", replay.subject.name);
        }
        assert_eq!(linux.largest_batch, recorded.sizes.largest());
        assert_eq!(linux.updates_issued, recorded.updates);
    }
}

#[test]
fn the_library_needs_no_more_hypercalls_than_the_contract_forces() {
    for Promise { trace, as_recorded, .. } in PROMISES {
        let replay = bundled(trace);
        let hypercalls = outcome(&replay, PolicyName::PvMmu, Mode::AsRecorded).hypercalls();
        assert!(hypercalls <= replay.subject.sync_points && hypercalls <= as_recorded, "{hypercalls}");
    }
}

#[test]
fn ported_callers_save_what_each_gain_says() {
    for Promise { trace, ported, .. } in PROMISES {
        let replay = bundled(trace);
        let before = outcome(&replay, PolicyName::PvMmu, Mode::AsRecorded).hypercalls();
        let after = outcome(&replay, PolicyName::PvMmu, Mode::Ported);
        let gains = after.gains.expect("ported has gains");
        assert_eq!(before - after.hypercalls(), gains.total(), "{}: {gains:?}", replay.subject.name);
        let share = after.hypercalls() as f64 / replay.subject.recorded.hypercalls() as f64;
        assert!(ported.is_none_or(|most| share <= most), "{}: {share}", replay.subject.name);
    }
}

#[test]
fn the_traces_figures_are_a_plain_count_of_lines() {
    for Bundled { name, gzip, .. } in BUNDLED {
        let mut text = String::new();
        flate2::read::GzDecoder::new(gzip).read_to_string(&mut text).unwrap();
        let count = |event: &str| text.lines().filter(|line| line.contains(event)).count() as u64;
        let replay = Replay::prepare(name, gzip).unwrap();
        let trace = replay.subject.trace;
        assert_eq!(trace.pte_writes, count(" xen_mmu_set_pte: ") + count(" xen_mmu_ptep_modify_prot_commit: "));
        assert_eq!(trace.regions, count(" leave: "));
        assert_eq!(trace.lines, text.lines().count() as u64);
        let empty = count("flushing 0 hypercalls");
        assert_eq!(replay.subject.recorded.flushes, count(" xen_mc_flush: ") - empty);
        assert_eq!(replay.subject.prot_starts, count(" xen_mmu_ptep_modify_prot_start: "));
    }
}

#[test]
fn a_trace_in_the_native_format_replays_the_same() {
    let (events, summary) = read(BUNDLED[LARGE].gzip).unwrap();
    let mut packed = Vec::new();
    let mut writer = native::Writer::new(&mut packed).unwrap();
    events.iter().for_each(|event| writer.write(event).unwrap());
    writer.finish(&summary).unwrap();
    let (text, again) = (bundled(LARGE), Replay::prepare(BUNDLED[LARGE].name, packed.as_slice()).unwrap());
    let json =
        |replay: &Replay| report::json(&replay.subject, &outcome(replay, PolicyName::PvMmu, Mode::Ported)).unwrap();
    assert_eq!(json(&text), json(&again));
}

/// What trace-cmd and perf show of an entry.
fn without_pseudo(events: &mut [Event]) {
    for event in events {
        match &mut event.kind {
            EventKind::SetPte { value, .. }
            | EventKind::SetUpper { value, .. }
            | EventKind::SetL4 { value, .. }
            | EventKind::ProtStart { value, .. }
            | EventKind::ProtCommit { value, .. } => *value = None,
            _ => {}
        }
    }
}

#[test]
fn machine_words_alone_replay_the_same() {
    for trace in BUNDLED {
        let (mut events, summary) = read(trace.gzip).unwrap();
        let whole = Replay::of(trace.name, &events, &summary).unwrap();
        without_pseudo(&mut events);
        let bare = Replay::of(trace.name, &events, &summary).unwrap();
        for mode in [Mode::AsRecorded, Mode::Ported] {
            let json =
                |replay: &Replay| report::json(&replay.subject, &outcome(replay, PolicyName::PvMmu, mode)).unwrap();
            assert_eq!(json(&whole), json(&bare), "{} {mode:?}", trace.name);
        }
    }
}

#[test]
fn one_run_recorded_by_three_tools_replays_the_same() {
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mmu-trace/tests/recorded");
    let figures = ["tracefs", "trace-cmd", "perf"].map(|form| {
        let file = File::open(recorded.join(format!("{form}.txt.gz"))).unwrap();
        let replay = Replay::prepare(form, file).unwrap();
        EVERY.map(|(policy, mode)| {
            let outcome = outcome(&replay, policy, mode);
            assert!(outcome.is_clean(), "{form} {policy:?} {mode:?}");
            assert_eq!((outcome.oracle.compared, outcome.oracle.matched), (8, 8), "{form}");
            (outcome.hypercalls(), outcome.updates_issued)
        })
    });
    assert_eq!([figures[0]; 3], figures);
}

/// Events that say what the kernel did and that others contradict once they are gone. Not among them: a hypercall or
/// plain store of its own, which one line shows and nothing else; only the count in the trace's header tells of it.
fn has_witnesses(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Entry { .. }
            | EventKind::Extend { result: ExtendResult::Ok, .. }
            | EventKind::BatchBegin { .. }
            | EventKind::BatchIssue { .. }
            | EventKind::Flush { calls: 1.., .. }
            | EventKind::SwitchOut
            | EventKind::SwitchIn
            | EventKind::RegionEnter
            | EventKind::RegionLeave
            | EventKind::ProtCommit { .. }
            | EventKind::WriteCr3 { .. }
            | EventKind::Pin { .. }
            | EventKind::Unpin { .. }
    )
}

#[test]
fn what_is_missing_from_a_trace_is_missed() {
    let (events, summary) = read(BUNDLED[LARGE].gzip).unwrap();
    let mut tried: HashMap<Discriminant<EventKind>, u32> = HashMap::new();
    for (at, event) in events.iter().enumerate().skip(events.len() / 3).filter(|(_, event)| has_witnesses(&event.kind))
    {
        let tried = tried.entry(discriminant(&event.kind)).or_default();
        *tried += 1;
        if *tried <= 4 {
            let rest = [&events[..at], &events[at + 1..]].concat();
            assert!(Replay::of("torn", &rest, &summary).is_err(), "nobody misses {event:?}");
        }
    }
    assert_eq!(tried.len(), 13);
}

#[test]
fn merged_updates_are_those_the_referee_saw_merged() {
    let mut script = Script::new();
    script.enter().queued_pte(5, 1, 9, RW).queued_pte(5, 1, 9, RO).queued_pte(5, 2, 0xa, RW).leave();
    let replay = Replay::of("merge", &script.events, &Summary::of_events(script.events.len() as u64)).unwrap();
    let ours = outcome(&replay, PolicyName::PvMmu, Mode::AsRecorded);
    assert_eq!((ours.updates_issued, ours.updates_merged), (2, 1));
    let linux = outcome(&replay, PolicyName::Linux, Mode::AsRecorded);
    assert_eq!((linux.updates_issued, linux.updates_merged), (3, 0));
    assert!(ours.is_clean() && linux.is_clean());
}

/// A policy in which something goes wrong.
struct Faulty<P> {
    inner: P,
    fault: fn(&mut Step),
    /// Steps of the wanted kind still to pass before the fault.
    before: u32,
    wanted: fn(&Step) -> bool,
}

impl<P: Policy> Policy for Faulty<P> {
    fn act(&mut self, step: &Step) -> Answer {
        let mut step = step.clone();
        if (self.wanted)(&step) {
            if self.before == 0 {
                (self.fault)(&mut step);
            }
            self.before = self.before.wrapping_sub(1);
        }
        self.inner.act(&step)
    }

    fn queued(&self, vcpu: VcpuId) -> u64 {
        self.inner.queued(vcpu)
    }
}

/// A policy that loses every direct write.
struct Dropping<P> {
    inner: P,
}

impl<P: Policy> Policy for Dropping<P> {
    fn act(&mut self, step: &Step) -> Answer {
        if is_pte_write(step) { Answer::accepted() } else { self.inner.act(step) }
    }

    fn queued(&self, vcpu: VcpuId) -> u64 {
        self.inner.queued(vcpu)
    }
}

/// Leads Linux's batcher with a fault at the step that is `wanted` after `before` others.
fn lead_faulty(replay: &Replay, before: u32, wanted: fn(&Step) -> bool, fault: fn(&mut Step)) -> Outcome {
    let stage = Stage::new(&replay.frames).unwrap();
    let mut policy = Faulty { inner: Linux::new(stage.vcpus()), fault, before, wanted };
    let led = stage.lead(&replay.steps, &mut policy, || {});
    let unbatched = replay.lead(PolicyName::Single, Mode::AsRecorded, || {}).unwrap().tables;
    replay.outcome(PolicyName::Linux, Mode::AsRecorded, led, &unbatched)
}

fn is_pte_write(step: &Step) -> bool {
    matches!(step.act, Act::Work { source: Source::PteWrite, .. })
}

fn is_leave(step: &Step) -> bool {
    matches!(step.act, Act::Leave)
}

fn rules(outcome: &Outcome) -> Vec<&str> {
    outcome.violations.iter().map(|violated| violated.rule.as_str()).collect()
}

#[test]
fn a_dropped_write_shows_in_the_end_state_and_to_the_referee() {
    let replay = bundled(LARGE);
    // The last one, so that its table is still in use at the end.
    let last = replay.steps.iter().filter(|step| is_pte_write(step)).count() - 1;
    let outcome = lead_faulty(&replay, last as u32, is_pte_write, |step| step.act = Act::SwitchOut);
    assert!(!outcome.final_state_matches_unbatched);
    assert!(!rules(&outcome).is_empty() && !outcome.is_clean());
}

#[test]
fn an_altered_write_is_found_by_its_rule_and_line() {
    let replay = bundled(LARGE);
    let outcome = lead_faulty(&replay, 100, is_pte_write, |step| {
        let Act::Work { operations, .. } = &mut step.act else { return };
        if let Some(Operation::Update { update, .. }) = operations.first_mut() {
            update.value ^= 1 << 9;
        }
    });
    assert_eq!(rules(&outcome), ["R13"]);
    let line = replay.steps.iter().filter(|step| is_pte_write(step)).nth(100).unwrap().line;
    assert_eq!(outcome.violations[0].line, line);
    assert!(!outcome.is_clean());
}

#[test]
fn a_leave_that_does_not_flush_is_found() {
    let replay = bundled(CHURN);
    let outcome = lead_faulty(&replay, 100, is_leave, |step| step.act = Act::Enter);
    assert!(rules(&outcome).contains(&"R2"), "{:?}", rules(&outcome));
}

#[test]
fn violations_beyond_those_kept_are_counted() {
    let replay = bundled(CHURN);
    let stage = Stage::new(&replay.frames).unwrap();
    let mut policy = Dropping { inner: Linux::new(stage.vcpus()) };
    let led = stage.lead(&replay.steps, &mut policy, || {});
    let unbatched = replay.lead(PolicyName::Single, Mode::AsRecorded, || {}).unwrap().tables;
    let outcome = replay.outcome(PolicyName::Linux, Mode::AsRecorded, led, &unbatched);
    assert!(outcome.violations_total > outcome.violations.len() as u64, "{}", outcome.violations_total);
    let total = format!("\"violations_total\": {}", outcome.violations_total);
    assert!(report::json(&replay.subject, &outcome).unwrap().contains(&total));
    assert!(table::table(&replay.subject, &[outcome]).contains("more violations"));
}

#[test]
fn a_refused_operation_is_listed_and_the_guest_was_not_told() {
    let mut replay = bundled(CHURN);
    let tables: Vec<_> = replay.frames.older().iter().map(|(table, _)| replay.frames.machine(*table)).collect();
    let in_older_table = |step: &Step| match &step.act {
        Act::Work { source: Source::PteWrite, operations } => match operations.as_slice() {
            [Operation::Update { update, .. }] => Some(update.slot).filter(|slot| tables.contains(&slot.table())),
            _ => None,
        },
        _ => None,
    };
    let found = replay.steps.iter().enumerate().find_map(|(index, step)| Some((index, in_older_table(step)?)));
    let (index, slot) = found.unwrap();
    let update = MmuUpdate::new(slot, Pte::new(tables[0], PteFlags::PRESENT | PteFlags::RW));
    let operations = vec![Operation::Update { update, subject: hypercall::Subject::SELF }];
    replay.steps[index].act = Act::Work { source: Source::PteWrite, operations };
    let linux = outcome(&replay, PolicyName::Linux, Mode::AsRecorded);
    assert_eq!(linux.refused[0].line, replay.steps[index].line);
    assert!(linux.refused[0].errno.contains("EBUSY"), "{}", linux.refused[0].errno);
    assert_eq!(rules(&linux), ["R14"], "Linux does not tell its caller");
    let ours = outcome(&replay, PolicyName::PvMmu, Mode::AsRecorded);
    assert_eq!((ours.refused.len(), rules(&ours).len()), (1, 0), "the library does");
    assert!(!ours.is_clean());
}

#[test]
fn a_corrupted_raw_does_not_match_and_a_write_protected_one_is_not_compared() {
    let corrupted = |change: fn(&mut u64)| {
        let (mut events, summary) = read(BUNDLED[CHURN].gzip).unwrap();
        let raw = events.iter_mut().find_map(|event| match &mut event.kind {
            EventKind::ProtStart { raw, .. } if *raw & PteFlags::RW.bits() != 0 => Some(raw),
            _ => None,
        });
        change(raw.unwrap());
        let replay = Replay::of("corrupted", &events, &summary).unwrap();
        (outcome(&replay, PolicyName::PvMmu, Mode::AsRecorded), replay)
    };
    let (flags, _) = corrupted(|raw| *raw ^= 1 << 9);
    assert_eq!((flags.oracle.compared, flags.oracle.matched), (48, 47));
    assert!(!flags.is_clean() && flags.oracle.first_mismatch.is_some());
    let (protected, replay) = corrupted(|raw| *raw &= !PteFlags::RW.bits());
    assert_eq!((protected.oracle.compared, protected.oracle.matched), (47, 47));
    assert_eq!(replay.subject.inferred.write_protect, 1);
    let (accessed, _) = corrupted(|raw| *raw ^= PteFlags::ACCESSED_DIRTY.bits());
    assert_eq!((accessed.oracle.compared, accessed.oracle.matched), (48, 48));
}

#[test]
fn without_the_inferred_clears_xen_refuses_tables() {
    let mut replay = bundled(FORK);
    replay.steps.retain(|step| !matches!(step.act, Act::Guest(GuestEvent::Trapped { .. })));
    let outcome = outcome(&replay, PolicyName::Single, Mode::AsRecorded);
    assert!(!outcome.refused.is_empty());
}

#[test]
fn what_the_guest_cannot_store_is_listed_as_refused() {
    let mut replay = bundled(LARGE);
    let (table, _) = replay.frames.older()[0];
    let frame = replay.frames.machine(table);
    let slot = program::MachineSlot { table: frame, index: 0 };
    replay.steps[0].act = Act::Guest(GuestEvent::Store { slot, value: 1 });
    let outcome = outcome(&replay, PolicyName::Single, Mode::AsRecorded);
    assert!(outcome.refused[0].errno.contains("not mapped writable"), "{}", outcome.refused[0].errno);
}

#[test]
fn a_comparison_shows_every_column_and_names_every_gain() {
    let replay = bundled(CHURN);
    let text = table::table(&replay.subject, &replay.outcomes(&COMPARED).unwrap());
    for part in
        ["recorder", "linux policy", "pv-mmu", "as recorded", "ported", "8,042", "as part of a range", "sync points"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.lines().all(|line| line.len() <= 120), "{text}");
}
