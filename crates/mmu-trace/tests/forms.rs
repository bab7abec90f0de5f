//! The first bytes of a trace tell its form.

use std::fs;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use mmu_trace::native::{self, WriteError};
use mmu_trace::{Event, EventKind, EventReader, NativeFault, ReadError, Summary, TextFault, open};

const TEXT: &[u8] = b"  sh-7 [001] d..2. 5: sys_exit: NR 1 = 2\n";

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes everything");
    encoder.finish().expect("memory takes everything")
}

fn events(bytes: &[u8]) -> Result<Vec<Event>, ReadError> {
    EventReader::new(bytes)?.collect()
}

fn native(events: &[Event]) -> Vec<u8> {
    let mut writer = native::Writer::new(Vec::new()).expect("memory takes everything");
    for event in events {
        writer.write(event).expect("the event can be stored");
    }
    writer.finish(&Summary::of_events(events.len() as u64)).expect("the account is of these events")
}

#[test]
fn all_four_forms_give_the_same_events() {
    let plain = events(TEXT).expect("it is whole");
    assert_eq!(plain[0].kind, EventKind::SyscallExit { nr: 1, ret: 2 });
    let native = native(&plain);
    for form in [packed(TEXT), native.clone(), packed(&native), [packed(b""), packed(TEXT)].concat()] {
        assert_eq!(events(&form).expect("it is whole"), plain);
    }
}

#[test]
fn what_is_no_trace_is_refused() {
    assert!(matches!(events(b""), Err(ReadError::Empty)));
    assert!(matches!(events(&packed(b"")), Err(ReadError::Empty)));
    assert!(matches!(events(&packed(&packed(TEXT))), Err(ReadError::NestedGzip)));
    for (recording, tool) in [(b"\x17\x08\x44tracing0.6\0".as_slice(), "trace-cmd"), (b"PERFILE2h\0", "perf")] {
        let error = events(&packed(recording)).expect_err("it is to be printed first");
        assert!(matches!(&error, ReadError::Recording { tool: found, .. } if *found == tool), "{error}");
    }
    assert!(matches!(events(b"\x7fELF\x02"), Err(ReadError::Text { line: 1, fault: TextFault::Cut })));
    let cut = packed(TEXT);
    assert!(matches!(
        events(&cut[..cut.len() - 9]),
        Err(ReadError::Open(_) | ReadError::Text { fault: TextFault::Input(_), .. })
    ));
}

#[test]
fn a_native_trace_names_what_is_wrong_with_it() {
    let whole = native(&events(TEXT).expect("it is whole"));
    let fault = |bytes: &[u8]| match events(bytes) {
        Err(ReadError::Native { fault, .. }) => fault,
        other => panic!("{other:?}"),
    };
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    assert!(matches!(fault(&changed(7)), NativeFault::Version { found: 3, known: native::VERSION }));
    assert!(matches!(fault(&changed(20)), NativeFault::Checksum { .. }));
    assert!(matches!(fault(&whole[..whole.len() - 1]), NativeFault::Cut));
    assert!(matches!(fault(&[whole.as_slice(), b"x"].concat()), NativeFault::Trailing));
    let text = ReadError::Native { record: 3, offset: 8, fault: NativeFault::Cut }.to_string();
    assert_eq!(text, "record 3 at byte 8: the trace is cut: no end marker");
}

#[test]
fn a_native_trace_keeps_the_account_of_its_origin() {
    let text = [b"# header\n".as_slice(), b"  sh-7 [001] d..2. 5: novelty: 1\n", TEXT].concat();
    let mut reader = EventReader::new(text.as_slice()).expect("it opens");
    let mut writer = native::Writer::new(Vec::new()).expect("memory takes everything");
    for event in &mut reader {
        writer.write(&event.expect("it is whole")).expect("the event can be stored");
    }
    let bytes = writer.finish(reader.summary()).expect("the account is the reader's");
    let mut back = EventReader::new(bytes.as_slice()).expect("it opens");
    assert_eq!(back.by_ref().filter_map(Result::ok).map(|event| event.line).collect::<Vec<_>>(), [3]);
    let account = back.summary();
    assert_eq!((account.lines, account.notes, account.events, account.unknown_lines), (3, 1, 1, 1));
}

#[test]
fn what_cannot_be_stored_is_refused_and_nothing_of_it_written() {
    let good = events(TEXT).expect("it is whole").remove(0);
    let long = Event { kind: EventKind::Mark { text: "x".repeat(native::MAX_TEXT + 1).into() }, ..good.clone() };
    let beyond = Event { vcpu: mmu_trace::event::MAX_VCPUS, line: 77, ..good.clone() };
    let mut writer = native::Writer::new(Vec::new()).expect("memory takes everything");
    for bad in [&long, &beyond] {
        assert!(matches!(writer.write(bad), Err(WriteError::Event { line }) if line == bad.line));
    }
    writer.write(&good).expect("the event can be stored");
    let bytes = writer.finish(&Summary::of_events(1)).expect("the account is of one event");
    assert_eq!(events(&bytes).expect("it is whole"), [good]);
    let writer = native::Writer::new(Vec::new()).expect("memory takes everything");
    let wrong = writer.finish(&Summary::of_events(1));
    assert!(matches!(wrong, Err(WriteError::Account { accounted: 1, written: 0 })));
}

#[test]
fn files_are_opened_by_path() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("trace");
    assert!(matches!(open(&path), Err(ReadError::Open(_))));
    fs::write(&path, TEXT).expect("the file can be written");
    assert_eq!(open(&path).expect("it opens").count(), 1);
}
