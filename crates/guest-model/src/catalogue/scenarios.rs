//! Scenarios that a right library passes.

use super::{every_program, nested, strict};
use crate::{
    explore::Bounds,
    scenario::{
        Handler, Profile, Scenario,
        Step::{
            self, Clear, Enter, Flush, FlushTlb, Leave, Lock, Map, Offline, Online, Pause, Range, Read, Refused,
            Resume, Set, SoftOff, SoftOn, Suspend, Sync, Unlock, Unpin, Unset, Walk,
        },
    },
};

/// All of them, by number.
pub(super) fn all() -> Vec<Scenario> {
    [preemption(), interrupts(), order(), rules()].concat()
}

/// Preempted, moved, switched.
fn preemption() -> Vec<Scenario> {
    let wide = Bounds::default();
    let two: &[Step] = &[Enter, Set(0), Set(1), Leave];
    let other: &[Step] = &[Enter, Set(2), Leave];
    vec![
        strict("S17", "preempted in a region", &[two, &[Set(2), Read(0)]]),
        strict("S18", "preempted in a region and resumed elsewhere", &[two, &[Set(2)]])
            .within(Bounds { migrations: 2, ..wide }),
        nested("S19", "nested, preempted by a region", &[&[Enter, Enter, Set(0), Leave, Set(1), Leave], other]),
        nested("S20", "preempted inside enter, pause, resume and leave", &[&[Enter, Pause, Resume, Leave], other])
            .within(Bounds { preemptions: 3, ..wide }),
        strict(
            "S21",
            "two regions take turns",
            &[&[Enter, Set(0), Set(0), Set(1), Unset(0), Leave], &[Enter, Set(2), Set(3), Unset(2), Leave]],
        ),
        strict("S22", "the switch hands over writes, base pointer and stack", &[two, other]).loading(),
        nested(
            "S23",
            "switched out while paused",
            &[&[Enter, Set(0), Pause, Set(1), Resume, Set(0), Leave], &[Set(2)]],
        ),
        nested(
            "S24",
            "only the next task's state changes",
            &[&[Enter, Enter, Set(0), Leave, Leave], &[Set(2), Set(3)]],
        )
        .loading(),
        strict("S25", "moved there and back in one region", &[&[Enter, Set(0), Set(0), Leave], &[]])
            .within(Bounds { migrations: 3, ..wide }),
    ]
}

/// Interrupted.
fn interrupts() -> Vec<Scenario> {
    let wide = Bounds::default();
    let two: &[Step] = &[Enter, Set(0), Set(1), Leave];
    let other: &[Step] = &[Enter, Set(2), Leave];
    vec![
        strict("S29", "a handler writes the entry that is pending", &[two]).interrupted_by(Handler::Set(0)),
        strict("S30", "interrupted at every step", &[two, other])
            .interrupted_by(Handler::Set(3))
            .within(Bounds { interrupts: 3, ..wide }),
        nested(
            "S31",
            "entered as a task, left with bottom halves off",
            &[&[Enter, Set(0), SoftOff, Set(1), Leave, SoftOn]],
        ),
        strict("S32", "an event that masking does not hold off", &[two, other]).interrupted_by(Handler::NotHeldOff),
        strict("S33", "a fault in a region", &[&[Enter, Set(0), Map(1), Set(0), Leave], &[Set(2)]]),
    ]
}

/// What may not wait, and vCPUs that come and go.
fn order() -> Vec<Scenario> {
    let wide = Bounds::default();
    let two: &[Step] = &[Enter, Set(0), Set(1), Leave];
    let other: &[Step] = &[Enter, Set(2), Leave];
    vec![
        strict("S38", "mapped and unmapped in a region", &[&[Enter, Set(0), Map(1), Map(1), Set(0), Leave]])
            .interrupted_by(Handler::Read(1)),
        nested(
            "S39",
            "an inner region ends and what it unmapped is unmapped",
            &[&[Enter, Set(0), Enter, Clear(1), Set(1), Leave, Read(1), Leave]],
        ),
        strict("S40", "an operation that may not wait", &[&[Enter, Set(0), Sync, Set(1), Leave], other]),
        strict("S41", "a table is unpinned under a switch away from it", &[&[], &[Unpin(0)], &[Set(0)]]).loading(),
        strict("S42", "more entries are locked than there is room for callbacks", &[&[Walk(18)], other])
            .within(Bounds { deviations: 2, ..wide }),
        strict(
            "S49",
            "the hypervisor takes the vCPU away within a hypercall",
            &[&[Enter, Set(0), Set(1), FlushTlb, Leave], other],
        )
        .within(Bounds { hypervisor: 4, deviations: 4, ..wide }),
        strict("S54", "a vCPU goes offline with operations queued", &[two, &[Offline(0), Online(0)]]),
        strict("S57", "suspended with operations queued everywhere", &[two, &[Suspend], other]),
    ]
}

/// Every program, and what the rules say that no scenario is about.
fn rules() -> Vec<Scenario> {
    let wide = Bounds::default();
    let other: &[Step] = &[Enter, Set(2), Leave];
    vec![
        every_program(Profile::Strict, 2, wide),
        strict(
            "R10",
            "read-modify-write of what is pending, and of another entry",
            &[&[Enter, Set(0), Clear(0), Clear(1), Set(1), Leave]],
        )
        .interrupted_by(Handler::Clear(0)),
        strict("R14", "refusals in a region, preempted", &[&[Enter, Set(0), Refused(1), Set(2), Leave], &[Refused(3)]])
            .within(Bounds { migrations: 0, ..wide }),
        strict("R15", "a range longer than the queue", &[&[Range(5), Enter, Range(5), Leave], other])
            .interrupted_by(Handler::FlushTlb),
        strict(
            "R18",
            "counting switched off and on in a region",
            &[&[Enter, Set(0), Step::Count(false), Set(1), Step::Count(true), Leave], other],
        ),
        strict(
            "lock",
            "two tasks take turns at a spinning lock",
            &[&[Lock(0), Enter, Set(0), Leave, Unlock(0)], &[Lock(0), Enter, Set(0), Flush, Leave, Unlock(0)]],
        ),
        Scenario {
            sleeping_locks: true,
            ..strict(
                "lock-rt",
                "two tasks take turns at a sleeping lock",
                &[&[Lock(0), Enter, Set(0), Leave, Unlock(0)], &[Lock(0), Enter, Set(0), Leave, Unlock(0)]],
            )
        },
    ]
}
