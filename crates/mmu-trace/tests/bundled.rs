//! The bundled traces: every line is known, the counts are those of the recording, and nothing is lost on the way
//! through the native format.

use std::io::Read;

use flate2::read::GzDecoder;
use mmu_trace::{BUNDLED, Bundled, Event, EventKind, EventReader, check, native};

type IsKind = fn(&EventKind) -> bool;

fn text(trace: &Bundled) -> String {
    let mut text = String::new();
    GzDecoder::new(trace.gzip).read_to_string(&mut text).expect("the bundled trace unpacks");
    text
}

fn events(trace: &Bundled) -> Vec<Event> {
    EventReader::new(trace.gzip).expect("it opens").map(|event| event.expect("it is whole")).collect()
}

/// Lines that hold the event `name`, counted without any parser.
fn lines_with(text: &str, name: &str) -> u64 {
    text.lines().filter(|line| line.contains(&format!(": {name}: "))).count() as u64
}

#[test]
fn every_line_is_known_and_all_entries_are_there() {
    let entries = BUNDLED.map(|trace| {
        let mut reader = EventReader::new(trace.gzip).expect("it opens");
        let events = reader.by_ref().collect::<Result<Vec<_>, _>>().expect("it is whole").len() as u64;
        let summary = reader.summary();
        assert_eq!((summary.unknown_lines, summary.lost, summary.overwritten), (0, 0, 0), "{}", trace.name);
        assert_eq!((summary.events, summary.notes, summary.hashed_slots), (events, 12, 0), "{}", trace.name);
        assert_eq!(summary.lines, text(&trace).lines().count() as u64);
        let text = text(&trace);
        assert_eq!(summary.ignored, lines_with(&text, "leave_pv") + lines_with(&text, "switch_in_pv"));
        summary.entries()
    });
    assert_eq!(entries, [40_708, 19_089, 21_977]);
}

#[test]
fn each_kind_of_event_is_as_frequent_as_its_lines() {
    for trace in BUNDLED {
        let (text, events) = (text(&trace), events(&trace));
        let count = |wanted: IsKind| events.iter().filter(|event| wanted(&event.kind)).count() as u64;
        let pairs: [(&str, IsKind); 16] = [
            ("enter", |kind| matches!(kind, EventKind::RegionEnter)),
            ("leave", |kind| matches!(kind, EventKind::RegionLeave)),
            ("switch_out", |kind| matches!(kind, EventKind::SwitchOut)),
            ("switch_in", |kind| matches!(kind, EventKind::SwitchIn)),
            ("sched_switch", |kind| matches!(kind, EventKind::SchedSwitch { .. })),
            ("page_fault_user", |kind| matches!(kind, EventKind::PageFault { user: true, .. })),
            ("page_fault_kernel", |kind| matches!(kind, EventKind::PageFault { user: false, .. })),
            ("xen_mmu_set_pte", |kind| matches!(kind, EventKind::SetPte { .. })),
            ("xen_mmu_ptep_modify_prot_start", |kind| matches!(kind, EventKind::ProtStart { .. })),
            ("xen_mmu_ptep_modify_prot_commit", |kind| matches!(kind, EventKind::ProtCommit { .. })),
            ("xen_mmu_set_p4d", |kind| matches!(kind, EventKind::SetL4 { .. })),
            ("xen_mmu_write_cr3", |kind| matches!(kind, EventKind::WriteCr3 { .. })),
            ("xen_mc_entry", |kind| matches!(kind, EventKind::Entry { .. })),
            ("xen_mc_extend_args", |kind| matches!(kind, EventKind::Extend { .. })),
            ("xen_mc_flush", |kind| matches!(kind, EventKind::Flush { .. })),
            ("xen_mc_callback", |kind| matches!(kind, EventKind::Callback { .. })),
        ];
        for (name, wanted) in pairs {
            assert_eq!(count(wanted), lines_with(&text, name), "{}: {name}", trace.name);
            assert!(count(wanted) > 0, "{}: {name} never occurs, so nothing was compared", trace.name);
        }
    }
}

#[test]
fn the_recorded_kernel_kept_the_contract() {
    let reports =
        BUNDLED.map(|trace| check::check(EventReader::new(trace.gzip).expect("it opens")).expect("it is whole"));
    assert_eq!(reports.each_ref().map(|report| report.regions), [391, 92, 335]);
    assert_eq!(reports.each_ref().map(|report| report.empty_regions), [274, 62, 237]);
    assert_eq!(reports.each_ref().map(|report| report.flushes.total()), [1377, 651, 964]);
    assert_eq!(reports.each_ref().map(|report| report.flushes.full_arguments), [152, 74, 0]);
    for report in reports {
        assert_eq!(report.violations, []);
        assert_eq!((report.violations_total, report.regions_open_at_start, report.regions_open_at_end), (0, 0, 0));
        let seen = report.evidence;
        assert!(seen.regions && seen.switches && seen.batches && seen.contexts);
        assert_eq!(report.entries_per_flush.total(), report.flushes.total());
    }
}

#[test]
fn a_pure_region_goes_out_every_31_updates() {
    let report = check::check(EventReader::new(BUNDLED[0].gzip).expect("it opens")).expect("it is whole");
    assert_eq!(report.operations_per_flush.largest(), 31);
    assert_eq!(report.operations_per_flush.buckets()[31], 152);
}

#[test]
fn nothing_is_lost_through_the_native_format() {
    for trace in BUNDLED {
        let mut reader = EventReader::new(trace.gzip).expect("it opens");
        let mut writer = native::Writer::new(Vec::new()).expect("memory takes everything");
        for event in &mut reader {
            writer.write(&event.expect("it is whole")).expect("every event can be stored");
        }
        let bytes = writer.finish(reader.summary()).expect("the account is the reader's");
        let per_event = bytes.len() as f64 / reader.summary().events as f64;
        assert!(per_event < 7.0, "{}: {per_event:.2} bytes an event", trace.name);
        let mut back = EventReader::new(bytes.as_slice()).expect("it opens");
        let same: Vec<Event> = back.by_ref().map(|event| event.expect("it is whole")).collect();
        assert_eq!(same, events(&trace));
        assert_eq!(back.summary(), reader.summary());
    }
}
