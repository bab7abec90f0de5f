//! How often the contract forces something queued to leave for the hypervisor.
//!
//! Operations asked in a region, or between the two hooks of a context switch, may wait (R1); the queue must be empty
//! when the region is left (R2) and when the switch ends (R7); every other operation is effective when it returns, and
//! takes with it what was queued before it (R6, R10). How much a queue can hold is no matter of the contract. This
//! counts over requests only and knows of no batcher; a batcher that defers all it may needs no more hypercalls.

use std::collections::HashSet;

use hypercall::VcpuId;

use super::lazy::Laziness;
use super::request::{Request, Wish};

/// Counts the points where a queue that is not empty must be flushed.
pub(crate) fn sync_points(requests: &[Request]) -> u64 {
    let mut count = Count::default();
    requests.iter().for_each(|request| count.request(request));
    count.points
}

#[derive(Default)]
struct Count {
    laziness: Laziness,
    waiting: HashSet<VcpuId>,
    points: u64,
}

impl Count {
    fn request(&mut self, request: &Request) {
        let Request { vcpu, task, interrupt, .. } = *request;
        match &request.wish {
            Wish::Enter => self.laziness.enter(task),
            Wish::Leave => {
                self.laziness.leave(task);
                self.must_be_empty(vcpu);
            }
            Wish::Flush => self.must_be_empty(vcpu),
            Wish::SwitchOut => self.laziness.switch_out(vcpu),
            Wish::SwitchIn { .. } => {
                self.laziness.switch_in(vcpu);
                self.must_be_empty(vcpu);
            }
            Wish::Work(_) if self.laziness.may_wait(task, vcpu, interrupt) => {
                self.waiting.insert(vcpu);
            }
            Wish::Work(_) => {
                self.waiting.remove(&vcpu);
                self.points += 1;
            }
            Wish::Store(_) | Wish::TableAlloc { .. } | Wish::TableRelease { .. } | Wish::ProtStart { .. } => {}
        }
    }

    fn must_be_empty(&mut self, vcpu: VcpuId) {
        self.points += u64::from(self.waiting.remove(&vcpu));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::extract::requests;
    use crate::replay::testing::{RW, Script};

    fn points(script: &Script) -> u64 {
        sync_points(&requests(&script.events).unwrap())
    }

    #[test]
    fn a_region_is_one_point_if_anything_was_queued() {
        let mut script = Script::new();
        script.enter().leave();
        assert_eq!(points(&script), 0);
        script.enter().queued_pte(5, 1, 9, RW).queued_pte(5, 2, 9, RW).flush_one().leave();
        assert_eq!(points(&script), 1);
    }

    #[test]
    fn outside_a_region_everything_is_a_point() {
        let mut script = Script::new();
        script.set_pte(5, 1, 9, RW).flush_one().set_pte(5, 2, 9, RW);
        assert_eq!(points(&script), 3);
    }

    #[test]
    fn a_switch_is_a_point_if_anything_was_queued_and_its_stack_another() {
        let mut script = Script::new();
        script.switch(8, None);
        assert_eq!(points(&script), 1);
        script.switch(9, Some(0x40));
        assert_eq!(points(&script), 3);
    }

    #[test]
    fn a_region_that_is_switched_away_from_is_flushed_at_the_switch_and_goes_on() {
        let mut script = Script::new();
        script.enter().queued_pte(5, 1, 9, RW).switch(8, None).switch(7, None);
        script.queued_pte(5, 2, 9, RW).leave();
        // The switch away, the other task's stack, and the leave: back in its region the task's stack may wait for it.
        assert_eq!(points(&script), 3);
    }

    #[test]
    fn what_an_interrupt_asks_takes_the_queue_with_it() {
        let mut script = Script::new();
        script.enter().queued_pte(5, 1, 9, RW);
        script.interrupt(true).set_pte(6, 1, 9, RW).interrupt(false).leave();
        assert_eq!(points(&script), 1);
    }

    #[test]
    fn an_interrupt_in_a_context_switch_does_not_wait_for_its_end() {
        let mut script = Script::new();
        script.push(mmu_trace::EventKind::SwitchOut).load_base(0x40);
        script.interrupt(true).set_pte(6, 1, 9, RW).interrupt(false).push(mmu_trace::EventKind::SwitchIn);
        assert_eq!(points(&script), 1);
    }
}
