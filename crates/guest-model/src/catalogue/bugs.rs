//! Real bugs of Linux, each with the design that had it and the rule it broke.

use mock_xen::referee::Rule;

use super::nested;
use crate::{
    policy::Policy::{self, Linux66, Linux70, Linux2006, Linux2009, Linux2009Native, Linux2026, Linux2026Debug},
    scenario::{
        Handler, Scenario,
        Step::{
            self, Clear, Enter, FlushTlb, Leave, Lock, Map, Pair, Range, Read, Refused, Set, Sleep, SoftOff, SoftOn,
            Unlock, Unpin, Walk,
        },
    },
};

/// A bug's programs, who had it, and what it broke.
type Bug = (Scenario, Policy, Rule);

/// All of them.
pub(super) fn all() -> Vec<Bug> {
    [of_regions(), of_windows(), of_order()].concat()
}

/// Regions in places that were not made for them.
fn of_regions() -> Vec<Bug> {
    let region: &[Step] = &[Enter, Set(0), Leave];
    vec![
        (nested("B1", "a region became preemptible", &[region, &[Set(1)]]), Linux2006, Rule::R7),
        (
            nested("B2", "set_ptes opens a region inside a region", &[&[Enter, Enter, Range(2), Leave, Set(1), Leave]]),
            Linux2009,
            Rule::R4,
        ),
        (
            nested("B3", "nested, and preempted", &[&[Enter, Enter, Set(0), Leave, Leave], &[Enter, Set(1), Leave]]),
            Linux66,
            Rule::R7,
        ),
        (nested("B5", "kmap_local in a region", &[&[Enter, Map(0), Leave]]), Linux2009, Rule::R1),
        (nested("B6", "a fault in a region needs its entry", &[&[Enter, Set(0), Map(1), Leave]]), Linux2009, Rule::R1),
        (
            nested("B7", "an allocation sleeps in a region", &[&[Enter, Set(0), Sleep, Leave], &[Set(1)]]),
            Linux2006,
            Rule::R7,
        ),
    ]
}

/// Windows between two steps, and contexts taken for others.
fn of_windows() -> Vec<Bug> {
    vec![
        (
            nested("B10", "a TLB flush overtakes the write it is for", &[&[Enter, Set(0), FlushTlb, Leave]]),
            Linux2009Native,
            Rule::R12,
        ),
        (
            nested("B11", "a table is unpinned under a switch away from it", &[&[], &[Unpin(0)], &[Set(0)]]).loading(),
            Linux2009,
            Rule::R12,
        ),
        (nested("B12", "more tables are locked than a batch holds", &[&[Walk(18)]]), Linux2006, Rule::R15),
        (
            nested(
                "B13a",
                "preempted between the count and the mode of an enter: the switch back sets the mode, then the enter does",
                &[&[Enter, Lock(0), Leave, Unlock(0)], &[]],
            ),
            Linux70,
            Rule::R9,
        ),
        (
            nested(
                "B13b",
                "preempted between the count and the mode of a leave: the switch back finds no count, and the leave no mode",
                &[&[Lock(0), Enter, Unlock(0), Leave], &[]],
            ),
            Linux70,
            Rule::R9,
        ),
        (
            nested("B14", "left with bottom halves off", &[&[Enter, Set(0), SoftOff, Leave, SoftOn]]),
            Linux2026,
            Rule::R2,
        ),
        (
            nested("B15", "debugging switched on in a region", &[&[Enter, Set(0), Step::Count(true), Leave]]),
            Linux2026Debug,
            Rule::R2,
        ),
    ]
}

/// What goes past the queue, and what happens to what is refused.
fn of_order() -> Vec<Bug> {
    let region: &[Step] = &[Enter, Set(0), Leave];
    vec![
        (nested("B16", "a read past what is queued", &[&[Enter, Set(0), Read(0), Leave]]), Linux2026, Rule::R11),
        (
            nested("B17", "a handler's write is undone by an older one", &[region]).interrupted_by(Handler::Set(0)),
            Linux2026,
            Rule::R6,
        ),
        (nested("B18", "an exchange overtakes a write", &[&[Enter, Set(0), Clear(0), Leave]]), Linux2026, Rule::R10),
        (
            nested("B19", "what follows a refused write is dropped", &[&[Enter, Set(0), Refused(1), Set(2), Leave]]),
            Linux2026,
            Rule::R14,
        ),
        (nested("B20", "a batch within a batch", &[&[Enter, Pair(0, 1), Leave]]), Linux2026, Rule::R15),
    ]
}
