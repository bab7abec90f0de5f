//! Who runs where: whether the recording clock orders vCPUs at all.
//!
//! A task is on one vCPU at a time. If it shows on a second one while the first still has it, that alone may be a
//! scheduler event that was not recorded; if then the first one goes on with it as if nothing had been, the lines of the
//! two are not in the order in which they happened. Nothing can be known before the scheduler shows itself.

use crate::error::TextFault;

/// The task a vCPU was last seen with.
#[derive(Clone, Copy, Default)]
struct Seat {
    task: u32,
    /// Where the task was seen since.
    elsewhere: Option<u32>,
}

/// The vCPUs, each with its task.
#[derive(Default)]
pub(super) struct Seats {
    seats: Vec<Seat>,
    switches: bool,
}

impl Seats {
    /// Event of `task` on `vcpu`. The idle thread is one per vCPU, and anywhere.
    pub(super) fn take(&mut self, vcpu: u32, task: u32) -> Result<(), TextFault> {
        let seat = self.seat(vcpu);
        if seat.task != task {
            self.sit(vcpu, task);
            return Ok(());
        }
        match seat.elsewhere {
            Some(other) if self.switches => Err(TextFault::TwoPlaces { task, vcpu, other }),
            _ => Ok(()),
        }
    }

    /// `vcpu` is given to `next`.
    pub(super) fn switch(&mut self, vcpu: u32, next: u32) {
        self.switches = true;
        self.sit(vcpu, next);
    }

    fn seat(&mut self, vcpu: u32) -> Seat {
        let index = vcpu as usize;
        if self.seats.len() <= index {
            self.seats.resize(index + 1, Seat::default());
        }
        self.seats[index]
    }

    fn sit(&mut self, vcpu: u32, task: u32) {
        for seat in self.seats.iter_mut().filter(|seat| task != 0 && seat.task == task) {
            seat.elsewhere = Some(vcpu);
        }
        self.seats[vcpu as usize] = Seat { task, elsewhere: None };
    }
}
