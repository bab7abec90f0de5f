//! `multicall`: calls in guest memory, run in order, each with its own answer.
//!
//! Only an entry's result is written back. An entry whose call is continued is written back whole,
//! with the arguments of what is left and the hypercall's number as its interim result, and the
//! multicall itself is continued at that entry, which the guest finds in its registers and in its
//! entries afterwards. So is one that an event interrupts between two entries, or an entry after
//! which Xen wants to schedule.

use hypercall::{Errno, RawCall};

use super::{Args, Caller, Step};
use crate::MockXen;
use crate::memory::ArgumentSource;
use crate::planted::Fault;
use crate::schedule::PreemptPoint;

/// Bytes per entry.
const SIZE: u64 = 64;
/// Where an entry's result lies.
const RESULT: u64 = 8;

/// What the list does after an entry.
enum Next {
    /// Goes on.
    Entry,
    /// Is entered again at the same one.
    Same,
    /// Ends with an answer.
    Ends(i64),
}

impl MockXen {
    /// Runs one pass of a multicall over the `count` entries at `list`, of which only the low 32
    /// bits count. A refused call does not stop the others.
    ///
    /// `-EINVAL` inside a multicall; `-EFAULT` where an entry cannot be read or its result not
    /// stored, with what was done before, that entry's call included, done.
    pub(super) fn multicall<S: ArgumentSource>(&self, caller: &mut Caller<'_>, args: Args, source: &mut S) -> Step {
        let [list, count, rest @ ..] = args;
        if caller.in_multicall {
            return self.refusal(Fault::NestedMulticallUnknown, Errno::NOSYS, Errno::INVAL).into();
        }
        if !source.may_start_at(list) {
            return Errno::FAULT.into();
        }
        let count = if self.planted(Fault::CountNotCut) { count } else { u64::from(count as u32) };
        let [a, b, c] = rest;
        for index in 0..count {
            let entry = list.wrapping_add(SIZE * index);
            let again = Step::Again([entry, u64::from((count - index) as u32), a, b, c]);
            if index > 0 && caller.running.preempted(PreemptPoint::Call) {
                return again;
            }
            match self.entry(caller, entry, source) {
                Some(Next::Entry) => {}
                Some(Next::Same) => return again,
                Some(Next::Ends(value)) => return Step::Return(value),
                None => return Errno::FAULT.into(),
            }
        }
        Step::Return(0)
    }

    /// Runs the entry at `entry`; `None` where it cannot be read or written.
    fn entry<S: ArgumentSource>(&self, caller: &mut Caller<'_>, entry: u64, source: &mut S) -> Option<Next> {
        let [number, _, a, b, c, d, e, unused] = source.read(entry)?;
        let call = RawCall { number: number.try_into().unwrap_or(u32::MAX), args: [a, b, c, d, e] };
        let mut inside = Caller { in_multicall: true, vcpu: caller.vcpu, running: &mut *caller.running };
        match self.dispatch(&mut inside, call, source) {
            Step::Return(value) => {
                source.write(entry.wrapping_add(RESULT), &[value as u64])?;
                if self.planted(Fault::EntryWrittenBack) {
                    source.write(entry, &[number, value as u64, a, b, c, d, e, 0])?;
                }
                let ends = value < 0 && self.planted(Fault::ErrorStopsList);
                Some(if ends { Next::Ends(value) } else { Next::Entry })
            }
            Step::Again([a, b, c, d, e]) => {
                let interim = if self.planted(Fault::InterimResultZero) { 0 } else { number };
                source.write(entry, &[number, interim, a, b, c, d, e, unused])?;
                Some(Next::Same)
            }
        }
    }
}
