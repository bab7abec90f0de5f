//! `multicall`: calls in guest memory, run in order, each with its own answer.
//!
//! Only an entry's result is written back. An entry whose call is continued is written back whole,
//! with the arguments of what is left, and the multicall itself is continued at that entry, which
//! the guest finds in its registers and in its entries afterwards.

use hypercall::{Errno, RawCall};

use super::{Args, Caller, Step};
use crate::MockXen;
use crate::memory::ArgumentSource;

/// Bytes per entry.
const SIZE: u64 = 64;
/// Where an entry's result lies.
const RESULT: u64 = 8;

impl MockXen {
    /// Runs one pass of a multicall over the `count` entries at `list`, of which only the low 32
    /// bits count. A refused call does not stop the others.
    ///
    /// `-EINVAL` inside a multicall; `-EFAULT` where an entry cannot be read or its result not
    /// stored, with what was done before, that entry's call included, done.
    pub(super) fn multicall<S: ArgumentSource>(&self, caller: Caller, args: Args, source: &mut S) -> Step {
        let [list, count, rest @ ..] = args;
        let fault = Step::Return(Errno::FAULT.as_return());
        if caller.in_multicall {
            return Step::Return(Errno::INVAL.as_return());
        }
        if !source.may_start_at(list) {
            return fault;
        }
        let inside = Caller { in_multicall: true, ..caller };
        let count = count as u32;
        for index in 0..count {
            let entry = list.wrapping_add(SIZE * u64::from(index));
            let Some([number, _, a, b, c, d, e, unused]) = source.read(entry) else { return fault };
            let call = RawCall { number: number.try_into().unwrap_or(u32::MAX), args: [a, b, c, d, e] };
            match self.dispatch(inside, call, source) {
                Step::Return(value) => {
                    if source.write(entry.wrapping_add(RESULT), &[value as u64]).is_none() {
                        return fault;
                    }
                }
                Step::Again([a, b, c, d, e]) => {
                    if source.write(entry, &[number, number, a, b, c, d, e, unused]).is_none() {
                        return fault;
                    }
                    let [a, b, c] = rest;
                    return Step::Again([entry, u64::from(count - index), a, b, c]);
                }
            }
        }
        Step::Return(0)
    }
}
