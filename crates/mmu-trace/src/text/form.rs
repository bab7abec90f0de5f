//! What the three forms differ in: the columns, the bodies, and what is no event.

use super::columns::{self, Columns};
use super::cursor::{BodyFault, Cursor};
use super::probe::{self, Probe};
use super::{fields, printed};
use crate::error::TextFault;
use crate::event::EventKind;

/// Who printed the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The kernel.
    Ftrace,
    /// `trace-cmd report`.
    TraceCmd,
    /// `perf script`.
    Perf,
}

/// Whether a line is one of those that `trace-cmd report` begins with.
pub(super) fn is_trace_cmd_header(line: &[u8]) -> bool {
    let number = line.strip_prefix(b"cpus=").or_else(|| line.strip_prefix(b"version = "));
    number.is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit))
}

/// Whether a line is perf's report of lost events (`--show-lost-events`). It does not stand where they were lost.
pub(super) fn is_perf_loss(line: &[u8]) -> bool {
    let label = b": PERF_RECORD_LOST";
    line.last().is_some_and(u8::is_ascii_digit) && line.windows(label.len()).any(|at| at == label)
}

impl Form {
    /// The form of which `line`, the first that is no header, can be. A line that is damaged but has a dash and a number
    /// is the kernel's, so that its damage is named and not its form.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let marked = line.windows(2).any(|pair| pair[0] == b'-' && pair[1].is_ascii_digit());
        match columns::ftrace::split(line) {
            Ok(Columns { name, body, .. }) => Some(Self::of_body(name, Cursor::new(body))),
            Err(_) if columns::perf::is_line(line) || is_perf_loss(line) => Some(Self::Perf),
            Err(_) => marked.then_some(Self::Ftrace),
        }
    }

    /// The kernel's unless only the fields of an event can be read: then trace-cmd's header was cut off.
    fn of_body(name: &[u8], body: Cursor<'_>) -> Self {
        let printed = matches!(printed::event_kind(name, body), Some(Ok(_)));
        let shown = matches!(fields::event_kind(name, body), Some(Ok(_))) || fields::is_probe(body);
        if shown && !printed { Self::TraceCmd } else { Self::Ftrace }
    }

    /// Whether a line is a frame of a stack, or the rest of trace-cmd's header.
    pub(super) fn is_note(self, line: &[u8]) -> bool {
        match self {
            Self::Ftrace => line.starts_with(b" => "),
            Self::TraceCmd => line.starts_with(b"=> ") || is_trace_cmd_header(line),
            Self::Perf => line.starts_with(b"\t"),
        }
    }

    /// Takes an event line apart.
    pub(super) fn columns(self, line: &[u8]) -> Result<Columns<'_>, TextFault> {
        match self {
            Self::Ftrace | Self::TraceCmd => columns::ftrace::split(line),
            Self::Perf => columns::perf::split(line),
        }
    }

    /// The event called `name`, by all the names it has had; `None` if it is not one of the kernel's own.
    pub(super) fn event_kind(self, name: &[u8], body: Cursor<'_>) -> Option<Result<EventKind, BodyFault>> {
        match self {
            Self::Ftrace => printed::event_kind(name, body),
            Self::TraceCmd | Self::Perf => fields::event_kind(name, body),
        }
    }

    /// The probe called `name`, if it is one that matters.
    pub(super) fn probe(self, name: &[u8], body: Cursor<'_>) -> Result<Option<Probe>, BodyFault> {
        match self {
            Self::Ftrace => Ok(probe::by_symbol(body)),
            Self::TraceCmd | Self::Perf => match probe::by_name(name) {
                Some(_) if !fields::is_fields(body.rest()) => Err(BodyFault::Rendered),
                Some(probe) if fields::is_probe(body) => Ok(Some(probe)),
                _ => Ok(None),
            },
        }
    }
}
