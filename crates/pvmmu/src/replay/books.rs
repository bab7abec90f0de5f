//! Whether the recorded kernel's own books add up: a trace that lacks lines cannot be followed.
//!
//! A batch that begins is issued before the next begins on its vCPU; an entry that was asked for is queued before
//! anything else is; a flush takes exactly the entries and the bytes of arguments queued since the last one; a context
//! switch ends before the next begins. What was queued before the first flush of a vCPU may be older than the trace, so
//! that flush may take more than was seen. Masked upcalls keep other batches of the vCPU away meanwhile, so a contradiction
//! is never an interrupt.

use std::collections::{BTreeMap, HashMap};

use mmu_trace::{Event, EventKind, ExtendResult};

use super::error::ReplayError;
use super::request::{GuestOp, Request, TaskKey, Wish};

/// Goes through all events of a trace.
///
/// # Errors
/// [`ReplayError::Torn`] at the first event that cannot follow those before it; an event is missing there.
pub(crate) fn add_up(events: &[Event]) -> Result<(), ReplayError> {
    let mut vcpus: BTreeMap<u32, Vcpu> = BTreeMap::new();
    let mut regions: HashMap<TaskKey, u32> = HashMap::new();
    for event in events {
        let torn = |what: String| ReplayError::Torn { line: event.line, what };
        vcpus.entry(event.vcpu).or_default().event(event).map_err(torn)?;
        region(&mut regions, event).map_err(torn)?;
    }
    let open = vcpus.values().find_map(|vcpu| vcpu.open);
    open.map_or(Ok(()), |line| Err(ReplayError::Torn { line, what: "the batch begun here is never issued".into() }))
}

/// Follows how deep tasks are in regions. One that began before the trace can only be the first that a task leaves, and
/// none is open in user mode.
fn region(depths: &mut HashMap<TaskKey, u32>, event: &Event) -> Result<(), String> {
    let task = TaskKey::of(event);
    match event.kind {
        EventKind::RegionEnter => *depths.entry(task).or_default() += 1,
        EventKind::RegionLeave => {
            let Some(depth) = depths.get_mut(&task) else {
                depths.insert(task, 0);
                return Ok(());
            };
            let left = depth.checked_sub(1);
            *depth = left.ok_or_else(|| format!("{task} leaves a region that it was not seen to enter"))?;
        }
        EventKind::SyscallEnter { .. } | EventKind::SyscallExit { .. } | EventKind::PageFault { user: true, .. }
            if *depths.entry(task).or_default() > 0 =>
        {
            return Err(format!("{task} is in user mode, and was not seen to leave its region"));
        }
        _ => {}
    }
    Ok(())
}

/// Compares the L1 entries `asked` for, a plain count over the events, with those among the requests made of them.
///
/// # Errors
/// [`ReplayError::Unaccounted`] where they are not the same number.
pub(crate) fn accounts_for(asked: u64, requests: &[Request]) -> Result<(), ReplayError> {
    let operations = requests.iter().flat_map(|request| match &request.wish {
        Wish::Work(work) => work.operations.as_slice(),
        _ => &[],
    });
    let l1 = |operation: &&GuestOp| match operation {
        GuestOp::Write(write) | GuestOp::WriteKeepingAd(write) => write.level == hypercall::Level::L1,
        _ => false,
    };
    let found = operations.filter(l1).count() as u64;
    if found == asked { Ok(()) } else { Err(ReplayError::Unaccounted { asked, found }) }
}

/// What is open on one vCPU.
#[derive(Default)]
struct Vcpu {
    /// Line of the batch that is open.
    open: Option<u64>,
    /// Line and size of an entry that was asked for and not queued yet.
    asked: Option<(u64, u32)>,
    /// Entries and bytes of arguments queued since the last flush.
    entries: u32,
    bytes: u32,
    /// Whether that is all there is: true from the first flush on.
    from_start: bool,
    /// Whether sizes are recorded.
    sized: bool,
    /// Line at which a context switch began that has not ended.
    switching: Option<u64>,
    /// Whether a context switch was seen to end.
    switched: bool,
    /// Whether the scheduler is recorded, and has picked a task since the last switch.
    picks: bool,
    picked: bool,
}

impl Vcpu {
    fn event(&mut self, event: &Event) -> Result<(), String> {
        match event.kind {
            EventKind::BatchBegin { .. } => self.begin(event.line),
            EventKind::BatchIssue { .. } => {
                self.open = None;
                self.nothing_asked()
            }
            EventKind::EntryAlloc { bytes } => {
                self.nothing_asked()?;
                self.asked = Some((event.line, bytes));
                self.sized = true;
                Ok(())
            }
            EventKind::Entry { .. } => {
                self.queue();
                Ok(())
            }
            EventKind::Extend { bytes, result, .. } => {
                self.nothing_asked()?;
                let bytes = if result == ExtendResult::Ok { bytes } else { 0 };
                self.bytes = self.bytes.saturating_add(bytes);
                Ok(())
            }
            EventKind::Flush { calls, bytes, .. } => self.flush(calls, bytes),
            _ => self.switch(event),
        }
    }

    fn begin(&mut self, line: u64) -> Result<(), String> {
        self.nothing_asked()?;
        match self.open.replace(line) {
            Some(since) => Err(format!("a batch begins inside the one of line {since}")),
            None => Ok(()),
        }
    }

    fn nothing_asked(&mut self) -> Result<(), String> {
        match self.asked.take() {
            Some((since, _)) => Err(format!("the entry asked for at line {since} was never queued")),
            None => Ok(()),
        }
    }

    fn queue(&mut self) {
        self.entries = self.entries.saturating_add(1);
        let bytes = self.asked.take().map_or(0, |(_, bytes)| bytes);
        self.bytes = self.bytes.next_multiple_of(8).saturating_add(bytes);
    }

    /// An entry that was asked for and forces the flush is queued behind it.
    fn flush(&mut self, calls: u32, bytes: u32) -> Result<(), String> {
        let (entries, queued) = (std::mem::take(&mut self.entries), std::mem::take(&mut self.bytes));
        let exact = std::mem::replace(&mut self.from_start, true);
        let wrong = |flushed: u32, seen: u32| flushed < seen || exact && flushed != seen;
        if wrong(calls, entries) {
            Err(format!("a flush takes {calls} entries, {entries} were queued"))
        } else if self.sized && wrong(bytes, queued) {
            Err(format!("a flush takes {bytes} bytes of arguments, {queued} were queued"))
        } else {
            Ok(())
        }
    }

    fn switch(&mut self, event: &Event) -> Result<(), String> {
        match event.kind {
            EventKind::SchedSwitch { .. } => {
                (self.picks, self.picked) = (true, true);
            }
            EventKind::SwitchOut => {
                if let Some(since) = self.switching.replace(event.line) {
                    return Err(format!("a context switch begins inside the one of line {since}"));
                }
            }
            EventKind::SwitchIn => return self.switch_in(),
            _ => {}
        }
        Ok(())
    }

    /// The first switch may have begun before the trace.
    fn switch_in(&mut self) -> Result<(), String> {
        let begun = self.switching.take().is_some();
        let picked = std::mem::take(&mut self.picked);
        if !begun && std::mem::replace(&mut self.switched, true) {
            return Err("a context switch ends that was not seen to begin".into());
        }
        self.switched = true;
        if self.picks && !picked {
            return Err("a context switch ends, and the scheduler was not seen to pick a task".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::extract::requests;
    use crate::replay::testing::{RW, Script};
    use hypercall::abi;
    use mmu_trace::LazyMode;

    const UPDATE: EventKind = EventKind::Entry { op: abi::HYPERCALL_MMU_UPDATE, args: [0; 6] };
    const BEGIN: EventKind = EventKind::BatchBegin { mode: LazyMode::None };
    const ISSUE: EventKind = EventKind::BatchIssue { mode: LazyMode::None };
    const ASK: EventKind = EventKind::EntryAlloc { bytes: 16 };
    const GROW: EventKind = EventKind::Extend { op: abi::HYPERCALL_MMU_UPDATE, bytes: 16, result: ExtendResult::Ok };

    const fn flush(calls: u32, bytes: u32) -> EventKind {
        EventKind::Flush { calls, bytes, callbacks: 0 }
    }

    fn verdict(kinds: &[EventKind]) -> Result<(), String> {
        let mut script = Script::new();
        kinds.iter().for_each(|kind| _ = script.push(kind.clone()));
        add_up(&script.events).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_missing_from_a_batch_is_missed() {
        let first = [BEGIN, ASK, UPDATE, ISSUE, flush(1, 16)];
        let all = [first.as_slice(), &[BEGIN, ASK, UPDATE, GROW, ISSUE, flush(1, 32), BEGIN, ISSUE]].concat();
        assert_eq!(verdict(&all), Ok(()));
        // What is queued in a batch that is not begun is the extraction's to miss.
        for index in 6..10 {
            let rest: Vec<_> = [&all[..index], &all[index + 1..]].concat();
            assert!(verdict(&rest).is_err(), "{:?} is not missed", all[index]);
        }
    }

    #[test]
    fn a_full_buffer_leaves_before_the_entry_that_found_no_room() {
        let all = [flush(0, 0), BEGIN, ASK, UPDATE, ISSUE, BEGIN, ASK, flush(1, 16), UPDATE, ISSUE, flush(1, 16)];
        assert_eq!(verdict(&all), Ok(()));
    }

    #[test]
    fn what_was_queued_before_the_trace_is_not_missed_once() {
        assert_eq!(verdict(&[flush(7, 112), BEGIN, ASK, UPDATE, ISSUE, flush(1, 16)]), Ok(()));
        let error = verdict(&[flush(7, 112), flush(7, 112)]).unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains("a flush takes 7 entries, 0 were queued"), "{error}");
    }

    #[test]
    fn a_batch_that_is_open_at_the_end_is_an_error() {
        let error = verdict(&[BEGIN, ISSUE, BEGIN, ASK, UPDATE]).unwrap_err();
        assert!(error.starts_with("line 3: ") && error.contains("never issued"), "{error}");
    }

    #[test]
    fn what_is_missing_from_a_context_switch_is_missed() {
        let pick = EventKind::SchedSwitch { prev: 7, next: 7, prev_state: mmu_trace::PrevState::Blocked };
        let one = [pick, EventKind::SwitchOut, EventKind::SwitchIn];
        let all = [one.as_slice(), &one, &one].concat();
        assert_eq!(verdict(&all), Ok(()));
        for index in 3..6 {
            let rest: Vec<_> = [&all[..index], &all[index + 1..]].concat();
            assert!(verdict(&rest).is_err(), "{:?} is not missed", all[index]);
        }
        assert_eq!(verdict(&all[2..]), Ok(()), "the first may have begun before the trace");
    }

    #[test]
    fn only_the_first_region_may_have_begun_before_the_trace() {
        let (enter, leave) = (EventKind::RegionEnter, EventKind::RegionLeave);
        assert_eq!(verdict(&[leave.clone(), enter.clone(), enter.clone(), leave.clone(), leave.clone()]), Ok(()));
        let error = verdict(&[enter, leave.clone(), leave]).unwrap_err();
        assert!(error.contains("task 7 leaves a region"), "{error}");
    }

    #[test]
    fn in_user_mode_no_region_is_open() {
        let fault = EventKind::PageFault { address: None, error_code: 6, user: true };
        for event in [fault, EventKind::SyscallEnter { nr: 1 }, EventKind::SyscallExit { nr: 1, ret: 0 }] {
            let error = verdict(&[EventKind::RegionEnter, event.clone()]).unwrap_err();
            assert!(error.starts_with("line 2: task 7 is in user mode"), "{error}");
            assert!(verdict(&[event, EventKind::RegionLeave]).is_err(), "this one began after the trace did");
        }
        let in_kernel = EventKind::PageFault { address: None, error_code: 0, user: false };
        assert_eq!(verdict(&[EventKind::RegionEnter, in_kernel, EventKind::RegionLeave]), Ok(()));
    }

    #[test]
    fn a_write_that_became_no_request_is_unaccounted() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).enter().queued_pte(5, 2, 9, RW).leave();
        let requests = requests(&script.events).unwrap();
        assert!(accounts_for(2, &requests).is_ok());
        let error = accounts_for(3, &requests).unwrap_err().to_string();
        assert!(error.contains("3 L1 writes") && error.contains("2 "), "{error}");
    }
}
