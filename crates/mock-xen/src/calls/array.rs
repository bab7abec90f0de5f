//! What `mmu_update` and `mmuext_op` have in common: an array, a done count, continuations.
//!
//! Operations are fetched and applied one by one up to the first refusal; none is rolled back. A
//! pass ends early where an event is pending between two operations, where an operation is
//! interrupted, and behind one that leaves an old table: the call returns to its first instruction
//! with arguments that say what is left, which the guest finds in its registers afterwards. The
//! next pass begins by putting the old table away. An old table that is left behind the last
//! operation takes one more pass, which carries the answer in its fourth argument. A guest can also
//! set the continuation bit itself, to the same effect.

use hypercall::{Errno, Operation};

use super::owner::NotStarted;
use super::{Args, Caller, Step};
use crate::MockXen;
use crate::domain::FrameOwner;
use crate::memory::ArgumentSource;
use crate::planted::Fault;
use crate::schedule::PreemptPoint;
use crate::validate::{Applied, Stop};

/// Set in the count of a continued call (`MMU_UPDATE_PREEMPTED`).
const CONTINUED: u32 = 1 << 31;

/// One of the two calls.
pub(super) trait ArrayCall {
    /// An operation as fetched.
    type Item;
    /// Bytes per operation.
    const SIZE: u64;

    /// Looks up the domain an array is about.
    fn owner(xen: &MockXen, word: u32) -> Result<FrameOwner, NotStarted>;

    /// Reads the operation at `address`; `None` where it cannot be read.
    fn fetch<S: ArgumentSource>(xen: &MockXen, source: &S, address: u64) -> Option<Self::Item>;

    /// The operation as the witness is told it; `None` for one that has no name.
    fn operation(item: &Self::Item, owner: u32) -> Option<Operation>;

    /// Applies the operation.
    fn apply(xen: &MockXen, caller: &mut Caller<'_>, item: &Self::Item, owner: FrameOwner) -> Applied;
}

/// One pass over an array.
struct Pass {
    array: u64,
    count: u32,
    owner: u32,
}

/// How a pass ended: operations done, and why no more were.
#[derive(Debug)]
struct Ended {
    done: u32,
    result: Result<(), Stop>,
    /// Whether an entry of an upper table has changed.
    upper: bool,
}

/// Runs one pass of an array call.
pub(super) fn run<C: ArrayCall, S: ArgumentSource>(
    xen: &MockXen,
    caller: &mut Caller<'_>,
    args: Args,
    source: &mut S,
) -> Step {
    let [array, count, done_at, owner, last] = args;
    let (count, owner) = (count as u32, owner as u32);
    if xen.machine.put_old_table(caller.running).is_err() {
        return Step::Again([array, count.into(), done_at, owner.into(), last]);
    }
    if array == 0 && count == CONTINUED {
        return Step::Return(if xen.planted(Fault::ContinuationAnswerLost) { 0 } else { i64::from(owner as i32) });
    }
    let continued = count & CONTINUED != 0 && done_at != 0 && !xen.planted(Fault::DoneForgotten);
    let before = if continued { source.read_done(done_at).unwrap_or(0) } else { 0 };
    let pass = Pass { array, count: count & !CONTINUED, owner };
    let started = if source.may_start_at(array) || xen.planted(Fault::ArrayStartUnchecked) {
        C::owner(xen, owner)
    } else {
        Err(NotStarted { errno: Errno::FAULT, writes_done: false })
    };
    let (ended, writes_done) = match started {
        Ok(frames) => (pass.operations::<C, S>(xen, caller, frames, source), true),
        Err(NotStarted { errno, writes_done }) => {
            pass.tell_rest::<C, S>(xen, caller, source, 0);
            (Ended { done: 0, result: Err(errno.into()), upper: false }, writes_done)
        }
    };
    if ended.upper {
        xen.machine.tlbs.flush_everywhere();
    }
    if writes_done && done_at != 0 {
        let refused = xen.planted(Fault::DoneCountsRefused) && matches!(ended.result, Err(Stop::Refused(_)));
        let done = before.wrapping_add(ended.done).wrapping_add(refused.into());
        let _unwritable_is_ignored = source.write_done(done_at, done);
    }
    match ended.result {
        Err(Stop::Preempted) => {
            let mark = if xen.planted(Fault::ContinuationUnmarked) { 0 } else { CONTINUED };
            let left = (pass.count - ended.done) | mark;
            Step::Again([pass.address::<C>(ended.done), left.into(), done_at, owner.into(), last])
        }
        Ok(()) => close(caller, Step::Return(0), last),
        Err(Stop::Refused(errno)) => close(caller, errno.into(), last),
    }
}

/// Ends the call with its answer, in one more pass if a table is left to be put away.
fn close(caller: &Caller<'_>, answer: Step, last: u64) -> Step {
    match answer {
        Step::Return(value) if caller.running.old_table.is_some() => {
            Step::Again([0, CONTINUED.into(), 0, u64::from(value as u32), last])
        }
        answer => answer,
    }
}

impl Pass {
    /// Operations in order, up to the end, the first refused or the first after which the pass ends.
    fn operations<C: ArrayCall, S: ArgumentSource>(
        &self,
        xen: &MockXen,
        caller: &mut Caller<'_>,
        frames: FrameOwner,
        source: &S,
    ) -> Ended {
        let mut upper = false;
        for done in 0..self.count {
            let result = match self.one::<C, S>(xen, caller, frames, source, done) {
                Applied { result: Ok(()), upper: changed, .. } => {
                    upper |= changed;
                    continue;
                }
                Applied { result, .. } => result,
            };
            if let Err(Stop::Refused(_)) = result {
                self.tell_rest::<C, S>(xen, caller, source, done + 1);
            }
            return Ended { done, result, upper };
        }
        Ended { done: self.count, result: Ok(()), upper }
    }

    /// One operation, if the pass does not end before it.
    fn one<C: ArrayCall, S: ArgumentSource>(
        &self,
        xen: &MockXen,
        caller: &mut Caller<'_>,
        frames: FrameOwner,
        source: &S,
        index: u32,
    ) -> Applied {
        if caller.running.old_table.is_some() || index > 0 && preempted_between(xen, caller) {
            return Err(Stop::Preempted).into();
        }
        xen.moment();
        let Some(item) = self.fetch::<C, S>(xen, source, index) else { return Err(Errno::FAULT).into() };
        let applied = C::apply(xen, caller, &item, frames);
        match applied.result {
            Ok(()) => xen.tell(caller.vcpu, || C::operation(&item, self.owner), Some(Ok(()))),
            Err(Stop::Refused(errno)) => xen.tell(caller.vcpu, || C::operation(&item, self.owner), Some(Err(errno))),
            Err(Stop::Preempted) => {}
        }
        applied
    }

    /// The address of operation `index`.
    const fn address<C: ArrayCall>(&self, index: u32) -> u64 {
        self.array.wrapping_add(index as u64 * C::SIZE)
    }

    fn fetch<C: ArrayCall, S: ArgumentSource>(&self, xen: &MockXen, source: &S, index: u32) -> Option<C::Item> {
        C::fetch(xen, source, self.address::<C>(index))
    }

    /// Tells the witness the operations `from..` that Xen never looks at.
    fn tell_rest<C: ArrayCall, S: ArgumentSource>(&self, xen: &MockXen, caller: &Caller<'_>, source: &S, from: u32) {
        if !xen.has_witness() {
            return;
        }
        for index in from..self.count {
            let Some(item) = self.fetch::<C, S>(xen, source, index) else { break };
            xen.tell(caller.vcpu, || C::operation(&item, self.owner), None);
        }
    }
}

fn preempted_between(xen: &MockXen, caller: &mut Caller<'_>) -> bool {
    caller.running.preempted(PreemptPoint::Operation) && !xen.planted(Fault::ArrayNotPreempted)
}
