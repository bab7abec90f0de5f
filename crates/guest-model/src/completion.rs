//! Completion callbacks: what a kernel unlocks when an operation has been handed over.
//!
//! The library calls a plain function with a number, so what it has called is kept beside the thread that
//! plays the guest until the next step, which tells the referee before anything else happens. The number
//! is the place of the referee's own in [`Machine::callbacks`](crate::machine::Machine).

use std::cell::RefCell;

use mock_xen::referee::Rule;
use pv_mmu::{Callback, Status};

use crate::{cpu::Cpu, design::Design, found::Found};

/// Locks that a walk may hold at most: one for each callback a vCPU has room for, and one it is about to ask with.
const MOST_HELD: usize = 17;

thread_local! {
    static RUN: RefCell<Vec<(usize, Status)>> = const { RefCell::new(Vec::new()) };
}

/// The callback of this number.
pub(crate) const fn callback(number: usize) -> Callback {
    Callback::new(run, number)
}

fn run(number: usize, status: Status) {
    RUN.with_borrow_mut(|run| run.push((number, status)));
}

/// Forgets what has run: nobody is there any more to be told.
pub(crate) fn forget() {
    RUN.with_borrow_mut(Vec::clear);
}

impl<D: Design> Cpu<'_, D> {
    /// Tells the referee which callbacks have run, and gives their locks back.
    pub(crate) fn tell_callbacks(&self) {
        if self.machine.draining.get() {
            return forget();
        }
        let known = self.machine.callbacks.borrow().len();
        // One may run before the call that registered it has returned: it is told then.
        let (told, early): (Vec<_>, Vec<_>) = RUN.take().into_iter().partition(|(number, _)| *number < known);
        RUN.set(early);
        for (number, status) in told {
            let status = match status {
                Status::Applied => Some(Ok(())),
                Status::Refused(errno) => Some(Err(errno)),
                Status::NotAttempted => None,
            };
            if let Some(id) = self.machine.callbacks.borrow().get(number) {
                self.machine.referee.callback_ran(*id, status);
            }
            self.machine.held.set(self.machine.held.get().saturating_sub(1));
        }
    }

    /// One more lock is held until a callback gives it back.
    pub(crate) fn hold(&self) {
        self.machine.held.set(self.machine.held.get() + 1);
        if self.machine.held.get() > MOST_HELD {
            self.machine.note(Found::Assertion {
                rule: Rule::R15,
                what: "more locks are held than there is room for callbacks",
            });
        }
    }
}
