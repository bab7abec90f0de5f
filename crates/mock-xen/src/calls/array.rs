//! What `mmu_update` and `mmuext_op` have in common: an array, a done count, continuations.
//!
//! Operations are fetched and applied one by one up to the first refusal; none is rolled back. An
//! operation that leaves an old table makes Xen put that away in one more pass: the call returns to
//! its first instruction with arguments that say what is left, which the guest finds in its
//! registers afterwards. A guest can also set the continuation bit itself, to the same effect.

use hypercall::{Errno, Operation, VcpuId};

use super::owner::NotStarted;
use super::{Args, Step};
use crate::MockXen;
use crate::frames::FrameOwner;
use crate::memory::ArgumentSource;
use crate::validate::Applied;

/// Set in the count of a continued call (`MMU_UPDATE_PREEMPTED`).
const CONTINUED: u32 = 1 << 31;

/// One of the two calls.
pub(super) trait ArrayCall {
    /// An operation as fetched.
    type Item;
    /// Bytes per operation.
    const SIZE: u64;

    /// Looks up the domain an array is about.
    fn owner(word: u32) -> Result<FrameOwner, NotStarted>;

    /// Reads the operation at `address`; `None` where it cannot be read.
    fn fetch<S: ArgumentSource>(xen: &MockXen, source: &S, address: u64) -> Option<Self::Item>;

    /// The operation as the witness is told it; `None` for one that has no name.
    fn operation(item: &Self::Item, owner: u32) -> Option<Operation>;

    /// Applies the operation.
    fn apply(xen: &MockXen, vcpu: VcpuId, item: &Self::Item, owner: FrameOwner) -> Applied;
}

/// One pass over an array.
struct Pass {
    array: u64,
    count: u32,
    owner: u32,
}

/// How a pass ended: operations done, the answer, and whether an old table is left.
struct Ended {
    done: u32,
    applied: Applied,
}

/// Runs one pass of an array call.
pub(super) fn run<C: ArrayCall, S: ArgumentSource>(xen: &MockXen, vcpu: VcpuId, args: Args, source: &mut S) -> Step {
    let [array, count, done_at, owner, last] = args;
    let (count, owner) = (count as u32, owner as u32);
    if array == 0 && count == CONTINUED {
        return Step::Return(i64::from(owner as i32));
    }
    let before = if count & CONTINUED != 0 && done_at != 0 { source.read_done(done_at).unwrap_or(0) } else { 0 };
    let pass = Pass { array, count: count & !CONTINUED, owner };
    let started = if source.may_start_at(array) {
        C::owner(owner)
    } else {
        Err(NotStarted { errno: Errno::FAULT, writes_done: false })
    };
    let (Ended { done, applied }, writes_done) = match started {
        Ok(frames) => (pass.operations::<C, S>(xen, vcpu, frames, source), true),
        Err(NotStarted { errno, writes_done }) => {
            pass.tell_rest::<C, S>(xen, vcpu, source, 0);
            (Ended { done: 0, applied: Err(errno).into() }, writes_done)
        }
    };
    if writes_done && done_at != 0 {
        let _unwritable_is_ignored = source.write_done(done_at, before.wrapping_add(done));
    }
    let value = applied.result.map_or_else(Errno::as_return, |()| 0);
    if !applied.old_table {
        Step::Return(value)
    } else if applied.result.is_ok() && done < pass.count {
        let left = u64::from((pass.count - done) | CONTINUED);
        Step::Again([array.wrapping_add(u64::from(done) * C::SIZE), left, done_at, owner.into(), last])
    } else {
        Step::Again([0, CONTINUED.into(), 0, u64::from(value as u32), last])
    }
}

impl Pass {
    /// Operations in order, up to the end, the first refused or the first that leaves an old table.
    fn operations<C: ArrayCall, S: ArgumentSource>(
        &self,
        xen: &MockXen,
        vcpu: VcpuId,
        frames: FrameOwner,
        source: &S,
    ) -> Ended {
        for done in 0..self.count {
            let Some(item) = self.fetch::<C, S>(xen, source, done) else {
                return Ended { done, applied: Err(Errno::FAULT).into() };
            };
            let applied = C::apply(xen, vcpu, &item, frames);
            xen.tell(vcpu, || C::operation(&item, self.owner), Some(applied.result));
            if applied.result.is_err() {
                self.tell_rest::<C, S>(xen, vcpu, source, done + 1);
                return Ended { done, applied };
            }
            if applied.old_table {
                return Ended { done: done + 1, applied };
            }
        }
        Ended { done: self.count, applied: Ok(()).into() }
    }

    fn fetch<C: ArrayCall, S: ArgumentSource>(&self, xen: &MockXen, source: &S, index: u32) -> Option<C::Item> {
        C::fetch(xen, source, self.array.wrapping_add(u64::from(index) * C::SIZE))
    }

    /// Tells the witness the operations `from..` that Xen never looks at.
    fn tell_rest<C: ArrayCall, S: ArgumentSource>(&self, xen: &MockXen, vcpu: VcpuId, source: &S, from: u32) {
        if !xen.has_witness() {
            return;
        }
        for index in from..self.count {
            let Some(item) = self.fetch::<C, S>(xen, source, index) else { break };
            xen.tell(vcpu, || C::operation(&item, self.owner), None);
        }
    }
}
