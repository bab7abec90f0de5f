//! Answers of the mock that are not Xen's.

use hypercall::Errno;
use mock_xen::NotModelled;
use xen_program::outcome::{Called, StepResult};
use xen_program::{Outcome, Refusal};

/// What the mock met in a program and does not model; `None` if all its answers are meant as Xen's.
pub(crate) fn unmodelled(outcome: &Outcome) -> Option<String> {
    outcome.steps.iter().find_map(|step| match &step.result {
        StepResult::Called(called) => of_call(called),
        StepResult::Refused(Refusal::Unarmed) => Some("a call that is interrupted on purpose".into()),
        _ => None,
    })
}

fn of_call(called: &Called) -> Option<String> {
    let results = called.arguments.iter().map(|change| change.value as i64);
    results.chain([called.value]).find_map(|value| {
        let errno = Errno::from_return(value).err()?;
        NotModelled::from_errno(errno).map(|what| what.to_string())
    })
}
