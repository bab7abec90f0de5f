//! Reader of the text of a Linux trace, in the three forms a kernel's events are printed in:
//!
//! - `tracing/trace` itself (or `trace-cmd show`, which passes it on): bodies as the kernel prints them;
//! - `trace-cmd report -R`, best with `-l`: bodies as fields;
//! - `perf script -s perf-fields.py`: bodies as fields.
//!
//! The first line that tells decides the form; everything behind the columns and the bodies is one for all.
//! What trace-cmd and perf print without that is refused, because it is not what happened ([`TextFault::Rendered`]).
//!
//! Streaming: one line at a time, of bounded length, in one reused buffer. Every line is used, known and not needed, or
//! counted as unknown in the [`Summary`]; a line that should be one of the former and cannot be read ends the reading
//! with an error that names it. Kernels that lack events are fine; renamed ones are known by all the names they had.
//!
//! Two probes fire for one leave (`xen_leave_lazy_mmu`, then the `paravirt_leave_lazy_mmu` it calls) and two for one
//! switch-in. Once the outer function has been seen in a trace the inner one is known and not needed; in a trace without
//! the outer one the inner one counts.
//!
//! Known and not needed: `xen_cpu_*` (descriptor writes, which are no page-table work) and stack dumps.
//!
//! Events must come in the order in which they happened. A stamp below the one before it is refused, and so is a task
//! that is shown on two vCPUs at once ([`TextFault::TwoPlaces`]): then the clock does not order vCPUs. Equal stamps keep
//! the order of their lines, which all three tools print by a finer clock than they show.

mod columns;
mod cursor;
mod fields;
mod form;
mod lines;
mod printed;
mod probe;
mod seats;

use std::collections::HashMap;
use std::io::BufRead;

use crate::error::{ReadError, TextFault};
use crate::event::{EntryFlags, Event, EventKind};
use crate::summary::Summary;
use columns::Columns;
use cursor::{BodyFault, Cursor, leading_decimal};
use form::Form;
use lines::{Line, Lines};
use probe::Probe;
use seats::Seats;

/// Where the kernel half of the x86-64 address space begins: an entry's address below it has been hashed.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;

/// Reads events from the text of a trace. After an error or the end it yields `None` for ever.
pub struct TextReader<R> {
    lines: Lines<R>,
    scan: Scan,
    done: bool,
}

impl<R: BufRead> TextReader<R> {
    /// Reads from `input`, plain text. Nothing is read before the first call of `next`.
    pub fn new(input: R) -> Self {
        Self { lines: Lines::new(input), scan: Scan::default(), done: false }
    }

    /// The account of what was read so far.
    pub fn summary(&self) -> &Summary {
        &self.scan.summary
    }

    fn read(&mut self) -> Result<Option<Event>, TextFault> {
        while let Some(line) = self.lines.next()? {
            if let Some(event) = self.scan.line(&line)? {
                return Ok(Some(event));
            }
        }
        self.scan.end()?;
        Ok(None)
    }
}

impl<R: BufRead> Iterator for TextReader<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let read = self.read();
        self.done = !matches!(read, Ok(Some(_)));
        let line = self.lines.number();
        read.map_err(|fault| ReadError::Text { line, fault }).transpose()
    }
}

/// What is remembered from line to line.
#[derive(Default)]
struct Scan {
    summary: Summary,
    /// Known from the first line that tells.
    form: Option<Form>,
    seats: Seats,
    /// The last event of each vCPU, of perf's.
    last: HashMap<u32, Event>,
    /// Entries the headers name, if there is a header.
    promised: Option<u64>,
    stamp: u64,
    outer_leave_seen: bool,
    outer_switch_in_seen: bool,
}

/// What an event line turns out to be.
enum Meaning {
    Event(EventKind),
    NotNeeded,
    Unknown,
}

impl Scan {
    /// The event of one line, if it holds one.
    fn line(&mut self, line: &Line<'_>) -> Result<Option<Event>, TextFault> {
        if line.ended {
            return self.whole_line(line);
        }
        let before = self.summary.clone();
        let event = self.whole_line(line);
        if event.is_ok() && self.promised.is_none() {
            return event;
        }
        // What is not handed out is not counted.
        self.summary = Summary { lines: self.summary.lines, ..before };
        Err(TextFault::Cut)
    }

    fn whole_line(&mut self, line: &Line<'_>) -> Result<Option<Event>, TextFault> {
        self.summary.lines += 1;
        match line.text {
            [] => self.note(),
            [b'#', header @ ..] => {
                self.header(header)?;
                self.note()
            }
            [b'C', b'P', b'U', b':', rest @ ..] => self.lost(line.number, rest).map(Some),
            text if self.form.is_none() && form::is_trace_cmd_header(text) => {
                self.form = Some(Form::TraceCmd);
                self.note()
            }
            text => {
                let form = self.form(text)?;
                match form {
                    Form::Perf if form::is_perf_loss(text) => Err(TextFault::Lost),
                    _ if form.is_note(text) => self.note(),
                    _ => self.event_line(form, line.number, text),
                }
            }
        }
    }

    fn form(&mut self, text: &[u8]) -> Result<Form, TextFault> {
        let form = self.form.or_else(|| Form::of(text)).ok_or(TextFault::NoForm)?;
        self.form = Some(form);
        Ok(form)
    }

    fn note(&mut self) -> Result<Option<Event>, TextFault> {
        self.summary.notes += 1;
        Ok(None)
    }

    /// `# entries-in-buffer/entries-written: 40708/40708   #P:2`. Behind `# tracer: nop` another buffer begins, whose
    /// clock may have been set back.
    fn header(&mut self, header: &[u8]) -> Result<(), TextFault> {
        let mut header = Cursor::new(header);
        if header.take("tracer:") {
            self.form = Some(self.form.unwrap_or(Form::Ftrace));
            self.stamp = 0;
            self.seats = Seats::default();
        }
        if !header.take("entries-in-buffer/entries-written:") {
            return Ok(());
        }
        let (kept, written) = entry_counts(header).map_err(|_| TextFault::EntryCounts)?;
        self.promised = Some(self.promised.unwrap_or(0).saturating_add(kept));
        self.summary.overwritten = self.summary.overwritten.saturating_add(written.saturating_sub(kept));
        Ok(())
    }

    /// `CPU:1 [LOST 12 EVENTS]` or, by trace-cmd, `CPU:1 [12 EVENTS DROPPED]`; either without the count.
    fn lost(&mut self, line: u64, text: &[u8]) -> Result<Event, TextFault> {
        let (vcpu, rest) = leading_decimal(text).ok_or(TextFault::LostCount)?;
        let vcpu = u32::try_from(vcpu).ok().filter(|&vcpu| vcpu < crate::event::MAX_VCPUS);
        let vcpu = vcpu.ok_or(TextFault::LostCount)?;
        let count = lost_count(Cursor::new(rest)).map_err(|_| TextFault::LostCount)?;
        self.summary.lost = self.summary.lost.saturating_add(count.max(1));
        self.summary.events += 1;
        self.seats = Seats::default();
        let kind = EventKind::EventsLost { count };
        Ok(Event { line, stamp: self.stamp, vcpu, task: 0, flags: EntryFlags::default(), kind })
    }

    fn event_line(&mut self, form: Form, number: u64, text: &[u8]) -> Result<Option<Event>, TextFault> {
        let Columns { task, vcpu, flags, stamp, name, body } = form.columns(text)?;
        if stamp < self.stamp {
            return Err(TextFault::Backward { stamp, before: self.stamp });
        }
        self.stamp = stamp;
        let meaning = self.meaning(form, name, Cursor::new(body)).map_err(|fault| named(name, fault))?;
        self.seats.take(vcpu, task)?;
        match meaning {
            Meaning::Event(kind) => {
                if let EventKind::SchedSwitch { next, .. } = kind {
                    self.seats.switch(vcpu, next);
                }
                let event = Event { line: number, stamp, vcpu, task, flags, kind };
                self.once(form, &event)?;
                self.account(&event.kind);
                return Ok(Some(event));
            }
            Meaning::NotNeeded => self.summary.ignored += 1,
            Meaning::Unknown => self.summary.note_unknown(number, name),
        }
        Ok(None)
    }

    /// perf can record an event twice. A clock may stand for a while, but between two events of one vCPU that are alike
    /// there are always others.
    fn once(&mut self, form: Form, event: &Event) -> Result<(), TextFault> {
        if form != Form::Perf {
            return Ok(());
        }
        let last = self.last.insert(event.vcpu, event.clone());
        let again = last.is_some_and(|last| Event { line: event.line, ..last } == *event);
        if again { Err(TextFault::Repeated) } else { Ok(()) }
    }

    fn account(&mut self, kind: &EventKind) {
        self.summary.events += 1;
        self.summary.hashed_slots += u64::from(slot_of(kind).is_some_and(|slot| slot < KERNEL_HALF));
    }

    fn meaning(&mut self, form: Form, name: &[u8], body: Cursor<'_>) -> Result<Meaning, BodyFault> {
        if let Some(kind) = form.event_kind(name, body) {
            return kind.map(Meaning::Event);
        }
        Ok(match name {
            b"xen_cpu_write_ldt_entry" | b"xen_cpu_write_gdt_entry" | b"xen_cpu_write_idt_entry" => Meaning::NotNeeded,
            b"xen_cpu_load_idt" | b"xen_cpu_set_ldt" | b"<stack" => Meaning::NotNeeded,
            _ => form.probe(name, body)?.map_or(Meaning::Unknown, |probe| self.probe(probe)),
        })
    }

    fn probe(&mut self, probe: Probe) -> Meaning {
        match probe {
            Probe::Enter => Meaning::Event(EventKind::RegionEnter),
            Probe::Flush => Meaning::Event(EventKind::RegionFlush),
            Probe::SwitchOut => Meaning::Event(EventKind::SwitchOut),
            Probe::Leave => {
                self.outer_leave_seen = true;
                Meaning::Event(EventKind::RegionLeave)
            }
            Probe::SwitchIn => {
                self.outer_switch_in_seen = true;
                Meaning::Event(EventKind::SwitchIn)
            }
            Probe::InnerLeave if self.outer_leave_seen => Meaning::NotNeeded,
            Probe::InnerSwitchIn if self.outer_switch_in_seen => Meaning::NotNeeded,
            Probe::InnerLeave => Meaning::Event(EventKind::RegionLeave),
            Probe::InnerSwitchIn => Meaning::Event(EventKind::SwitchIn),
        }
    }

    /// A buffer that was saved in full holds all the entries its header names.
    fn end(&self) -> Result<(), TextFault> {
        let found = self.summary.entries();
        match self.promised {
            Some(promised) if promised > found => Err(TextFault::Missing { promised, found }),
            _ => Ok(()),
        }
    }
}

fn entry_counts(mut text: Cursor<'_>) -> Result<(u64, u64), BodyFault> {
    let kept = text.decimal()?;
    text.word("/")?;
    Ok((kept, text.decimal()?))
}

/// How many events were lost, 0 if that is not said.
fn lost_count(mut text: Cursor<'_>) -> Result<u64, BodyFault> {
    text.word("[")?;
    let before = text.take("LOST");
    let count = text.decimal().unwrap_or(0);
    text.word(if before { "EVENTS]" } else { "EVENTS DROPPED]" })?;
    text.end()?;
    Ok(count)
}

fn slot_of(kind: &EventKind) -> Option<u64> {
    match *kind {
        EventKind::SetPte { slot, .. }
        | EventKind::SetUpper { slot, .. }
        | EventKind::SetL4 { slot, .. }
        | EventKind::ProtStart { slot, .. }
        | EventKind::ProtCommit { slot, .. } => Some(slot),
        _ => None,
    }
}

fn named(event: &[u8], fault: BodyFault) -> TextFault {
    let event = String::from_utf8_lossy(event).into();
    match fault {
        BodyFault::Expected { expected, found } => TextFault::Field { event, expected, found },
        BodyFault::Level(level) => TextFault::Level { event, level },
        BodyFault::Rendered => TextFault::Rendered { event },
    }
}
