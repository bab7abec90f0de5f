//! The queue of one vCPU, and the switch it may be in.

use super::report::{Breach, Why};
use crate::event::{Event, EventKind, FlushCause, LazyMode};

/// What is known about one vCPU.
#[derive(Default)]
pub(super) struct Vcpu {
    /// Entries, callbacks and operations seen to be queued since the last flush.
    entries: u32,
    callbacks: u32,
    operations: u32,
    /// True from the first flush on: before it more may be queued than was seen.
    from_start: bool,
    mode: Option<LazyMode>,
    /// A flush must come before the vCPU's next event (but for those of an interrupt that comes between).
    owed: Option<Owed>,
    forced: Option<(FlushCause, u64)>,
    switch: Option<Switch>,
}

struct Owed {
    breach: Breach,
    in_interrupt: bool,
}

struct Switch {
    prev: u32,
    next: Option<u32>,
    ending: bool,
}

/// What a flush turned out to be.
pub(super) struct Flushed {
    pub(super) breach: Option<Breach>,
    pub(super) why: Why,
    /// Operations in it, if `counted`.
    pub(super) operations: u32,
    /// True if all of them were seen to be queued.
    pub(super) counted: bool,
}

impl Vcpu {
    /// The first event of another task ends a switch: nothing may be queued any more.
    pub(super) fn switch_over(&mut self, event: &Event) -> Option<Breach> {
        if let EventKind::SwitchIn = event.kind
            && let Some(switch) = &mut self.switch
        {
            switch.ending = true;
        }
        let Switch { prev, .. } = self.switch.take_if(|switch| switch.prev != event.task)?;
        let queued = std::mem::take(&mut self.entries);
        self.from_start &= queued == 0;
        (queued > 0).then_some(Breach::QueuedAcrossSwitch { prev, queued })
    }

    /// What had to be flushed before this event was, or is reported.
    pub(super) fn settle(&mut self, event: &Event) -> Option<Breach> {
        let reason = self.forced.take_if(|_| !matches!(event.kind, EventKind::Flush { .. }));
        if let Some((_, since)) = reason {
            return Some(Breach::ReasonWithoutFlush { since });
        }
        let on_its_way =
            matches!(event.kind, EventKind::Flush { .. } | EventKind::FlushReason { .. } | EventKind::RegionLeave);
        let between = event.flags.in_interrupt() && !self.owed.as_ref()?.in_interrupt;
        if on_its_way || between {
            return None;
        }
        let owed = self.owed.take()?;
        (self.entries > 0).then_some(owed.breach)
    }

    /// A flush must follow this event.
    pub(super) fn owe(&mut self, event: &Event, breach: Breach) {
        self.owed = Some(Owed { breach, in_interrupt: event.flags.in_interrupt() });
    }

    /// The scheduler's word, then the hook's; either may be missing.
    pub(super) fn begin_switch(&mut self, prev: u32, next: Option<u32>) {
        let next = next.or_else(|| self.switch.as_ref()?.next);
        self.switch = Some(Switch { prev, next, ending: false });
    }

    /// Who enters a region: while a switch ends it is the incoming task, under the outgoing one's number.
    pub(super) fn entering_task(&self, event: &Event) -> u32 {
        let switch = self.switch.as_ref().filter(|switch| switch.ending);
        switch.and_then(|switch| switch.next).unwrap_or(event.task)
    }

    pub(super) fn begin_batch(&mut self, mode: LazyMode) {
        self.mode = Some(mode);
    }

    /// Unless the kernel began the batch in the mode it may wait in, a flush must follow.
    pub(super) fn issue(&mut self, event: &Event, may_wait: LazyMode) {
        if may_wait != LazyMode::None && self.mode == Some(may_wait) {
            return;
        }
        let since = event.line;
        let late = if event.flags.in_interrupt() {
            Breach::QueuedAfterInterrupt { since }
        } else {
            Breach::QueuedAfterIssue { since }
        };
        self.owe(event, late);
    }

    pub(super) fn queue_entry(&mut self) {
        self.entries = self.entries.saturating_add(1);
        self.extend_entry();
    }

    pub(super) fn extend_entry(&mut self) {
        self.operations = self.operations.saturating_add(1);
    }

    pub(super) fn queue_callback(&mut self) {
        self.callbacks = self.callbacks.saturating_add(1);
    }

    pub(super) fn force(&mut self, event: &Event, cause: FlushCause) {
        self.forced = Some((cause, event.line));
    }

    pub(super) fn flush(&mut self, calls: u32, callbacks: u32) -> Flushed {
        let flushed = Flushed {
            breach: self.miscount(calls, callbacks),
            why: self.why(),
            operations: self.operations,
            counted: self.from_start,
        };
        (self.entries, self.callbacks, self.operations) = (0, 0, 0);
        self.from_start = true;
        self.forced = None;
        flushed
    }

    fn miscount(&self, calls: u32, callbacks: u32) -> Option<Breach> {
        let wrong = |flushed: u32, queued: u32| flushed < queued || self.from_start && flushed != queued;
        if wrong(calls, self.entries) {
            Some(Breach::FlushCount { flushed: calls, queued: self.entries })
        } else if wrong(callbacks, self.callbacks) {
            Some(Breach::CallbackCount { flushed: callbacks, queued: self.callbacks })
        } else {
            None
        }
    }

    fn why(&self) -> Why {
        match (&self.forced, &self.owed, &self.switch) {
            (Some((cause, _)), ..) => Why::Full(*cause),
            (_, Some(Owed { breach: Breach::QueuedAfterLeave { .. }, .. }), _) => Why::Leave,
            (_, Some(Owed { breach: Breach::QueuedAfterFlush { .. }, .. }), _) => Why::Request,
            (_, None, Some(Switch { ending: true, .. })) => Why::Switch,
            _ => Why::Operation,
        }
    }
}
