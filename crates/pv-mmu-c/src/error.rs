//! Why a call was refused, or what of it is not effective.

use pv_mmu::{
    EnterError, Failure, Failures, HarvestError, LeaveError, NotCleared, PauseError, RangeError, ResumeError,
};

use crate::operation::Operation;

/// What a call answers. All but `PVMMU_ERROR_FAILED`, `PVMMU_ERROR_OPEN_REGIONS` and `PVMMU_ERROR_NOT_CLEARED` mean
/// that nothing has been done.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Done.
    None = 0,
    /// A pointer is null. `value`: which argument, from 1 on.
    Null = 1,
    /// A pointer is no multiple of what its type asks for. `value`: the pointer.
    Unaligned = 2,
    /// The storage is smaller than this library needs: header and archive are of different versions. `value`: its
    /// bytes, `limit`: those that are needed.
    Size = 3,
    /// The storage has not been initialised, or was given back. `value`: the word that is where the mark should be.
    NotInitialised = 4,
    /// A function of the platform is missing. `value`: which, counted from 1 in the order of the structure.
    MissingFunction = 5,
    /// `lock` answered with no queue, or one of another vCPU. `value`: the vCPU it says it is on, `limit`: the queue's.
    WrongVcpu = 6,
    /// `lock` told of no context there is. `value`: what it told.
    Context = 7,
    /// The call was made from within a step: by a callback that runs with upcalls masked and must not use the library
    /// (R9).
    WithinStep = 8,
    /// The task, table or buffer is in a call already: a callback came back by it, or two use it at once.
    Busy = 9,
    /// The task is in a region, and its profile does not nest (R4).
    Nested = 10,
    /// 255 regions or pauses are open (R4, R5).
    TooDeep = 11,
    /// Not for interrupt handlers (R6), and not for the switch code.
    Interrupt = 12,
    /// The task is in no region (R4).
    NotEntered = 13,
    /// No pause is open (R5).
    NotPaused = 14,
    /// The pause is ended; `value` regions opened in it had not been left, and are closed now (R5).
    OpenRegions = 15,
    /// A slot is no multiple of 8 or beyond 52 bits. `value`: the slot.
    Slot = 16,
    /// An address is not canonical. `value`: the address.
    Address = 17,
    /// The range has no entries.
    EmptyRange = 18,
    /// The range reaches beyond its table. `value`: its slot, `limit`: its entries.
    BeyondTable = 19,
    /// The buffer has no room for so many. `value`: the entries asked for, `limit`: the room.
    Full = 20,
    /// An operation's kind or one of its other numbers is none there is. `value`: the number.
    Argument = 21,
    /// Operations are not effective: `failed` of them, the first named in `failures` (R2, R14).
    Failed = 22,
    /// The entry was not emptied and still translates; why is told with the task's failures. `value`: its slot.
    NotCleared = 23,
    /// A table's state does not allow it: a draft takes stores, a live one operations. `value`: the state it is in.
    TableState = 24,
}

/// An operation that is not effective.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct NamedFailure {
    /// Which.
    pub operation: Operation,
    /// Xen's refusal, as the positive number of `errno.h`; 0: not attempted after an earlier refusal.
    pub errno: u32,
}

/// Failures that are named; the rest are reported to the platform one by one.
pub const PVMMU_FAILURES: usize = 4;
const _: () = assert!(PVMMU_FAILURES == Failures::KEPT);

/// What a call that was refused says beyond its code. Written only where the code is not `PVMMU_ERROR_NONE`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Why {
    /// The code that the call answered with.
    pub code: Code,
    /// How many operations are not effective.
    pub failed: u32,
    /// The offending value, as the code says.
    pub value: u64,
    /// What it was measured against, as the code says.
    pub limit: u64,
    /// The first of them.
    pub failures: [NamedFailure; PVMMU_FAILURES],
}

/// The same on its way out.
#[derive(Debug)]
pub(crate) enum Refusal {
    Value { code: Code, value: u64, limit: u64 },
    Failed(Failures),
    One(Failure),
}

impl Refusal {
    pub(crate) const fn plain(code: Code) -> Self {
        Self::Value { code, value: 0, limit: 0 }
    }

    pub(crate) const fn of(code: Code, value: u64) -> Self {
        Self::Value { code, value, limit: 0 }
    }

    pub(crate) const fn null(argument: u64) -> Self {
        Self::of(Code::Null, argument)
    }

    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Value { code, .. } => *code,
            Self::Failed(_) | Self::One(_) => Code::Failed,
        }
    }

    fn why(&self) -> Why {
        let mut why = Why { code: self.code(), failed: 0, value: 0, limit: 0, failures: Default::default() };
        match self {
            Self::Value { value, limit, .. } => (why.value, why.limit) = (*value, *limit),
            Self::Failed(failures) => {
                let named = if crate::is_planted!(FailuresCut) { PVMMU_FAILURES as u32 } else { u32::MAX };
                why.failed = failures.count().min(named);
                why.failures.iter_mut().zip(failures.iter()).for_each(|(place, one)| *place = NamedFailure::of(one));
            }
            Self::One(failure) => {
                why.failed = 1;
                why.failures[0] = NamedFailure::of(failure);
            }
        }
        why
    }
}

impl NamedFailure {
    pub(crate) fn of(failure: &Failure) -> Self {
        Self {
            operation: Operation::of(failure.operation()),
            errno: failure.errno().map_or(0, |errno| errno.number().into()),
        }
    }
}

/// Answers for a call: the code, and the rest where `why` leads, unless it is null.
///
/// # Safety
/// 1. `why` is null or the C caller's to write.
#[inline]
pub(crate) unsafe fn answer(result: Result<(), Refusal>, why: *mut Why) -> Code {
    match result {
        Ok(()) => Code::None,
        // SAFETY: 1. the caller's promise.
        Err(refusal) => unsafe { tell(&refusal, why) },
    }
}

/// # Safety
/// As [`answer`].
#[cold]
#[inline(never)]
unsafe fn tell(refusal: &Refusal, why: *mut Why) -> Code {
    if !why.is_null() && why.is_aligned() {
        // SAFETY: 1. the caller's promise; 2. neither null nor unaligned.
        unsafe { why.write(refusal.why()) };
    }
    refusal.code()
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::One(failure)
    }
}

impl From<Failures> for Refusal {
    fn from(failures: Failures) -> Self {
        Self::Failed(failures)
    }
}

impl From<EnterError> for Refusal {
    fn from(error: EnterError) -> Self {
        Self::plain(match error {
            EnterError::Nested => Code::Nested,
            EnterError::Interrupt => Code::Interrupt,
            _ => Code::TooDeep,
        })
    }
}

impl From<LeaveError> for Refusal {
    fn from(error: LeaveError) -> Self {
        match error {
            LeaveError::Failed(failures) => Self::Failed(failures),
            LeaveError::Interrupt => Self::plain(Code::Interrupt),
            _ => Self::plain(Code::NotEntered),
        }
    }
}

impl From<PauseError> for Refusal {
    fn from(error: PauseError) -> Self {
        match error {
            PauseError::Failed(failures) => Self::Failed(failures),
            PauseError::Interrupt => Self::plain(Code::Interrupt),
            _ => Self::plain(Code::TooDeep),
        }
    }
}

impl From<ResumeError> for Refusal {
    fn from(error: ResumeError) -> Self {
        match error {
            ResumeError::OpenRegions(regions) => Self::of(Code::OpenRegions, regions.into()),
            ResumeError::Interrupt => Self::plain(Code::Interrupt),
            _ => Self::plain(Code::NotPaused),
        }
    }
}

impl From<RangeError> for Refusal {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::BeyondTable { slot, count } => {
                Self::Value { code: Code::BeyondTable, value: slot.address(), limit: count as u64 }
            }
            _ => Self::plain(Code::EmptyRange),
        }
    }
}

impl From<NotCleared> for Refusal {
    fn from(error: NotCleared) -> Self {
        Self::of(Code::NotCleared, error.slot.address())
    }
}

impl Refusal {
    /// Why `count` entries from `slot` on were not asked to be emptied.
    pub(crate) fn harvest(error: HarvestError, count: usize) -> Self {
        match error {
            HarvestError::Range(error) => error.into(),
            HarvestError::Full { room } => Self::Value { code: Code::Full, value: count as u64, limit: room as u64 },
            _ => Self::of(Code::Full, count as u64),
        }
    }
}
