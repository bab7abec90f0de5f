//! Judges the recorded behaviour itself: did the kernel that was recorded keep the contract of a lazy MMU region?
//!
//! The judge sees only what a trace shows, knows no batcher, and takes nothing for granted: what a trace has no events
//! for is reported as not judged. Streaming, with state per vCPU and per living task, both bounded.
//!
//! What is judged, by the contract's rule:
//! - **R1** an operation that may not wait is out at the next event of its vCPU, and so is a region's flush;
//! - **R2** nothing is queued any more once a leave is over; no region is open at a return to user mode or at task exit;
//! - **R4** regions neither nest nor are left without having been entered;
//! - **R6** no region is entered or left in interrupt context, no operation made lazy there, none left queued;
//! - **R7** nothing is queued when the incoming task of a switch runs; no task is lazy that is in no region;
//! - **R17** a flush takes exactly the entries and callbacks queued since the last one, and only a flush follows its reason.
//!
//! Between the two hooks of a context switch the processor's operations may be queued: the outgoing task's number is on
//! all events up to the end of the switch, so the first event of another task marks the moment for R7.
//!
//! A trace starts and may stop anywhere: a region whose enter came before the first event, one still open at the last,
//! and a queue that was not empty at the start are counted, not judged. The same holds after lost events.

mod report;
mod tasks;
mod vcpu;

pub use report::{Breach, CheckReport, Evidence, FlushCounts, Histogram, MAX_VIOLATIONS, Rule, Violation};

use crate::event::{Event, EventKind, ExtendResult, FlushCause, LazyMode, MAX_VCPUS, PrevState};
use tasks::{Entered, Left, Tasks};
use vcpu::Vcpu;

/// Judges events as they come.
#[derive(Default)]
pub struct Checker {
    vcpus: Vec<Vcpu>,
    tasks: Tasks,
    report: CheckReport,
}

/// Judges all `events`.
///
/// # Errors
/// The first error among them; what was found before it is lost.
pub fn check<E>(events: impl IntoIterator<Item = Result<Event, E>>) -> Result<CheckReport, E> {
    let mut checker = Checker::default();
    for event in events {
        checker.event(&event?);
    }
    Ok(checker.finish())
}

impl Checker {
    /// Takes the next event of the trace.
    ///
    /// # Panics
    /// If the event's vCPU is [`MAX_VCPUS`] or beyond, which no reader yields.
    pub fn event(&mut self, event: &Event) {
        assert!(event.vcpu < MAX_VCPUS, "vcpu {} is beyond what a reader may yield", event.vcpu);
        let index = event.vcpu as usize;
        if self.vcpus.len() <= index {
            self.vcpus.resize_with(index + 1, Vcpu::default);
        }
        self.report.events += 1;
        self.report.evidence.note(event);
        let mut vcpu = std::mem::take(&mut self.vcpus[index]);
        self.judge(&mut vcpu, event);
        self.vcpus[index] = vcpu;
    }

    /// Ends the judgement.
    #[must_use]
    pub fn finish(self) -> CheckReport {
        let mut report = self.report;
        report.regions_open_at_end = self.tasks.open();
        report.untracked_tasks = self.tasks.untracked();
        report
    }

    fn judge(&mut self, vcpu: &mut Vcpu, event: &Event) {
        if let Some(breach) = vcpu.switch_over(event) {
            self.report.breach(event, breach);
        }
        if let Some(breach) = vcpu.settle(event) {
            self.report.breach(event, breach);
        }
        match event.kind {
            EventKind::RegionEnter => self.enter(vcpu, event),
            EventKind::RegionLeave => self.leave(vcpu, event),
            EventKind::RegionFlush => vcpu.owe(event, Breach::QueuedAfterFlush { since: event.line }),
            EventKind::SchedSwitch { prev, next, prev_state } => {
                self.report.switches += 1;
                vcpu.begin_switch(prev, Some(next));
                self.exit_if_dead(event, prev, prev_state);
            }
            EventKind::SwitchOut => vcpu.begin_switch(event.task, None),
            EventKind::SyscallEnter { .. }
            | EventKind::SyscallExit { .. }
            | EventKind::PageFault { user: true, .. } => self.user_mode(event),
            EventKind::EventsLost { .. } => {
                *vcpu = Vcpu::default();
                self.tasks.forget();
            }
            _ => self.batch(vcpu, event),
        }
    }

    fn enter(&mut self, vcpu: &mut Vcpu, event: &Event) {
        if event.flags.in_interrupt() {
            return self.report.breach(event, Breach::EnterInInterrupt);
        }
        self.report.regions += 1;
        let task = vcpu.entering_task(event);
        if let Entered::Nested { since } = self.tasks.enter(task, event.vcpu, event.line) {
            self.report.breach(event, Breach::Nested { since });
        }
    }

    fn leave(&mut self, vcpu: &mut Vcpu, event: &Event) {
        if event.flags.in_interrupt() {
            return self.report.breach(event, Breach::LeaveInInterrupt);
        }
        match self.tasks.leave(event.task, event.vcpu) {
            Left::Region { empty } => self.report.empty_regions += u64::from(empty),
            Left::Unseen => self.report.regions_open_at_start += 1,
            Left::Nothing => self.report.breach(event, Breach::LeaveWithoutEnter),
        }
        vcpu.owe(event, Breach::QueuedAfterLeave { since: event.line });
    }

    fn exit_if_dead(&mut self, event: &Event, task: u32, state: PrevState) {
        if state == PrevState::Dead
            && let Some(since) = self.tasks.exit(task, event.vcpu)
        {
            self.report.breach(event, Breach::OpenAtExit { since });
        }
    }

    fn user_mode(&mut self, event: &Event) {
        if let Some(since) = self.tasks.abandon(event.task, event.vcpu) {
            self.report.breach(event, Breach::OpenInUserMode { since });
        }
    }

    /// What the recorded kernel's own batcher did.
    fn batch(&mut self, vcpu: &mut Vcpu, event: &Event) {
        match event.kind {
            EventKind::BatchBegin { mode } => {
                vcpu.begin_batch(mode);
                self.laziness(event, mode);
            }
            EventKind::BatchIssue { mode } => vcpu.issue(event, mode),
            EventKind::Entry { .. } => {
                self.report.entries += 1;
                vcpu.queue_entry();
                self.tasks.note_operation(event.task, event.vcpu);
            }
            EventKind::Extend { result: ExtendResult::Ok, .. } => {
                self.report.extends += 1;
                vcpu.extend_entry();
                self.tasks.note_operation(event.task, event.vcpu);
            }
            EventKind::Callback { .. } => vcpu.queue_callback(),
            EventKind::FlushReason { cause } if cause != FlushCause::None => vcpu.force(event, cause),
            EventKind::Flush { calls, callbacks, .. } => self.flush(vcpu, event, calls, callbacks),
            _ => {}
        }
    }

    /// The kernel says it is lazy: the task must be in a region, if its regions are known.
    fn laziness(&mut self, event: &Event, mode: LazyMode) {
        if mode != LazyMode::Mmu {
            return;
        }
        if event.flags.in_interrupt() {
            self.report.breach(event, Breach::LazyInInterrupt);
        } else if self.tasks.outside(event.task, event.vcpu) {
            self.report.breach(event, Breach::LazyOutside);
        }
    }

    fn flush(&mut self, vcpu: &mut Vcpu, event: &Event, calls: u32, callbacks: u32) {
        let flushed = vcpu.flush(calls, callbacks);
        if let Some(breach) = flushed.breach {
            self.report.breach(event, breach);
        }
        if calls == 0 {
            self.report.empty_flushes += 1;
            return;
        }
        self.report.flushes.count(flushed.why);
        self.report.entries_per_flush.count(calls);
        if flushed.counted {
            self.report.operations_per_flush.count(flushed.operations);
        }
    }
}
