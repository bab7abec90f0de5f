//! A way that was gone, as a timeline of its moments.

use guest_model::{What, who};

use super::report::Explored;
use crate::timeline::{Mark, Timeline};

/// Microseconds that a moment is shown as where time is a clock's.
const MOMENT: u64 = 1000;

/// The way of this exploration: to what it found, or the one asked for.
pub(super) fn of(explored: &Explored) -> Timeline {
    let mut course = Timeline::new(explored.name(), "moment", MOMENT);
    let tasks = explored.scenario.tasks();
    // Who runs on each vCPU, and since when.
    let mut ran: Vec<Option<(usize, u64)>> = Vec::new();
    for (at, moment) in (1..).zip(&explored.moments) {
        ran.resize(moment.queues.len(), None);
        let task = who(moment.fiber, tasks);
        match ran[moment.vcpu] {
            Some((last, _)) if last == moment.fiber => {}
            Some((last, since)) => {
                course.ran(moment.vcpu, since, at, who(last, tasks));
                course.switch(moment.vcpu, &who(last, tasks), &task, at);
                ran[moment.vcpu] = Some((moment.fiber, at));
            }
            None => ran[moment.vcpu] = Some((moment.fiber, at)),
        }
        match moment.what {
            Some(What::Tell("entered")) => course.enter(moment.vcpu, task.clone(), at),
            Some(What::Tell("left")) => course.leave(&task, at),
            Some(What::Hypercall) => course.hypercall(moment.vcpu, at, task.clone()),
            _ => {}
        }
        course.step(moment.vcpu, at, moment.text.clone());
        moment.queues.iter().enumerate().for_each(|(vcpu, queue)| course.queued(vcpu, at, queue.len() as u64));
    }
    let end = explored.moments.len() as u64;
    for (vcpu, (fiber, since)) in ran.into_iter().enumerate().filter_map(|(vcpu, ran)| Some((vcpu, ran?))) {
        course.ran(vcpu, since, end + 1, who(fiber, tasks));
    }
    course.finish(end + 1);
    if let (Some(fault), Some(last)) = (&explored.fault, explored.moments.last()) {
        course.mark(Mark { at: end, vcpu: Some(last.vcpu), text: fault.found.to_string() });
    }
    course
}
