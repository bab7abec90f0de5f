//! One run of Linux 6.1 on Xen 4.17, recorded by `tracing/trace`, `trace-cmd` and `perf` at the same time: the three
//! texts in `recorded/` say the same. What perf and trace-cmd print without being told otherwise says something else.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use mmu_trace::{CallbackKind, Event, EventKind, EventReader, check, native};

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
