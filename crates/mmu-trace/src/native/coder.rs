//! How a field of one meaning is coded: the words of the format's table.

use super::pass::{Lane, Pass};
use crate::error::NativeFault;
use crate::event::{CallbackKind, ExtendResult, FlushCause, LazyMode, Level, PrevState};

type Passed = Result<(), NativeFault>;

pub(super) fn number(pass: &mut impl Pass, value: &mut u64) -> Passed {
    pass.number(value)
}

pub(super) fn number32(pass: &mut impl Pass, value: &mut u32) -> Passed {
    pass.number32(value)
}

pub(super) fn signed(pass: &mut impl Pass, value: &mut i64) -> Passed {
    pass.signed(value)
}

pub(super) fn flag(pass: &mut impl Pass, value: &mut bool) -> Passed {
    pass.flag(value)
}

pub(super) fn text(pass: &mut impl Pass, value: &mut Box<str>) -> Passed {
    pass.text(value)
}

pub(super) fn slot(pass: &mut impl Pass, value: &mut u64) -> Passed {
    pass.near(Lane::Slot, value)
}

/// Nothing stands for a machine word alone.
pub(super) fn value(pass: &mut impl Pass, value: &mut Option<u64>) -> Passed {
    perhaps(pass, Lane::Value, value)
}

pub(super) fn space(pass: &mut impl Pass, value: &mut u64) -> Passed {
    pass.near(Lane::Space, value)
}

pub(super) fn address(pass: &mut impl Pass, value: &mut u64) -> Passed {
    pass.near(Lane::Address, value)
}

pub(super) fn pfn(pass: &mut impl Pass, value: &mut u64) -> Passed {
    pass.near(Lane::Pfn, value)
}

/// Follows a `value` in every record: both hold the same flags, and frames of a run are equally far apart.
pub(super) fn raw(pass: &mut impl Pass, raw: &mut u64) -> Passed {
    let value = pass.lanes()[Lane::Value as usize];
    let mut offset = raw.wrapping_sub(value);
    pass.near(Lane::Offset, &mut offset)?;
    *raw = value.wrapping_add(offset);
    Ok(())
}

pub(super) fn perhaps_address(pass: &mut impl Pass, value: &mut Option<u64>) -> Passed {
    perhaps(pass, Lane::Address, value)
}

/// A number of no lane.
pub(super) fn perhaps_number(pass: &mut impl Pass, value: &mut Option<u64>) -> Passed {
    let mut known = value.is_some();
    pass.flag(&mut known)?;
    *value = known.then_some(value.unwrap_or(0));
    value.as_mut().map_or(Ok(()), |value| pass.number(value))
}

fn perhaps(pass: &mut impl Pass, lane: Lane, value: &mut Option<u64>) -> Passed {
    let mut known = value.is_some();
    pass.flag(&mut known)?;
    *value = known.then_some(value.unwrap_or(0));
    value.as_mut().map_or(Ok(()), |value| pass.near(lane, value))
}

/// The first word is mostly the address of the argument array, the others are small.
pub(super) fn args(pass: &mut impl Pass, [first, others @ ..]: &mut [u64; 6]) -> Passed {
    pass.near(Lane::Argument, first)?;
    others.iter_mut().try_for_each(|word| pass.number(word))
}

pub(super) fn level(pass: &mut impl Pass, value: &mut Level) -> Passed {
    pass.choice(&[Level::L1, Level::L2, Level::L3, Level::L4], value)
}

pub(super) fn prev_state(pass: &mut impl Pass, value: &mut PrevState) -> Passed {
    pass.choice(&[PrevState::Runnable, PrevState::Preempted, PrevState::Blocked, PrevState::Dead], value)
}

pub(super) fn lazy_mode(pass: &mut impl Pass, value: &mut LazyMode) -> Passed {
    pass.choice(&[LazyMode::None, LazyMode::Mmu, LazyMode::Cpu], value)
}

pub(super) fn extend_result(pass: &mut impl Pass, value: &mut ExtendResult) -> Passed {
    pass.choice(&[ExtendResult::Ok, ExtendResult::BadOp, ExtendResult::NoSpace], value)
}

pub(super) fn flush_cause(pass: &mut impl Pass, value: &mut FlushCause) -> Passed {
    pass.choice(&[FlushCause::None, FlushCause::Batch, FlushCause::Args, FlushCause::Callback], value)
}

/// 0 and 1 stand for the known ones, 2 is followed by a name.
pub(super) fn callback(pass: &mut impl Pass, value: &mut CallbackKind) -> Passed {
    let (mut code, mut name) = match value {
        CallbackKind::PteUnlock => (0, Box::default()),
        CallbackKind::SetCurrentBase => (1, Box::default()),
        CallbackKind::Other(name) => (2, std::mem::take(name)),
    };
    pass.below(3, &mut code)?;
    *value = match code {
        0 => CallbackKind::PteUnlock,
        1 => CallbackKind::SetCurrentBase,
        _ => {
            pass.text(&mut name)?;
            CallbackKind::Other(name)
        }
    };
    Ok(())
}
