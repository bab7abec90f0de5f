//! The bodies of Linux's `xen_mc_*` events.

use super::super::cursor::{BodyFault, Cursor};
use crate::event::{CallbackKind, EventKind, ExtendResult, FlushCause, LazyMode};

type Parsed = Result<EventKind, BodyFault>;

/// The text of both `xen_mc_batch` and `xen_mc_issue`: the class prints the same words for either.
fn mode(mut body: Cursor<'_>) -> Result<LazyMode, BodyFault> {
    body.word("start batch LAZY_")?;
    let mode = if body.take("MMU") {
        LazyMode::Mmu
    } else if body.take("CPU") {
        LazyMode::Cpu
    } else {
        body.word("NONE").map(|()| LazyMode::None)?
    };
    body.end()?;
    Ok(mode)
}

pub(super) fn batch(body: Cursor<'_>) -> Parsed {
    mode(body).map(|mode| EventKind::BatchBegin { mode })
}

pub(super) fn issue(body: Cursor<'_>) -> Parsed {
    mode(body).map(|mode| EventKind::BatchIssue { mode })
}

/// A hypercall's number and, where Linux knows it, its name in parentheses.
fn op(body: &mut Cursor<'_>) -> Result<u32, BodyFault> {
    body.word("op")?;
    let op = body.decimal32()?;
    body.skip_parenthesis();
    Ok(op)
}

pub(super) fn entry(mut body: Cursor<'_>) -> Parsed {
    let op = op(&mut body)?;
    body.word("args [")?;
    let mut args = [0; 6];
    for (index, arg) in args.iter_mut().enumerate() {
        if index > 0 {
            body.word(",")?;
        }
        *arg = body.hex()?;
    }
    body.word("]")?;
    body.end()?;
    Ok(EventKind::Entry { op, args })
}

pub(super) fn entry_alloc(mut body: Cursor<'_>) -> Parsed {
    body.word("alloc entry")?;
    let bytes = body.decimal32()?;
    body.word("arg bytes")?;
    body.end()?;
    Ok(EventKind::EntryAlloc { bytes })
}

pub(super) fn extend(mut body: Cursor<'_>) -> Parsed {
    body.word("extending")?;
    let op = op(&mut body)?;
    body.word("by")?;
    let bytes = body.decimal32()?;
    body.word("bytes res")?;
    let result = if body.take("OK") {
        ExtendResult::Ok
    } else if body.take("BAD_OP") {
        ExtendResult::BadOp
    } else {
        body.word("NO_SPACE").map(|()| ExtendResult::NoSpace)?
    };
    body.end()?;
    Ok(EventKind::Extend { op, bytes, result })
}

pub(super) fn flush_reason(mut body: Cursor<'_>) -> Parsed {
    body.word("flush reason")?;
    let cause = if body.take("BATCH") {
        FlushCause::Batch
    } else if body.take("ARGS") {
        FlushCause::Args
    } else if body.take("CALLBACK") {
        FlushCause::Callback
    } else {
        body.word("NONE").map(|()| FlushCause::None)?
    };
    body.end()?;
    Ok(EventKind::FlushReason { cause })
}

pub(super) fn flush(mut body: Cursor<'_>) -> Parsed {
    body.word("flushing")?;
    let calls = body.decimal32()?;
    body.word("hypercalls,")?;
    let bytes = body.decimal32()?;
    body.word("arg bytes,")?;
    let callbacks = body.decimal32()?;
    body.word("callbacks")?;
    body.end()?;
    Ok(EventKind::Flush { calls, bytes, callbacks })
}

/// `callback NAME, data D`. The name of a function can hold no comma; a module's name may follow it in brackets.
pub(super) fn callback(mut body: Cursor<'_>) -> Parsed {
    body.word("callback ")?;
    let (name, rest) = super::until(&body, b", data", "a function and `, data`")?;
    let callback = CallbackKind::named(name);
    let mut body = Cursor::new(rest);
    let data = body.hex()?;
    body.end()?;
    Ok(EventKind::Callback { callback, data })
}
