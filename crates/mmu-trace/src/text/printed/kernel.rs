//! The bodies of the events around the page-table work: scheduler, system calls, exceptions, marks, probes.

use super::super::cursor::{BodyFault, Cursor};
use crate::event::{EventKind, PrevState};

type Parsed = Result<EventKind, BodyFault>;

pub(super) fn syscall_enter(mut body: Cursor<'_>) -> Parsed {
    body.word("NR")?;
    let nr = body.signed()?;
    body.word("(")?;
    for index in 0..6 {
        if index > 0 {
            body.word(",")?;
        }
        body.hex()?;
    }
    body.word(")")?;
    body.end()?;
    Ok(EventKind::SyscallEnter { nr })
}

pub(super) fn syscall_exit(mut body: Cursor<'_>) -> Parsed {
    body.word("NR")?;
    let nr = body.signed()?;
    body.word("=")?;
    let ret = body.signed()?;
    body.end()?;
    Ok(EventKind::SyscallExit { nr, ret })
}

/// `address=A ip=I error_code=E`; Linux prints an address inside the kernel's own text and data as a symbol.
pub(in super::super) fn page_fault(mut body: Cursor<'_>, user: bool) -> Parsed {
    body.word("address=")?;
    let address = if body.rest().starts_with(b"0x") { Some(body.hex()?) } else { None };
    let label = b" error_code=";
    let rest = body.rest();
    let at = rest.windows(label.len()).rposition(|window| window == label);
    let at = at.ok_or_else(|| body.fault("` ip=` and ` error_code=`"))?;
    let mut code = Cursor::new(&rest[at..]);
    let error_code = code.hex_after("error_code=")?;
    code.end()?;
    Ok(EventKind::PageFault { address, error_code, user })
}

/// Both task names are arbitrary bytes, so every field is searched for from the end.
pub(super) fn sched_switch(body: Cursor<'_>) -> Parsed {
    let (rest, next) = task_after_last(&body, body.rest(), b" next_pid=")?;
    let (rest, _) = split_last(&body, rest, b" ==> next_comm=")?;
    let (rest, state) = split_last(&body, rest, b" prev_state=")?;
    let (_, prev) = task_after_last(&body, rest, b" prev_pid=")?;
    let prev_state = prev_state(state).ok_or_else(|| Cursor::new(state).fault("a task state"))?;
    Ok(EventKind::SchedSwitch { prev, next, prev_state })
}

pub(in super::super) type Parts<'a> = (&'a [u8], &'a [u8]);

/// What is in front of `label` and what is behind it, where it stands first.
pub(in super::super) fn until<'a>(
    body: &Cursor<'a>,
    label: &'static [u8],
    expected: &'static str,
) -> Result<Parts<'a>, BodyFault> {
    let text = body.rest();
    let at = text.windows(label.len()).position(|window| window == label);
    let at = at.filter(|at| *at > 0).ok_or_else(|| body.fault(expected))?;
    Ok((&text[..at], &text[at + label.len()..]))
}

pub(in super::super) fn split_last<'a>(
    body: &Cursor<'a>,
    text: &'a [u8],
    label: &'static [u8],
) -> Result<Parts<'a>, BodyFault> {
    let at = text.windows(label.len()).rposition(|window| window == label);
    let at = at.ok_or_else(|| body.fault("prev_comm, prev_pid, prev_state, ==>, next_comm, next_pid, next_prio"))?;
    Ok((&text[..at], &text[at + label.len()..]))
}

/// The number between the last `label` and ` XXXX_prio=`, and what is in front of the label.
pub(in super::super) fn task_after_last<'a>(
    body: &Cursor<'a>,
    text: &'a [u8],
    label: &'static [u8],
) -> Result<(&'a [u8], u32), BodyFault> {
    let (before, after) = split_last(body, text, label)?;
    let mut after = Cursor::new(after);
    let number = after.number32()?;
    if !after.take("next_prio=") {
        after.word("prev_prio=")?;
    }
    after.signed()?;
    after.end()?;
    Ok((before, number))
}

fn prev_state(text: &[u8]) -> Option<PrevState> {
    match text {
        b"R" => Some(PrevState::Runnable),
        b"R+" => Some(PrevState::Preempted),
        [b'X' | b'Z' | b'x', ..] => Some(PrevState::Dead),
        [b'S' | b'D' | b'T' | b't' | b'K' | b'W' | b'P' | b'N' | b'I', ..] => Some(PrevState::Blocked),
        _ => None,
    }
}

pub(super) fn mark(body: Cursor<'_>) -> EventKind {
    let text = body.rest();
    EventKind::Mark { text: String::from_utf8_lossy(text.strip_prefix(b" ").unwrap_or(text)).into() }
}
