//! From events to requests.
//!
//! The recorded kernel brackets its operations: what a bracket is for was announced by an event of the same task just
//! before it (`set_pte`, `alloc_ptpage`, ...), or shows from what is queued in it. A write without a bracket of its own
//! is a direct hypercall (L1, outside a region) or a plain store (L2 to L4, in a table that is not pinned).

use std::collections::{BTreeMap, HashMap};

use hypercall::{Level, Pfn, VcpuId, VirtAddr, abi};
use mmu_trace::{Event, EventKind, ExtendResult};

use super::bracket::{Announced, Bracket, Queued, aligned};
use super::error::ReplayError;
use super::request::{
    EntryWrite, GuestOp, Request, Slot, Source, Span, TaskKey, TlbFlush, Wish, Word, Work, frame_at, slot_at,
};

/// The requests of a whole trace.
///
/// # Errors
/// [`ReplayError`] where events are missing or a batch is not understood.
pub(crate) fn requests(events: &[Event]) -> Result<Vec<Request>, ReplayError> {
    let mut extract = Extract::default();
    for event in events {
        extract.event(event)?;
    }
    extract.close();
    Ok(extract.requests)
}

#[derive(Debug, Default)]
struct Task {
    depth: u32,
    /// Page faults and system calls so far, and the one it is in.
    spans: u32,
    span: Option<Span>,
    announced: Option<Announced>,
    /// Where it was seen last.
    vcpu: u32,
}

#[derive(Default)]
struct Extract {
    tasks: HashMap<TaskKey, Task>,
    /// Brackets that are open, by vCPU.
    open: HashMap<u32, Bracket>,
    /// The task the scheduler picked last, by vCPU.
    picked: HashMap<u32, TaskKey>,
    /// Context switches under way, by vCPU, with the outgoing task.
    switching: BTreeMap<u32, TaskKey>,
    requests: Vec<Request>,
}

impl Extract {
    fn event(&mut self, event: &Event) -> Result<(), ReplayError> {
        match &event.kind {
            EventKind::EventsLost { .. } => return Err(ReplayError::Lost { line: event.line }),
            EventKind::RegionEnter => self.enter(event)?,
            EventKind::RegionLeave => self.leave(event)?,
            EventKind::RegionFlush => self.push(event, Wish::Flush),
            EventKind::SchedSwitch { next, .. } => {
                self.picked.insert(event.vcpu, TaskKey::new(*next, event.vcpu));
            }
            EventKind::SwitchOut => {
                self.switching.insert(event.vcpu, TaskKey::of(event));
                self.push(event, Wish::SwitchOut);
            }
            EventKind::SwitchIn => {
                self.switching.remove(&event.vcpu);
                let next = self.picked.remove(&event.vcpu).unwrap_or_else(|| TaskKey::of(event));
                self.push(event, Wish::SwitchIn { next });
            }
            EventKind::SyscallEnter { .. } | EventKind::PageFault { .. } => {
                let task = self.task(event);
                task.span = Some(Span::after(task.spans));
                task.spans += 1;
            }
            EventKind::SyscallExit { .. } => self.task(event).span = None,
            EventKind::BatchBegin { .. } => self.begin(event),
            EventKind::Entry { op, args } => self.queue(event, Queued { call: *op, args: *args })?,
            EventKind::Extend { op, result: ExtendResult::Ok, .. } => {
                self.queue(event, Queued { call: *op, args: [0; 6] })?;
            }
            EventKind::WriteCr3 { user, address } => {
                self.bracket(event, "write_cr3")?.bases.push((*user, *address));
            }
            EventKind::BatchIssue { .. } => self.issue(event)?,
            _ => return self.asked(event),
        }
        Ok(())
    }

    /// Events that announce a bracket, or stand for a request by themselves.
    fn asked(&mut self, event: &Event) -> Result<(), ReplayError> {
        let line = event.line;
        match event.kind {
            EventKind::SetPte { slot, value, raw } => {
                let op = GuestOp::Write(l1_write(line, slot, value, raw)?);
                return self.set_pte(event, op);
            }
            EventKind::ProtCommit { slot, value, raw, .. } => {
                let op = GuestOp::WriteKeepingAd(l1_write(line, slot, value, raw)?);
                self.announce(event, Announced::Write { op, source: Source::ProtCommit, line })?;
            }
            EventKind::ProtStart { slot, raw, .. } => {
                let slot = slot_of(line, slot)?;
                self.push(event, Wish::ProtStart { slot, raw });
            }
            EventKind::SetUpper { level, slot, value, raw } => {
                let word = Word::Machine { pseudo: value, raw };
                let write = EntryWrite { level: level_of(level), slot: slot_of(line, slot)?, user_slot: None, word };
                self.upper(event, write)?;
            }
            EventKind::SetL4 { slot, user_slot, raw, .. } => {
                let user_slot = if user_slot == 0 { None } else { Some(slot_of(line, user_slot)?) };
                let slot = slot_of(line, slot)?;
                self.upper(event, EntryWrite { level: Level::L4, slot, user_slot, word: Word::Pseudo(raw) })?;
            }
            _ => return self.tables(event),
        }
        Ok(())
    }

    /// Events about whole tables and TLBs.
    fn tables(&mut self, event: &Event) -> Result<(), ReplayError> {
        match event.kind {
            EventKind::TableAlloc { pfn, level, pinned, .. } => {
                let level = level_of(level);
                self.push(event, Wish::TableAlloc { frame: Pfn::new(pfn) });
                self.announce_if(pinned, event, Announced::Joins { level })
            }
            EventKind::TableRelease { pfn, level, pinned } => {
                self.push(event, Wish::TableRelease { frame: Pfn::new(pfn), level: level_of(level) });
                self.announce_if(pinned, event, Announced::Parts)
            }
            EventKind::Pin { l4, .. } => self.announce(event, Announced::Pin { l4: table_at(event.line, l4)? }),
            EventKind::Unpin { l4, .. } => self.announce(event, Announced::Unpin { l4: table_at(event.line, l4)? }),
            EventKind::TlbFlushOne { address } => {
                self.announce(event, Announced::Tlb(TlbFlush::One(VirtAddr::unchecked(address))))
            }
            EventKind::TlbFlushMulti { start, end, .. } => self.announce(event, Announced::Tlb(multi(start, end))),
            EventKind::TlbFlushLocal => self.announce(event, Announced::Tlb(TlbFlush::Local)),
            EventKind::TlbFlushAll => self.announce(event, Announced::Tlb(TlbFlush::All)),
            _ => Ok(()),
        }
    }

    fn enter(&mut self, event: &Event) -> Result<(), ReplayError> {
        self.settle(event)?;
        self.task(event).depth += 1;
        self.push(event, Wish::Enter);
        Ok(())
    }

    /// A region that was entered before the trace began is none for a replay: its writes were taken for direct ones.
    fn leave(&mut self, event: &Event) -> Result<(), ReplayError> {
        self.settle(event)?;
        let task = self.task(event);
        if let Some(depth) = task.depth.checked_sub(1) {
            task.depth = depth;
            self.push(event, Wish::Leave);
        }
        Ok(())
    }

    /// A pte is queued inside a region and a hypercall of its own elsewhere: in interrupts too, and between the two
    /// hooks of a context switch, where Linux is lazy about the processor only.
    fn set_pte(&mut self, event: &Event, op: GuestOp) -> Result<(), ReplayError> {
        let source = Source::PteWrite;
        let switching = self.switching.contains_key(&event.vcpu);
        if self.task(event).depth > 0 && !switching && !event.flags.in_interrupt() {
            return self.announce(event, Announced::Write { op, source, line: event.line });
        }
        self.announce(event, Announced::Direct)?;
        self.push(event, Wish::Work(Work { source, operations: vec![op] }));
        Ok(())
    }

    fn upper(&mut self, event: &Event, write: EntryWrite) -> Result<(), ReplayError> {
        self.announce(event, Announced::Upper { request: self.requests.len() })?;
        self.push(event, Wish::Store(write));
        Ok(())
    }

    fn announce_if(&mut self, condition: bool, event: &Event, what: Announced) -> Result<(), ReplayError> {
        if condition { self.announce(event, what) } else { self.settle(event) }
    }

    fn announce(&mut self, event: &Event, what: Announced) -> Result<(), ReplayError> {
        self.settle(event)?;
        self.task(event).announced = Some(what);
        Ok(())
    }

    /// Closes what was announced before: only a plain store may have had no bracket.
    fn settle(&mut self, event: &Event) -> Result<(), ReplayError> {
        match self.task(event).announced.take() {
            Some(Announced::Write { line, .. }) => Err(ReplayError::NeverQueued { line }),
            _ => Ok(()),
        }
    }

    fn begin(&mut self, event: &Event) {
        let announced = self.task(event).announced.take();
        let task = TaskKey::of(event);
        let bracket = Bracket { line: event.line, task, announced, queued: Vec::new(), bases: Vec::new() };
        self.open.insert(event.vcpu, bracket);
    }

    fn bracket(&mut self, event: &Event, name: &'static str) -> Result<&mut Bracket, ReplayError> {
        self.open.get_mut(&event.vcpu).ok_or(ReplayError::NoBatch { line: event.line, event: name })
    }

    fn queue(&mut self, event: &Event, queued: Queued) -> Result<(), ReplayError> {
        self.bracket(event, "xen_mc_entry")?.queued.push(queued);
        Ok(())
    }

    fn issue(&mut self, event: &Event) -> Result<(), ReplayError> {
        let line = event.line;
        let bracket = self.open.remove(&event.vcpu).ok_or(ReplayError::NoBatch { line, event: "xen_mc_issue" })?;
        if let Some(Announced::Upper { request }) = bracket.announced
            && bracket.queued.first().is_some_and(|first| first.call == abi::HYPERCALL_MMU_UPDATE)
        {
            return self.pinned_after_all(request, &bracket, event);
        }
        if let Some(work) = bracket.work()? {
            self.push(event, Wish::Work(work));
        }
        Ok(())
    }

    /// What looked like a plain store had a bracket: it is an update.
    fn pinned_after_all(&mut self, request: usize, bracket: &Bracket, event: &Event) -> Result<(), ReplayError> {
        let request = &mut self.requests[request];
        request.vcpu = VcpuId::new(event.vcpu);
        if let Wish::Store(write) = request.wish {
            let updates = 1 + usize::from(write.user_slot.is_some());
            if bracket.queued.len() != updates || bracket.queued.iter().any(|q| q.call != abi::HYPERCALL_MMU_UPDATE) {
                return Err(bracket.unknown());
            }
            request.wish =
                Wish::Work(Work { source: Source::UpperWrite(write.level), operations: vec![GuestOp::Write(write)] });
        }
        Ok(())
    }

    fn task(&mut self, event: &Event) -> &mut Task {
        self.tasks.entry(TaskKey::of(event)).or_default()
    }

    fn push(&mut self, event: &Event, wish: Wish) {
        let task = self.task(event);
        task.vcpu = event.vcpu;
        let interrupt = event.flags.in_interrupt();
        let span = task.span.filter(|_| !interrupt);
        let (vcpu, task) = (VcpuId::new(event.vcpu), TaskKey::of(event));
        self.requests.push(Request { line: event.line, vcpu, task, interrupt, span, wish });
    }

    /// The end of the trace ends what is open, so that nothing is left queued.
    fn close(&mut self) {
        let line = self.requests.last().map_or(0, |request| request.line);
        let switches = std::mem::take(&mut self.switching).into_iter();
        let switches = switches.map(|(vcpu, task)| (task, vcpu, None, Wish::SwitchIn { next: task }));
        let regions = self
            .tasks
            .iter()
            .flat_map(|(key, task)| (0..task.depth).map(|_| (*key, task.vcpu, task.span, Wish::Leave)));
        let mut ends: Vec<_> = switches.chain(regions).collect();
        ends.sort_by_key(|(task, _, _, wish)| (*wish == Wish::Leave, task.unique()));
        self.requests.extend(ends.into_iter().map(|(task, vcpu, span, wish)| Request {
            line,
            vcpu: VcpuId::new(vcpu),
            task,
            interrupt: false,
            span,
            wish,
        }));
    }
}

fn l1_write(line: u64, slot: u64, pseudo: Option<u64>, raw: u64) -> Result<EntryWrite, ReplayError> {
    let word = Word::Machine { pseudo, raw };
    Ok(EntryWrite { level: Level::L1, slot: slot_of(line, slot)?, user_slot: None, word })
}

fn slot_of(line: u64, address: u64) -> Result<Slot, ReplayError> {
    let slot = slot_at(address).ok_or(ReplayError::NotDirectMapped { line, address })?;
    aligned(line, address, 8).map(|_| slot)
}

fn table_at(line: u64, address: u64) -> Result<Pfn, ReplayError> {
    let table = frame_at(address).ok_or(ReplayError::NotDirectMapped { line, address })?;
    aligned(line, address, hypercall::PAGE_SIZE).map(|_| table)
}

/// Linux invalidates one address where the range is one page, and everything otherwise.
fn multi(start: u64, end: u64) -> TlbFlush {
    if end != u64::MAX && end.saturating_sub(start) <= hypercall::PAGE_SIZE {
        TlbFlush::OneMulti(VirtAddr::unchecked(start))
    } else {
        TlbFlush::Multi
    }
}

const fn level_of(level: mmu_trace::Level) -> Level {
    match level {
        mmu_trace::Level::L1 => Level::L1,
        mmu_trace::Level::L2 => Level::L2,
        mmu_trace::Level::L3 => Level::L3,
        mmu_trace::Level::L4 => Level::L4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::testing::{RO, RW, Script, at, entry, mfn};
    use mmu_trace::Level as Recorded;

    fn works(script: &Script) -> Vec<(Source, Vec<GuestOp>)> {
        let works = requests(&script.events).unwrap().into_iter().filter_map(|request| match request.wish {
            Wish::Work(work) => Some((work.source, work.operations)),
            _ => None,
        });
        works.collect()
    }

    fn sources(script: &Script) -> Vec<Source> {
        works(script).into_iter().map(|(source, _)| source).collect()
    }

    #[test]
    fn a_pte_is_direct_outside_regions_and_in_interrupts() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).enter().queued_pte(5, 2, 9, RW);
        script.interrupt(true).set_pte(6, 0, 9, RO).interrupt(false).leave();
        let requests = requests(&script.events).unwrap();
        let kinds: Vec<_> =
            requests.iter().map(|request| (std::mem::discriminant(&request.wish), request.interrupt)).collect();
        let work = std::mem::discriminant(&Wish::Work(Work { source: Source::Tlb, operations: vec![] }));
        let (enter, leave) = (std::mem::discriminant(&Wish::Enter), std::mem::discriminant(&Wish::Leave));
        assert_eq!(kinds, [(work, false), (enter, false), (work, false), (work, true), (leave, false)]);
    }

    #[test]
    fn an_upper_write_is_an_update_only_with_a_bracket_of_its_own() {
        let mut script = Script::new();
        script.set_l2(5, 1, 9).bracket(&[(abi::HYPERCALL_MMU_UPDATE, [0; 3])]);
        script.set_l2(5, 2, 9).bracket(&[]);
        script.set_l2(5, 3, 9).bracket(&[Script::MMUEXT]);
        let wishes: Vec<_> = requests(&script.events).unwrap().into_iter().map(|request| request.wish).collect();
        assert!(matches!(&wishes[0], Wish::Work(Work { source: Source::UpperWrite(Level::L2), .. })));
        assert!(matches!(wishes[1], Wish::Store(_)) && matches!(wishes[2], Wish::Store(_)));
        assert!(matches!(&wishes[3], Wish::Work(Work { source: Source::Tlb, .. })));
    }

    #[test]
    fn pins_take_the_table_before_them_and_unpins_the_one_after() {
        let (ro, rw) = (|pfn| Script::remap(pfn, false), |pfn| Script::remap(pfn, true));
        let mut script = Script::new();
        script.push(EventKind::Pin { mm: 1, l4: at(0x40, 0) });
        script.bracket(&[ro(0x30), ro(0x10), Script::MMUEXT, ro(0x40), Script::MMUEXT, ro(0x41), Script::MMUEXT]);
        script.push(EventKind::Unpin { mm: 1, l4: at(0x40, 0) });
        script.bracket(&[Script::MMUEXT, Script::MMUEXT, rw(0x41), rw(0x30), Script::MMUEXT, rw(0x10), rw(0x40)]);
        let tables = |operations: &[GuestOp]| -> Vec<(u64, Level)> {
            let table = |op: &GuestOp| match *op {
                GuestOp::Pin { table, level } | GuestOp::Unpin { table, level } => Some((table.number(), level)),
                _ => None,
            };
            operations.iter().filter_map(table).collect()
        };
        let works = works(&script);
        assert_eq!(works[0].0, Source::PinWalk);
        assert_eq!(tables(&works[0].1), [(0x10, Level::L1), (0x40, Level::L4), (0x41, Level::L4)]);
        assert_eq!(works[1].0, Source::UnpinWalk);
        assert_eq!(tables(&works[1].1), [(0x40, Level::L4), (0x41, Level::L4), (0x10, Level::L1)]);
    }

    #[test]
    fn a_released_l1_is_unpinned_before_it_becomes_writable() {
        let mut script = Script::new();
        script.release(0x10, Recorded::L1, true).bracket(&[Script::MMUEXT, Script::remap(0x10, true)]);
        script.bracket(&[Script::MMUEXT]);
        let raw = entry(mfn(0x10), 0x63);
        let unpin = GuestOp::Unpin { table: Pfn::new(0x10), level: Level::L1 };
        let remap = GuestOp::Remap { frame: Pfn::new(0x10), raw, flush: false };
        let flush = GuestOp::Tlb(TlbFlush::Local);
        assert_eq!(works(&script), [(Source::Table, vec![unpin, remap]), (Source::Tlb, vec![flush])]);
    }

    #[test]
    fn base_pointers_and_the_stack_are_told_by_what_is_queued() {
        let mut script = Script::new();
        script.switch(8, Some(0x40));
        assert_eq!(sources(&script), [Source::BasePointer, Source::StackSwitch]);
        let bases = &works(&script)[0].1;
        let kernel = GuestOp::Base { user: false, table: Some(Pfn::new(0x40)) };
        assert_eq!(bases.as_slice(), [kernel, GuestOp::Base { user: true, table: None }]);
        let switch_in = requests(&script.events).unwrap().into_iter().find_map(|request| match request.wish {
            Wish::SwitchIn { next } => Some(next),
            _ => None,
        });
        assert_eq!(switch_in, Some(TaskKey::new(8, 0)));
    }

    #[test]
    fn idle_tasks_of_two_vcpus_are_two_tasks() {
        let mut script = Script::new();
        script.on(0, 0).enter().on(1, 0).set_pte(5, 1, 9, RW);
        assert_eq!(sources(&script), [Source::PteWrite], "the region is the other idle task's");
        assert_ne!(TaskKey::new(0, 0).unique(), TaskKey::new(0, 1).unique());
    }

    #[test]
    fn a_region_that_began_before_the_trace_is_none() {
        let mut script = Script::new();
        script.queued_pte(5, 1, 9, RW).leave().set_pte(5, 2, 9, RW).bracket(&[Script::MMUEXT]);
        assert_eq!(sources(&script), [Source::PteWrite, Source::PteWrite, Source::Tlb]);
        assert!(requests(&script.events).unwrap().iter().all(|request| request.wish != Wish::Leave));
    }

    #[test]
    fn the_end_of_the_trace_ends_what_is_open() {
        let mut script = Script::new();
        script.on(0, 9).enter().on(1, 7).enter().push(EventKind::SwitchOut);
        let requests = requests(&script.events).unwrap();
        let ends: Vec<_> = requests[3..].iter().map(|request| (request.vcpu.number(), &request.wish)).collect();
        let switched = Wish::SwitchIn { next: TaskKey::new(7, 1) };
        assert_eq!(ends, [(1, &switched), (1, &Wish::Leave), (0, &Wish::Leave)]);
    }

    #[test]
    fn a_flush_of_one_page_names_it() {
        assert_eq!(multi(0x1000, 0x2000), TlbFlush::OneMulti(VirtAddr::unchecked(0x1000)));
        assert_eq!(multi(0x1000, 0x3000), TlbFlush::Multi);
        assert_eq!(multi(0, u64::MAX), TlbFlush::Multi);
    }

    #[test]
    fn what_cannot_be_followed_is_an_error_with_its_line() {
        let error = |script: &mut Script| requests(&script.events).unwrap_err().to_string();
        let mut script = Script::new();
        assert!(error(script.push(EventKind::EventsLost { count: 3 })).starts_with("line 1: events were lost"));
        let mut script = Script::new();
        assert!(error(script.enter().set_pte(5, 1, 9, RW).leave()).starts_with("line 2: the write asked for here"));
        let mut script = Script::new();
        assert!(error(script.push(EventKind::SetPte { slot: 0x1000, value: Some(0), raw: 0 })).contains("`nokaslr"));
        let mut script = Script::new();
        assert!(error(script.bracket(&[(abi::HYPERCALL_UPDATE_DESCRIPTOR, [0; 3])])).contains("hypercalls 10"));
        let mut script = Script::new();
        assert!(error(script.push(EventKind::WriteCr3 { user: false, address: 0 })).contains("`write_cr3` outside"));
    }
}
