//! What happened on one way, moment by moment: for people, and for ui.perfetto.dev.

use std::fmt::Write as _;

use hypercall::{MmuextOp, Operation, Pte};

use crate::{fixture::Fixture, point::What};

/// One step of a way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The vCPU it happened on.
    pub vcpu: usize,
    /// What ran there: a task by its number; a number beyond the tasks is an idle vCPU.
    pub fiber: usize,
    /// The point that was passed, if it was one.
    pub what: Option<What>,
    /// What happened, in words.
    pub text: String,
    /// What each vCPU has queued then.
    pub queues: Vec<Vec<String>>,
}

/// A way that was logged.
pub(crate) type Log = Vec<Moment>;

/// An operation as short as it can be said.
pub(crate) fn name(fixture: &Fixture, operation: &Operation) -> String {
    match operation {
        Operation::Update { update, .. } => {
            let entry = fixture.slot_number(update.slot).map_or_else(|| update.slot.to_string(), entry_name);
            format!("{entry}={}", value(fixture, update.pte()))
        }
        Operation::Mmuext { op: MmuextOp::TlbFlushAll, .. } => "tlb".into(),
        Operation::Mmuext { op: MmuextOp::SetLdt { .. }, .. } => "ldt".into(),
        Operation::Mmuext { op: MmuextOp::NewBaseptr { .. }, .. } => "base".into(),
        Operation::Mmuext { op: MmuextOp::Unpin { .. }, .. } => "unpin".into(),
        Operation::StackSwitch { .. } => "stack".into(),
        other => format!("{other:?}"),
    }
}

/// Entry 0 is `a`.
pub(crate) fn entry_name(number: usize) -> String {
    u8::try_from(number)
        .ok()
        .filter(|number| *number < 26)
        .map_or_else(|| format!("entry {number}"), |number| char::from(b'a' + number).to_string())
}

fn value(fixture: &Fixture, pte: Pte) -> String {
    match fixture.value_number(pte) {
        Some(number) => number.to_string(),
        None if pte.is_present() => "refused".into(),
        None => "0".into(),
    }
}

/// The moments as text: a column for each vCPU, with what runs there and what it has queued.
#[must_use]
pub fn text(moments: &[Moment], tasks: usize) -> String {
    let mut out = String::new();
    let vcpus = moments.first().map_or(0, |moment| moment.queues.len());
    let columns: Vec<Vec<String>> = moments.iter().map(|moment| cells(moment, vcpus, tasks)).collect();
    let width = |column: usize| columns.iter().map(|cells| cells[column].chars().count()).max().unwrap_or(0).max(6);
    let widths: Vec<usize> = (0..vcpus).map(width).collect();
    let head: Vec<String> = (0..vcpus).map(|vcpu| format!("{:<1$}", format!("vcpu {vcpu}"), widths[vcpu])).collect();
    let _infallible = writeln!(out, "     {}", head.join(" | "));
    for (number, cells) in columns.iter().enumerate() {
        let cells: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _infallible = writeln!(out, "{:>4} {}", number + 1, cells.join(" | ").trim_end());
    }
    out
}

fn cells(moment: &Moment, vcpus: usize, tasks: usize) -> Vec<String> {
    let cell = |vcpu: usize| {
        let queue =
            if moment.queues[vcpu].is_empty() { String::new() } else { format!("[{}]", moment.queues[vcpu].join(" ")) };
        match vcpu == moment.vcpu {
            true if queue.is_empty() => format!("{}: {}", who(moment.fiber, tasks), moment.text),
            true => format!("{}: {} {queue}", who(moment.fiber, tasks), moment.text),
            false => queue,
        }
    };
    (0..vcpus).map(cell).collect()
}

/// What runs, by name.
#[must_use]
pub fn who(fiber: usize, tasks: usize) -> String {
    if fiber < tasks { format!("T{fiber}") } else { "idle".into() }
}
