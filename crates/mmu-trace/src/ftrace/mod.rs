//! Reader of Linux's ftrace text, the content of `tracing/trace`.
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

mod columns;
mod cursor;
mod kernel;
mod lines;
mod mmu;
mod multicall;

use std::io::BufRead;

use crate::error::{ReadError, TextFault};
use crate::event::{EntryFlags, Event, EventKind};
use crate::summary::Summary;
use columns::Columns;
use cursor::{BodyFault, Cursor, leading_decimal};
use kernel::Probe;
use lines::{Line, Lines};

/// Where the kernel half of the x86-64 address space begins: an entry's address below it has been hashed.
const KERNEL_HALF: u64 = 0xffff_8000_0000_0000;

/// Reads events from ftrace text. After an error or the end it yields `None` for ever.
pub struct FtraceReader<R> {
    lines: Lines<R>,
    scan: Scan,
    done: bool,
}

impl<R: BufRead> FtraceReader<R> {
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

impl<R: BufRead> Iterator for FtraceReader<R> {
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
            [b' ', b'=', b'>', b' ', ..] => self.note(),
            text => self.event_line(line.number, text),
        }
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
            self.stamp = 0;
        }
        if !header.take("entries-in-buffer/entries-written:") {
            return Ok(());
        }
        let (kept, written) = entry_counts(header).map_err(|_| TextFault::EntryCounts)?;
        self.promised = Some(self.promised.unwrap_or(0).saturating_add(kept));
        self.summary.overwritten = self.summary.overwritten.saturating_add(written.saturating_sub(kept));
        Ok(())
    }

    /// `CPU:1 [LOST 12 EVENTS]`, or without the count.
    fn lost(&mut self, line: u64, text: &[u8]) -> Result<Event, TextFault> {
        let (vcpu, rest) = leading_decimal(text).ok_or(TextFault::LostCount)?;
        let vcpu = u32::try_from(vcpu).ok().filter(|&vcpu| vcpu < crate::event::MAX_VCPUS);
        let vcpu = vcpu.ok_or(TextFault::LostCount)?;
        let mut rest = Cursor::new(rest);
        rest.word("[LOST").map_err(|_| TextFault::LostCount)?;
        let count = rest.decimal().unwrap_or(0);
        rest.word("EVENTS]").map_err(|_| TextFault::LostCount)?;
        self.summary.lost = self.summary.lost.saturating_add(count.max(1));
        self.summary.events += 1;
        let kind = EventKind::EventsLost { count };
        Ok(Event { line, stamp: self.stamp, vcpu, task: 0, flags: EntryFlags::default(), kind })
    }

    fn event_line(&mut self, number: u64, text: &[u8]) -> Result<Option<Event>, TextFault> {
        let Columns { task, vcpu, flags, stamp, name, body } = columns::split(text)?;
        if stamp < self.stamp {
            return Err(TextFault::Backward { stamp, before: self.stamp });
        }
        self.stamp = stamp;
        match self.meaning(name, Cursor::new(body)).map_err(|fault| named(name, fault))? {
            Meaning::Event(kind) => {
                self.summary.events += 1;
                self.summary.hashed_slots += u64::from(slot_of(&kind).is_some_and(|slot| slot < KERNEL_HALF));
                return Ok(Some(Event { line: number, stamp, vcpu, task, flags, kind }));
            }
            Meaning::NotNeeded => self.summary.ignored += 1,
            Meaning::Unknown => self.summary.note_unknown(number, name),
        }
        Ok(None)
    }

    fn meaning(&mut self, name: &[u8], body: Cursor<'_>) -> Result<Meaning, BodyFault> {
        if let Some(kind) = event_kind(name, body) {
            return kind.map(Meaning::Event);
        }
        Ok(match name {
            b"xen_cpu_write_ldt_entry" | b"xen_cpu_write_gdt_entry" | b"xen_cpu_write_idt_entry" => Meaning::NotNeeded,
            b"xen_cpu_load_idt" | b"xen_cpu_set_ldt" | b"<stack" => Meaning::NotNeeded,
            _ => kernel::probe(body).map_or(Meaning::Unknown, |probe| self.probe(probe)),
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

/// The event called `name`, by all the names it has had; `None` if it is not one of the kernel's own.
fn event_kind(name: &[u8], body: Cursor<'_>) -> Option<Result<EventKind, BodyFault>> {
    if let Some(operation) = name.strip_prefix(b"xen_mc_") {
        return multicall_kind(operation, body);
    }
    if let Some(operation) = name.strip_prefix(b"xen_mmu_") {
        return mmu_kind(operation, body);
    }
    Some(match name {
        b"sched_switch" => kernel::sched_switch(body),
        b"sys_enter" => kernel::syscall_enter(body),
        b"sys_exit" => kernel::syscall_exit(body),
        b"page_fault_user" => kernel::page_fault(body, true),
        b"page_fault_kernel" => kernel::page_fault(body, false),
        b"tracing_mark_write" => Ok(kernel::mark(body)),
        _ => return None,
    })
}

fn multicall_kind(operation: &[u8], body: Cursor<'_>) -> Option<Result<EventKind, BodyFault>> {
    Some(match operation {
        b"batch" => multicall::batch(body),
        b"issue" => multicall::issue(body),
        b"entry" => multicall::entry(body),
        b"entry_alloc" => multicall::entry_alloc(body),
        b"extend_args" => multicall::extend(body),
        b"flush_reason" => multicall::flush_reason(body),
        b"flush" => multicall::flush(body),
        b"callback" => multicall::callback(body),
        _ => return None,
    })
}

fn mmu_kind(operation: &[u8], body: Cursor<'_>) -> Option<Result<EventKind, BodyFault>> {
    Some(match operation {
        b"set_pte" => mmu::set_pte(body),
        b"set_pte_at" => mmu::set_pte_at(body),
        b"set_pmd" => mmu::set_pmd(body),
        b"set_pud" => mmu::set_pud(body),
        b"set_p4d" => mmu::set_p4d(body),
        b"set_pgd" => mmu::set_pgd(body),
        b"ptep_modify_prot_start" => mmu::prot_start(body),
        b"ptep_modify_prot_commit" => mmu::prot_commit(body),
        b"alloc_ptpage" => mmu::table_alloc(body),
        b"release_ptpage" => mmu::table_release(body),
        b"pgd_pin" => mmu::pin(body),
        b"pgd_unpin" => mmu::unpin(body),
        b"write_cr3" => mmu::write_cr3(body),
        b"flush_tlb_one_user" | b"flush_tlb_single" => mmu::flush_one(body),
        b"flush_tlb_multi" | b"flush_tlb_others" => mmu::flush_multi(body),
        b"flush_tlb" => mmu::bare(body, EventKind::TlbFlushLocal),
        b"flush_tlb_all" => mmu::bare(body, EventKind::TlbFlushAll),
        _ => return None,
    })
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
    }
}
