//! The bundled traces in the text of the other tools: the same events, one for one.

mod common;

use mmu_trace::{BUNDLED, Event, EventKind, EventReader};

/// What fields do not hold: the pseudo-physical word, and the line of the other text.
fn without_pseudo(mut event: Event, line: u64) -> Event {
    event.line = line;
    match &mut event.kind {
        EventKind::SetPte { value, .. }
        | EventKind::SetUpper { value, .. }
        | EventKind::SetL4 { value, .. }
        | EventKind::ProtStart { value, .. }
        | EventKind::ProtCommit { value, .. } => *value = None,
        _ => {}
    }
    event
}

fn read(text: &str) -> impl Iterator<Item = Event> {
    EventReader::new(text.as_bytes()).expect("it opens").map(|event| event.expect("it is whole"))
}

#[test]
fn every_bundled_event_comes_back_from_every_form() {
    for trace in BUNDLED {
        let reader = EventReader::new(trace.gzip).expect("it opens");
        let events: Vec<Event> = reader.map(|event| event.expect("it is whole")).collect();
        let trace_cmd: String =
            std::iter::once("cpus=2\n".to_owned()).chain(events.iter().map(common::trace_cmd)).collect();
        let perf: String = events.iter().map(common::perf).collect();
        for (text, first) in [(trace_cmd, 2), (perf, 1)] {
            let wanted = (first..).zip(&events).map(|(line, event)| without_pseudo(event.clone(), line));
            let differs = wanted.zip(read(&text)).find(|(wanted, found)| wanted != found);
            assert_eq!(differs, None, "{}", trace.name);
            assert_eq!(read(&text).count(), events.len(), "{}", trace.name);
        }
    }
}
