//! One run of Linux 6.1 on Xen 4.17, recorded by `tracing/trace`, `trace-cmd` and `perf` at the same time: the three
//! texts in `recorded/` say the same. They are what all three have of one run of `ci/record-linux.sh`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use mmu_trace::{CallbackKind, Event, EventKind, EventReader, ReadError, TextFault, check, native};

const FORMS: [&str; 3] = ["tracefs", "trace-cmd", "perf"];

fn file(form: &str) -> File {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/recorded/{form}.txt.gz"));
    File::open(path).expect("the recording is there")
}

fn events(form: &str) -> Vec<Event> {
    let reader = EventReader::new(file(form)).expect("it opens");
    reader.map(|event| event.unwrap_or_else(|error| panic!("{form}: {error}"))).collect()
}

/// What all three show of an event: only the kernel prints the pseudo-physical word, perf shows no symbols.
fn shown(event: &Event) -> (u32, u32, [bool; 4], EventKind) {
    let mut kind = event.kind.clone();
    match &mut kind {
        EventKind::SetPte { value, .. }
        | EventKind::SetUpper { value, .. }
        | EventKind::SetL4 { value, .. }
        | EventKind::ProtStart { value, .. }
        | EventKind::ProtCommit { value, .. } => *value = None,
        EventKind::Callback { callback, .. } => *callback = CallbackKind::PteUnlock,
        EventKind::PageFault { address, user: false, .. } => *address = None,
        _ => {}
    }
    let flags = event.flags;
    (event.vcpu, event.task, [flags.recorded, flags.irqs_off, flags.hardirq, flags.softirq], kind)
}

fn of_vcpu(events: &[Event], vcpu: u32) -> Vec<(u32, u32, [bool; 4], EventKind)> {
    events.iter().filter(|event| event.vcpu == vcpu).map(shown).collect()
}

#[test]
fn all_three_show_the_same_of_each_vcpu() {
    let [kernel, trace_cmd, perf] = FORMS.map(events);
    assert_eq!(kernel.len(), 6547);
    for vcpu in [0, 1] {
        let wanted = of_vcpu(&kernel, vcpu);
        assert!(wanted.len() > 2000);
        assert_eq!(wanted, of_vcpu(&trace_cmd, vcpu), "vcpu {vcpu}");
        assert_eq!(wanted, of_vcpu(&perf, vcpu), "vcpu {vcpu}");
    }
}

/// Each recorder takes its stamp at a moment of its own, so what two vCPUs did at the same time has no order.
#[test]
fn the_vcpus_are_interleaved_by_each_clock() {
    let [kernel, trace_cmd, perf] = FORMS.map(events);
    let moved = |other: &[Event]| kernel.iter().zip(other).filter(|(one, other)| one.vcpu != other.vcpu).count();
    println!("in another place: {} by trace-cmd, {} by perf", moved(&trace_cmd), moved(&perf));
    assert!(moved(&perf) > 0 && moved(&perf) < kernel.len() / 20);
}

#[test]
fn the_judge_sees_no_difference() {
    let reports = FORMS.map(|form| check::check(events_of(form)).expect("it is whole"));
    for report in &reports {
        assert_eq!((report.regions, report.violations_total), (46, 0));
        assert!(report.evidence.contexts && report.evidence.switches && report.evidence.batches);
        assert_eq!(report.operations_per_flush, reports[0].operations_per_flush);
    }
}

fn events_of(form: &str) -> EventReader<'static> {
    EventReader::new(file(form)).expect("it opens")
}

#[test]
fn machine_words_alone_pass_through_the_native_format() {
    for form in FORMS {
        let mut reader = events_of(form);
        let mut writer = native::Writer::new(Vec::new()).expect("memory takes everything");
        for event in &mut reader {
            writer.write(&event.expect("it is whole")).expect("every event can be stored");
        }
        let bytes = writer.finish(reader.summary()).expect("the account is the reader's");
        let back = EventReader::new(bytes.as_slice()).expect("it opens");
        assert!(back.map(|event| event.expect("it is whole")).eq(events(form)), "{form}");
    }
}

/// The recording of perf as it would be if the clock of vCPU 1 were `skew` nanoseconds off.
fn skewed(skew: i64) -> String {
    let mut text = String::new();
    GzDecoder::new(file("perf")).read_to_string(&mut text).expect("it unpacks");
    let stamped = text.lines().map(|line| {
        let colon = line.find(": ").expect("the stamp ends in a colon");
        let start = line[..colon].rfind(' ').expect("the stamp begins behind a blank") + 1;
        let time: i64 = line[start..colon].replace('.', "").parse().expect("the stamp is a number");
        let time = if line.contains(" [001] ") { time + skew } else { time };
        (time, format!("{}{}.{:09}{}", &line[..start], time / 1_000_000_000, time % 1_000_000_000, &line[colon..]))
    });
    let mut lines: Vec<_> = stamped.collect();
    lines.sort_by_key(|(time, _)| *time);
    lines.into_iter().fold(String::new(), |text, (_, line)| text + &line + "\n")
}

#[test]
fn a_skewed_clock_is_noticed_where_a_task_is_in_two_places() {
    let read = |skew| EventReader::new(skewed(skew).as_bytes()).expect("it opens").collect::<Result<Vec<_>, _>>();
    assert_eq!(read(0).expect("it is whole").len(), 6547);
    for skew in [-15_000_000, 200_000_000] {
        let error = read(skew).expect_err("a task is in two places");
        assert!(
            matches!(error, ReadError::Text { fault: TextFault::TwoPlaces { task: 118, .. }, .. }),
            "{skew}: {error}"
        );
    }
}

#[test]
fn every_line_is_known() {
    for form in FORMS {
        let mut reader = events_of(form);
        assert_eq!(reader.by_ref().filter(Result::is_err).count(), 0);
        let mut text = String::new();
        GzDecoder::new(file(form)).read_to_string(&mut text).expect("it unpacks");
        let summary = reader.summary();
        assert_eq!((summary.lines, summary.unknown_lines), (text.lines().count() as u64, 0), "{form}");
        assert_eq!((summary.ignored, summary.hashed_slots), (158, 0), "{form}");
    }
}
